"""A server with keys, as a process: OpenAI's client, its log, its file of keys."""

import asyncio
import socket
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import ExitStack, asynccontextmanager
from pathlib import Path
from typing import Any

import httpx
import msgspec
import openai
import psutil
import pytest
from websockets.asyncio.client import connect
from websockets.exceptions import ConnectionClosed

from tests.live_client import LiveClient
from tests.serving import ServerProcess, run_console, server_process, wait_for_status

GIVEN = "sk-soprano-given-0123456789abcdef"
WRONG = "sk-soprano-wrong-0123456789abcdef"
SPEECH = "/v1/audio/speech"
RELOAD_TIMEOUT_S = 15.0
REVOKED_WITHIN_S = 2.0
FAREWELL_S = 1.0  # more, for a client that does not read
LONG_TEXT = "This is one of very many sentences. " * 110


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
    wait_until_known(keyed.url, create("late", keyed.keys_file))


def wait_until_known(url: str, key: str) -> None:
    deadline = time.monotonic() + RELOAD_TIMEOUT_S
    while time.monotonic() < deadline:
        if httpx.get(f"{url}/metrics", headers=bearer(key)).status_code == 200:
            return
        time.sleep(0.1)
    raise AssertionError("the new key was never seen")


def bearer(key: str) -> dict[str, str]:
    return {"authorization": f"Bearer {key}"}


@asynccontextmanager
async def socket_of(url: str, key: str) -> AsyncIterator[LiveClient]:
    address = url.replace("http", "ws", 1) + f"{SPEECH}/stream"
    async with connect(address, additional_headers=bearer(key)) as connection:
        client = LiveClient(connection)
        await client.until("ready")
        yield client


async def use_idle_socket(url: str, key: str, begun: asyncio.Barrier) -> float:
    async with socket_of(url, key) as client:
        return await closed_at(client, begun)


async def use_speaking_socket(url: str, key: str, begun: asyncio.Barrier) -> float:
    async with socket_of(url, key) as client:
        await client.send("text", text=LONG_TEXT)
        await client.until("caption")
        return await closed_at(client, begun)


async def closed_at(client: LiveClient, begun: asyncio.Barrier) -> float:
    await begun.wait()
    failed, _, _ = await client.until("error")
    assert failed["error"]["code"] == "invalid_api_key"
    with pytest.raises(ConnectionClosed):
        await client.receive()
    assert client.connection.close_code == 1008
    return time.monotonic()


async def use_socket_that_nobody_reads(url: str, key: str, begun: asyncio.Barrier) -> float:
    address = url.replace("http", "ws", 1) + f"{SPEECH}/stream"
    async with connect(address, additional_headers=bearer(key), max_queue=1) as connection:
        client = LiveClient(connection)
        await client.until("ready")
        await client.send("text", text=LONG_TEXT)
        await client.until("caption")
        await begun.wait()
        port = connection.local_address[1]
        while any(
            each.raddr and each.raddr.port == port and each.status == psutil.CONN_ESTABLISHED
            for each in psutil.net_connections("tcp")
        ):
            await asyncio.sleep(0.05)
        connection.transport.abort()
        return time.monotonic() - FAREWELL_S


async def use_stream(url: str, key: str, begun: asyncio.Barrier) -> float:
    ended_at, _ = await read_slowly(url, key, begun, {})
    return ended_at


async def use_events(url: str, key: str, begun: asyncio.Barrier) -> float:
    ended_at, body = await read_slowly(url, key, begun, {"stream_format": "sse"})
    assert b'"code":"invalid_api_key"' in body.split(b"\n\n")[-2]
    return ended_at


async def read_slowly(
    url: str, key: str, begun: asyncio.Barrier, form: dict[str, Any]
) -> tuple[float, bytes]:
    """When an answer that its client plays as it comes was cut, and what came of it."""
    message = {"input": LONG_TEXT, "response_format": "pcm", **form}
    body = b""
    little = (socket.SOL_SOCKET, socket.SO_RCVBUF, 65_536)  # is kept for the client by the system
    transport = httpx.AsyncHTTPTransport(socket_options=[little])
    async with (
        httpx.AsyncClient(headers=bearer(key), timeout=30, transport=transport) as client,
        client.stream("POST", url + SPEECH, json=message) as answer,
    ):
        with pytest.raises(httpx.RemoteProtocolError):
            async for part in answer.aiter_raw():
                if not body:
                    await begun.wait()
                body += part
                await asyncio.sleep(0.02)
        return time.monotonic(), body


async def test_what_runs_with_a_key_that_is_removed_ends_within_two_seconds_and_nothing_else(
    keyed: KeyedServer,
) -> None:
    before = keyed.keys_file.read_text()
    key = create("leaver", keyed.keys_file)
    wait_until_known(keyed.url, key)
    uses = (
        use_idle_socket,
        use_speaking_socket,
        use_socket_that_nobody_reads,
        use_stream,
        use_events,
    )
    begun = asyncio.Barrier(len(uses) + 1)
    async with socket_of(keyed.url, keyed.filed) as other:
        running = [asyncio.create_task(use(keyed.url, key, begun)) for use in uses]
        async with asyncio.timeout(60):
            await begun.wait()
        new = keyed.keys_file.with_name("new.toml")
        new.write_text(before)
        new.replace(keyed.keys_file)
        removed_at = time.monotonic()
        took_s = [ended_at - removed_at for ended_at in await asyncio.gather(*running)]
        assert max(took_s) < REVOKED_WITHIN_S
        await other.send("text", text="Hello.")
        await other.send("end")
        await other.until("utterance.ended")


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
