"""Keys and their limits, over fakes, on a real socket."""

import asyncio
import base64
import re
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from typing import Any

import httpx
import msgspec
import pytest
from litestar import Litestar, Request, get
from structlog.testing import capture_logs

from app.domain.api_keys import KeyLimits
from app.domain.errors import SynthesisError
from app.domain.segment import TextSegment
from app.domain.services.lifecycle import WARM_UP_TEXT
from app.entrypoints.http.access import key_name, protocol_to_accept
from app.entrypoints.settings import AuthSettings, Settings
from tests.examples import table
from tests.serving import Fakes, serving

KEY = "sk-soprano-0123456789abcdef"
SPEECH = "/v1/audio/speech"
BODY = {"input": "One. Two."}
LISTS = ["/v1/models", "/v1/models/hum", "/v1/audio/models", "/v1/audio/voices"]
ALWAYS_OPEN = [
    "/",
    "/page/page.js",
    "/page/page.css",
    "/health/live",
    "/health/ready",
    "/schema",
    "/schema/openapi.json",
]


@asynccontextmanager
async def client_of(
    fakes: Fakes, headers: dict[str, str] | None = None, app: Litestar | None = None
) -> AsyncIterator[httpx.AsyncClient]:
    """A client of a server that is ready."""
    async with (
        serving(app or fakes.app()) as url,
        httpx.AsyncClient(base_url=url, headers=headers) as client,
    ):
        await wait_until_ready(client)
        yield client


async def wait_until_ready(client: httpx.AsyncClient) -> None:
    while (await client.get("/health/ready")).status_code != 200:
        await asyncio.sleep(0.01)


@pytest.fixture
async def keyed(fakes: Fakes) -> AsyncIterator[httpx.AsyncClient]:
    """A client without a key of a server that wants one."""
    fakes.keys.give("alice", KEY)
    async with client_of(fakes) as client:
        yield client


def with_keys(limits: KeyLimits | None = None, **auth: Any) -> Fakes:
    fakes = Fakes(Settings(auth=AuthSettings(**auth)))
    fakes.keys.give("alice", KEY, limits)
    return fakes


def bearer(key: str = KEY) -> dict[str, str]:
    return {"authorization": f"Bearer {key}"}


def assert_is_401(answer: httpx.Response, words: str = "") -> None:
    assert answer.status_code == 401
    assert answer.headers["www-authenticate"] == "Bearer"
    assert answer.headers["x-should-retry"] == "false"
    assert answer.headers["x-request-id"]
    error = answer.json()["error"]
    assert set(error) == {"message", "type", "param", "code"}
    assert (error["type"], error["code"]) == ("invalid_request_error", "invalid_api_key")
    assert error["param"] is None
    assert words in error["message"]


@table("value", [None, "", "Bearer", "Bearer x", "Basic eDp5", "?"])
async def test_without_keys_everything_is_open_whatever_is_sent(
    client: httpx.AsyncClient, value: str | None
) -> None:
    headers = {} if value is None else {"authorization": value}
    await wait_until_ready(client)
    for path in (*ALWAYS_OPEN, *LISTS, "/metrics"):
        assert (await client.get(path, headers=headers)).status_code == 200, path
    assert (await client.post(SPEECH, json=BODY, headers=headers)).status_code == 200


async def test_with_keys_only_the_pages_the_health_and_the_lists_are_open() -> None:
    async with client_of(with_keys()) as client:
        for path in (*ALWAYS_OPEN, *LISTS):
            assert (await client.get(path)).status_code == 200, path
        assert_is_401(await client.get("/metrics"))
        assert_is_401(await client.post(SPEECH, json=BODY))


async def test_the_metrics_can_be_open_and_the_lists_closed() -> None:
    async with client_of(with_keys(open_routes="metrics")) as client:
        assert (await client.get("/metrics")).status_code == 200
        for path in LISTS:
            assert_is_401(await client.get(path))
            assert (await client.get(path, headers=bearer())).status_code == 200
        for path in ALWAYS_OPEN:
            assert (await client.get(path)).status_code == 200, path


async def test_both_can_be_open() -> None:
    async with client_of(with_keys(open_routes="all")) as client:
        for path in ("/metrics", *LISTS):
            assert (await client.get(path)).status_code == 200, path
        assert_is_401(await client.post(SPEECH, json=BODY))


