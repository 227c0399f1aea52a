"""A server with keys, as a process: OpenAI's client, its log, its file of keys."""

import time
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import httpx
import msgspec
import openai
import pytest

from tests.serving import ServerProcess, run_console, server_process, wait_for_status

pytestmark = pytest.mark.live

GIVEN = "sk-soprano-given-0123456789abcdef"
WRONG = "sk-soprano-wrong-0123456789abcdef"
SPEECH = "/v1/audio/speech"
RELOAD_TIMEOUT_S = 15.0


class KeyedServer(msgspec.Struct):
    """A server that knows GIVEN, the key `filed` of its file, and one for 2 requests a minute."""

    process: ServerProcess
    keys_file: Path
    filed: str
    limited: str
    clients: ExitStack

    @property
    def url(self) -> str:
        return self.process.url

    def client(self, key: str) -> openai.OpenAI:
        """One that is closed at the end."""
        client = openai.OpenAI(base_url=f"{self.url}/v1", api_key=key, max_retries=0)
        return self.clients.enter_context(client)


def create(name: str, path: Path) -> str:
    done = run_console("keys", "create", name, "--file", str(path))
    assert done.returncode == 0, done.stderr
    return done.stdout.decode().strip()


@pytest.fixture(scope="module")
def keyed(tmp_path_factory: pytest.TempPathFactory) -> Iterator[KeyedServer]:
    directory = tmp_path_factory.mktemp("keyed")
    keys_file = directory / "keys.toml"
    filed, limited = create("filed", keys_file), create("limited", keys_file)
    keys_file.write_text(f"{keys_file.read_text()}requests_per_minute = 2\n")
    environ = {"SOPRANO_AUTH__KEYS": f"given:{GIVEN}", "SOPRANO_AUTH__KEYS_FILE": str(keys_file)}
    log_path = directory / "server.log"
    with (
        server_process(log_path, "--log-level", "debug", environ=environ) as process,
        ExitStack() as clients,
    ):
        wait_for_status(f"{process.url}/health/ready")
        yield KeyedServer(process, keys_file, filed, limited, clients)


def speak(client: openai.OpenAI) -> int:
    answer = client.audio.speech.create(
        model="tts-1", voice="alloy", input="Hi.", response_format="pcm"
    )
    return len(answer.read())


def test_openais_client_speaks_with_a_key_of_either_kind(keyed: KeyedServer) -> None:
    for key in (GIVEN, keyed.filed):
        assert speak(keyed.client(key)) > 10_000


def test_openais_client_raises_its_error_of_authentication(keyed: KeyedServer) -> None:
    with pytest.raises(openai.AuthenticationError) as caught:
        speak(keyed.client(WRONG))
    assert caught.value.status_code == 401
    assert (caught.value.code, caught.value.type) == ("invalid_api_key", "invalid_request_error")
    assert caught.value.request_id
    assert WRONG not in str(caught.value)


def test_openais_client_does_not_try_a_wrong_key_twice(keyed: KeyedServer) -> None:
    client = keyed.client(WRONG).with_options(
        max_retries=2, default_headers={"x-request-id": "retried"}
    )
    with pytest.raises(openai.AuthenticationError):
        speak(client)
    tried = keyed.process.wait_for_events(request_id="retried")
    assert [event["status"] for event in tried] == [401]


def test_openais_client_raises_its_error_of_rates(keyed: KeyedServer) -> None:
    client = keyed.client(keyed.limited)
    with pytest.raises(openai.RateLimitError) as caught:
        for _ in range(10):
            speak(client)
    assert caught.value.status_code == 429
    assert (caught.value.code, caught.value.type) == ("rate_limit_exceeded", "rate_limit_error")
    assert caught.value.request_id
    assert 1 <= int(caught.value.response.headers["retry-after"]) <= 32
    assert speak(keyed.client(GIVEN)) > 0  # another key has limits of its own


def test_a_key_added_while_serving_opens_soon(keyed: KeyedServer) -> None:
    late = create("late", keyed.keys_file)
    deadline = time.monotonic() + RELOAD_TIMEOUT_S
    while time.monotonic() < deadline:
        answer = httpx.get(f"{keyed.url}/metrics", headers={"authorization": f"Bearer {late}"})
        if answer.status_code == 200:
            return
        time.sleep(0.1)
    raise AssertionError("the new key was never seen")


def handshake(key: str) -> dict[str, str]:
    """Headers that ask for a WebSocket."""
    return {
        "connection": "Upgrade",
        "upgrade": "websocket",
        "sec-websocket-version": "13",
        "sec-websocket-key": "dGhlIHNhbXBsZSBub25jZQ==",
        "sec-websocket-protocol": f"openai-insecure-api-key.{key}",
        "authorization": f"Bearer {key}",
    }


def test_no_key_is_ever_in_the_log_but_the_name_of_its_owner_is(keyed: KeyedServer) -> None:
    keys = (GIVEN, keyed.filed, keyed.limited, WRONG)
    for number, key in enumerate(keys):
        with httpx.Client(base_url=keyed.url, headers={"x-request-id": f"seen-{number}"}) as client:
            bearer = {"authorization": f"Bearer {key}"}
            client.get("/metrics", headers=bearer)
            client.post(SPEECH, json={"input": "Hi."}, headers=bearer)
            client.post(SPEECH, json={"input": 1}, headers=bearer)
            client.post(f"{SPEECH}?api_key={key}", json={"input": "Hi."})
            client.get("/v1/models", params={"key": key}, headers=bearer)
            client.get("/nowhere", params={"key": key}, headers=bearer)
            client.get("/metrics", headers={"api-key": key, "authorization": f"Basic {key}"})
            client.get("/v1/audio/speech/stream", params={"key": key}, headers=handshake(key))
    keyed.process.wait_for_events(event="speech.ended", request_id="seen-0")
    events = keyed.process.log_events()
    for number, name in enumerate(("given", "filed", "limited")):
        of_one = [event for event in events if event.get("request_id") == f"seen-{number}"]
        assert name in {event.get("api_key") for event in of_one}
        assert {event.get("api_key") for event in of_one} <= {name, None}
    spoken = [e for e in events if e["event"] == "speech.ended" and e["request_id"] == "seen-0"]
    assert [event["api_key"] for event in spoken] == ["given"]
    log = keyed.process.log_path.read_text()
    assert log.count("seen-") >= 7 * len(keys)  # WebSockets are not logged if nothing serves them
    for key in keys:
        assert key.removeprefix("sk-soprano-") not in log


@pytest.mark.parametrize(
    ("keys", "text", "parts"),
    [
        ("alice:short", None, ["[auth]", "too short"]),
        (WRONG, None, ["[auth]", "Item 1 is not name:key"]),
        (f"a:{WRONG},a:{GIVEN}", None, ["[auth]", "Two keys have the name a"]),
        ("", "", ["[auth]", "keys.toml", "has no keys"]),
        ("", f'[keys.alice]\nsha256 = "{WRONG}"', ["[auth]", "keys.toml", "[keys.alice]"]),
        ("", "missing", ["[auth]", "keys.toml", "there is none"]),
    ],
)
def test_keys_that_cannot_be_used_end_the_start_with_one_line_without_them(
    tmp_path: Path, keys: str, text: str | None, parts: list[str]
) -> None:
    environ = {"SOPRANO_AUTH__KEYS": keys}
    if text is not None:
        environ["SOPRANO_AUTH__KEYS_FILE"] = str(tmp_path / "keys.toml")
        if text != "missing":
            (tmp_path / "keys.toml").write_text(text)
    done = run_console("serve", "--port", "0", environ=environ)
    output = (done.stdout + done.stderr).decode()
    assert done.returncode == 2
    assert len(output.strip().splitlines()) == 1
    for part in parts:
        assert part in output
    assert WRONG not in output
    assert GIVEN not in output


def test_the_settings_are_shown_without_the_keys() -> None:
    done = run_console("config", environ={"SOPRANO_AUTH__KEYS": f"alice:{GIVEN}"})
    assert done.returncode == 0
    (line,) = [line for line in done.stdout.decode().splitlines() if line.startswith("auth.keys ")]
    assert line.split() == ["auth.keys", "(hidden)", "environment", "SOPRANO_AUTH__KEYS"]
    assert GIVEN not in (done.stdout + done.stderr).decode()