async def test_a_route_that_says_nothing_of_access_is_closed() -> None:
    @get("/v1/new", sync_to_thread=False)
    def new() -> str:
        return "new"

    fakes = with_keys()
    app = fakes.app()
    app.register(new)
    async with client_of(fakes, app=app) as client:
        assert_is_401(await client.get("/v1/new"))
        assert (await client.head("/v1/new", headers=bearer("wrong"))).status_code == 401
        assert (await client.get("/v1/new", headers=bearer())).text == "new"


@table("scheme", ["Bearer", "bearer", "BEARER", "bEaReR"])
async def test_the_scheme_may_be_written_in_any_case(keyed: httpx.AsyncClient, scheme: str) -> None:
    headers = {"authorization": f"{scheme} {KEY}"}
    assert (await keyed.post(SPEECH, json=BODY, headers=headers)).status_code == 200
    assert (await keyed.get("/metrics", headers=headers)).status_code == 200


MISSING, WRONG = "An API key is needed", "not known"


@table(
    ("headers", "words"),
    [
        ({}, MISSING),
        ({"authorization": ""}, MISSING),
        ({"authorization": "Bearer"}, MISSING),
        ({"authorization": KEY}, MISSING),
        ({"authorization": "Basic " + base64.b64encode(f"x:{KEY}".encode()).decode()}, MISSING),
        ({"authorization": f"Token {KEY}"}, MISSING),
        ({"api-key": KEY}, MISSING),
        ({"x-api-key": KEY}, MISSING),
        ({"xi-api-key": KEY}, MISSING),
        ({"cookie": f"api_key={KEY}"}, MISSING),
        ({"authorization": f"Bearer {KEY[:-1]}"}, WRONG),
        ({"authorization": f"Bearer {KEY}0"}, WRONG),
        ({"authorization": f"Bearer {KEY.upper()}"}, WRONG),
        ({"authorization": f"Bearer {KEY} {KEY}"}, WRONG),
        ({"authorization": f"Bearer {KEY},{KEY}"}, WRONG),
        ({"authorization": "Bearer " + "x" * 8_000}, WRONG),
        ({"authorization": f"Bearer {KEY}\xe4".encode("latin-1")}, WRONG),
    ],
)
async def test_no_key_or_a_wrong_one_is_a_401_in_openais_shape(
    keyed: httpx.AsyncClient, fakes: Fakes, headers: dict[str, str], words: str
) -> None:
    answer = await keyed.post(SPEECH, json=BODY, headers=headers)
    assert_is_401(answer, words)
    assert KEY[:-1] not in answer.text
    assert fakes.model.spoken[1:] == []  # the first is the warm-up


async def test_two_keys_are_none() -> None:
    async with client_of(with_keys()) as client:
        twice = [("authorization", f"Bearer {KEY}")] * 2
        words = "One Authorization header is expected; 2 were sent."
        assert_is_401(await client.post(SPEECH, json=BODY, headers=twice), words)
        assert_is_401(await client.get("/metrics", headers=twice), words)


@table("name", ["api_key", "key", "access_token", "authorization"])
async def test_a_key_in_the_query_is_not_read(keyed: httpx.AsyncClient, name: str) -> None:
    assert_is_401(await keyed.post(f"{SPEECH}?{name}={KEY}", json=BODY), MISSING)


@pytest.mark.parametrize("framing", ["content-length: 200000", "transfer-encoding: chunked"])
async def test_the_refusal_does_not_wait_for_the_body(framing: str) -> None:
    async with client_of(with_keys()) as client:
        reader, writer = await asyncio.open_connection(client.base_url.host, client.base_url.port)
        head = f"POST {SPEECH} HTTP/1.1\r\nhost: localhost\r\n"
        head += f"content-type: application/json\r\n{framing}"
        writer.write(f"{head}\r\n\r\n".encode())
        assert (await reader.readline()).startswith(b"HTTP/1.1 401 ")
        writer.close()


@table(
    ("content", "headers"),
    [(b"{", {}), (b"", {}), (b"x" * 300_000, {}), (b"{}", {"content-type": "text/plain"})],
)
async def test_whoever_has_no_key_learns_nothing_of_the_body(
    keyed: httpx.AsyncClient, content: bytes, headers: dict[str, str]
) -> None:
    assert_is_401(await keyed.post(SPEECH, content=content, headers=headers))


async def test_the_name_of_the_key_is_in_every_event_and_for_others_to_read() -> None:
    @get("/v1/whose")
    async def whose(request: Request[Any, Any, Any]) -> dict[str, str | None]:
        return {"name": key_name(request.scope)}

    for fakes, name in ((Fakes(), None), (with_keys(), "alice")):
        app = fakes.app()
        app.register(whose)
        async with client_of(fakes, bearer(), app) as client:
            assert (await client.get("/v1/whose")).json() == {"name": name}
            with capture_logs() as events:
                await client.get("/v1/whose")
                await client.get("/health/live")
        of_request, of_health = [e for e in events if e["event"] == "http.request"]
        assert of_request.get("api_key") == name
        assert "api_key" not in of_health


def limited(most: int = 0, per_minute: int = 0) -> Fakes:
    return with_keys(KeyLimits(per_minute, most))


def assert_is_429(answer: httpx.Response, retry_after: str, words: str) -> None:
    assert answer.status_code == 429
    assert answer.headers["retry-after"] == retry_after
    assert 0 < int(answer.headers["retry-after-ms"]) <= int(retry_after) * 1_000
    assert "x-should-retry" not in answer.headers
    error = answer.json()["error"]
    assert (error["type"], error["code"]) == ("rate_limit_error", "rate_limit_exceeded")
    assert words in error["message"]


async def test_requests_per_minute_are_limited_for_speech_alone() -> None:
    fakes = limited(per_minute=4)
    async with client_of(fakes, bearer()) as client:
        for _ in range(4):
            assert (await client.post(SPEECH, json=BODY)).status_code == 200
        await fakes.clock.advance(1)
        refused = await client.post(SPEECH, json=BODY)
        assert_is_429(refused, "14", "4 per minute")
        assert refused.headers["retry-after-ms"] == "14000"
        for path in (*LISTS, "/metrics"):
            assert (await client.get(path)).status_code == 200
        await fakes.clock.advance(14)
        assert (await client.post(SPEECH, json=BODY)).status_code == 200
        assert (await client.post(SPEECH, json=BODY)).status_code == 429


async def test_a_refused_request_does_not_wait_for_its_body() -> None:
    async with client_of(limited(per_minute=1), bearer()) as client:
        assert (await client.post(SPEECH, json=BODY)).status_code == 200
        assert (await client.post(SPEECH, content=b"{")).status_code == 429


async def test_a_request_that_cannot_work_counts_as_well() -> None:
    async with client_of(limited(per_minute=2), bearer()) as client:
        for _ in range(2):
            assert (await client.post(SPEECH, content=b"{")).status_code == 400
        assert (await client.post(SPEECH, json=BODY)).status_code == 429


async def test_without_keys_there_are_no_limits() -> None:
    auth = AuthSettings(requests_per_minute=1, max_concurrent=1)
    async with client_of(Fakes(Settings(auth=auth))) as client:
        answers = await asyncio.gather(*(client.post(SPEECH, json=BODY) for _ in range(5)))
        assert {answer.status_code for answer in answers} == {200}


class Gate:
    """Lets the fake model speak when it is opened; all but the first segment if `after_first`."""

    def __init__(self, fakes: Fakes, *, after_first: bool) -> None:
        self.opened = asyncio.Event()
        self._after_first = after_first
        fakes.model.before_speaking = self.wait

    async def wait(self, segment: TextSegment) -> None:
        is_warm_up = segment.text == WARM_UP_TEXT
        if not is_warm_up and (segment.index or not self._after_first):
            await self.opened.wait()


async def running(fakes: Fakes, count: int = 1) -> None:
    while not fakes.observer.loaded or fakes.model.num_running < count:
        await asyncio.sleep(0.005)


async def freed(client: httpx.AsyncClient) -> httpx.Response:
    """The answer to a request once the place is free."""
    for _ in range(400):
        answer = await client.post(SPEECH, json=BODY)
        if answer.status_code != 429:
            return answer
        await asyncio.sleep(0.01)
    raise AssertionError("the place was never given back")


@pytest.mark.parametrize("stream", [True, False])
async def test_a_place_is_held_until_the_whole_answer_is_sent(*, stream: bool) -> None:
    fakes = limited(most=1)
    async with client_of(fakes, bearer()) as client:
        gate = Gate(fakes, after_first=stream)
        first = asyncio.create_task(client.post(SPEECH, json={**BODY, "stream": stream}))
        await running(fakes)
        assert_is_429(await client.post(SPEECH, json=BODY), "1", "1 at the same time")
        gate.opened.set()
        assert (await first).status_code == 200
        assert (await freed(client)).status_code == 200


async def leave_before_the_first_byte(client: httpx.AsyncClient, fakes: Fakes) -> None:
    Gate(fakes, after_first=False)
    with pytest.raises(httpx.ReadTimeout):
        await client.post(SPEECH, json=BODY, timeout=0.2)


async def leave_in_mid_stream(client: httpx.AsyncClient, fakes: Fakes) -> None:
    Gate(fakes, after_first=True)
    async with client.stream("POST", SPEECH, json=BODY) as answer:
        await anext(answer.aiter_raw())


async def leave_while_sending(client: httpx.AsyncClient, fakes: Fakes) -> None:
    _, writer = await asyncio.open_connection(client.base_url.host, client.base_url.port)
    head = f"POST {SPEECH} HTTP/1.1\r\nhost: localhost\r\nauthorization: Bearer {KEY}\r\n"
    writer.write(f"{head}content-length: 100\r\n\r\n{{".encode())
    await writer.drain()
    writer.close()


async def fail_before_the_first_byte(client: httpx.AsyncClient, fakes: Fakes) -> None:
    fakes.model.fail_on = ("One.", SynthesisError())
    assert (await client.post(SPEECH, json=BODY)).status_code == 500


async def fail_in_mid_stream(client: httpx.AsyncClient, fakes: Fakes) -> None:
    fakes.model.fail_on = ("Two.", SynthesisError())
    with suppress(httpx.RemoteProtocolError):
        await client.post(SPEECH, json=BODY)


async def fail_as_nobody_foresaw(client: httpx.AsyncClient, fakes: Fakes) -> None:
    fakes.model.fail_on = ("One.", ZeroDivisionError())
    assert (await client.post(SPEECH, json=BODY)).status_code == 500


async def send_nonsense(client: httpx.AsyncClient, fakes: Fakes) -> None:
    assert (await client.post(SPEECH, content=b"{")).status_code == 400


@pytest.mark.parametrize(
    "end",
    [
        leave_before_the_first_byte, leave_in_mid_stream, leave_while_sending,
        fail_before_the_first_byte, fail_in_mid_stream, fail_as_nobody_foresaw, send_nonsense,
    ],
)  # fmt: skip
async def test_a_place_is_given_back_however_a_request_ends(end: Callable[..., Any]) -> None:
    fakes = limited(most=1)
    async with client_of(fakes, bearer()) as client:
        for _ in range(2):
            await end(client, fakes)
            fakes.model.before_speaking = fakes.model.fail_on = None
            assert (await freed(client)).status_code == 200


@pytest.mark.parametrize(
    ("offered", "accepted"),
    [
        ([], None),
        (["realtime"], "realtime"),
        ([f"openai-insecure-api-key.{KEY}", "realtime", "beta"], "realtime"),
        ([f"openai-insecure-api-key.{KEY}"], f"openai-insecure-api-key.{KEY}"),
    ],
)
def test_the_accepted_protocol_is_not_the_key_unless_there_is_no_other(
    offered: list[str], accepted: str | None
) -> None:
    assert protocol_to_accept(offered) == accepted


@pytest.mark.parametrize(
    "fields",
    [{}, {"stream": False}, {"stream_format": "sse"}, {"response_format": "pcm"}, {"store": True}],
)
async def test_a_client_that_asks_again_once_its_answer_is_whole_is_within_its_limit(
    fields: dict[str, Any],
) -> None:
    fakes = Fakes()
    fakes.keys.give("alice", KEY, KeyLimits(max_concurrent=1))
    async with client_of(fakes) as client:
        reader, writer = await asyncio.open_connection(client.base_url.host, client.base_url.port)
        content = msgspec.json.encode({"input": "Hi.", **fields})
        head = f"POST {SPEECH} HTTP/1.1\r\nhost: localhost\r\nauthorization: Bearer {KEY}\r\n"
        head += f"content-type: application/json\r\ncontent-length: {len(content)}\r\n\r\n"
        for _ in range(30):
            writer.write(head.encode() + content)
            answer = await reader.readuntil(b"\r\n\r\n")
            assert answer.startswith(b"HTTP/1.1 200 ")
            if length := re.search(rb"content-length: (\d+)", answer):
                await reader.readexactly(int(length[1]))
            else:
                await reader.readuntil(b"0\r\n\r\n")
        writer.close()
