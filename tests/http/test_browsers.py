"""CORS, HEAD, OPTIONS, Accept: what browsers and tools ask besides, over fakes."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import httpx
import pytest
from litestar.types import Receive, Scope, Send

from app.domain.api_keys import KeyLimits
from app.entrypoints.http.access import AllowedHosts, is_same_host
from app.entrypoints.http.middleware import RequestMiddleware
from app.entrypoints.http.schemas import EXPOSED_HEADERS
from app.entrypoints.services import Services
from app.entrypoints.settings import ServerSettings, Settings
from tests.examples import table
from tests.serving import Fakes, serving

KEY = "sk-soprano-0123456789abcdef"
PAGE = "https://chat.example.org"
SPEECH = "/v1/audio/speech"
BODY = {"input": "One. Two."}
GETS = [
    "/", "/metrics", "/health/live", "/health/ready", "/schema", "/schema/openapi.json",
    "/v1/models", "/v1/models/hum", "/v1/audio/models", "/v1/audio/voices", "/v1/audio/files",
]  # fmt: skip

FILE = "/v1/audio/files/speech_000001.mp3"
GETS_OF_A_FILE = [FILE, f"{FILE}/captions.srt", f"{FILE}/captions.vtt"]


@asynccontextmanager
async def client_of(fakes: Fakes, **headers: str) -> AsyncIterator[httpx.AsyncClient]:
    async with (
        serving(fakes.app()) as url,
        httpx.AsyncClient(base_url=url, headers=headers) as client,
    ):
        yield client


@pytest.fixture
async def client() -> AsyncIterator[httpx.AsyncClient]:
    async with client_of(Fakes()) as client:
        yield client


def with_origins(origins: str) -> Fakes:
    return Fakes(Settings(server=ServerSettings(cors_origins=origins)))


def preflight_headers(origin: str = PAGE) -> dict[str, str]:
    return {
        "origin": origin,
        "access-control-request-method": "POST",
        "access-control-request-headers": "authorization, content-type",
    }


async def test_a_preflight_is_answered_without_a_key() -> None:
    fakes = with_origins(f"https://other.example.org, {PAGE}")
    fakes.keys.give("alice", KEY)
    async with client_of(fakes) as client:
        answer = await client.options(SPEECH, headers=preflight_headers())
        assert answer.status_code == 204
        assert answer.headers["access-control-allow-origin"] == PAGE
        assert "POST" in answer.headers["access-control-allow-methods"]
        allowed = answer.headers["access-control-allow-headers"].lower().split(", ")
        assert {"authorization", "content-type"} <= set(allowed)


@pytest.mark.parametrize("path", [SPEECH, "/nowhere"])
async def test_a_preflight_of_a_foreign_page_is_refused_in_openais_form(path: str) -> None:
    async with client_of(with_origins(PAGE)) as client:
        refused = await client.options(path, headers=preflight_headers("https://evil.org"))
    assert refused.status_code == 403
    assert refused.json()["error"]["code"] == "origin_not_allowed"
    assert not [name for name in refused.headers if name.startswith("access-control")]


async def test_every_answer_tells_the_browser_that_the_page_may_read_it() -> None:
    fakes = with_origins(PAGE)
    fakes.keys.give("alice", KEY, KeyLimits(requests_per_minute=2))
    async with client_of(fakes, origin=PAGE) as client:
        key = {"authorization": f"Bearer {KEY}"}
        fakes.model.fail_on = ("Fail.", ZeroDivisionError())
        answers = [
            await client.post(SPEECH, json=BODY, headers=key),
            await client.post(SPEECH, json={"input": "Fail."}, headers=key),
            await client.post(SPEECH, json=BODY, headers=key),
            await client.post(SPEECH, json=BODY),
            await client.get("/nowhere"),
            await client.get(SPEECH),
            await client.head("/v1/models"),
        ]
    assert [answer.status_code for answer in answers] == [200, 500, 429, 401, 404, 405, 200]
    for answer in answers:
        assert answer.headers["access-control-allow-origin"] == PAGE
        assert "Origin" in answer.headers["vary"]
        assert answer.headers["x-request-id"]
        exposed = answer.headers["access-control-expose-headers"].split(", ")
        assert set(exposed) == set(EXPOSED_HEADERS)


async def test_a_page_without_leave_may_not_read() -> None:
    async with client_of(with_origins(PAGE), origin="https://evil.org") as client:
        answer = await client.post(SPEECH, json=BODY)
        assert "access-control-allow-origin" not in answer.headers


async def test_every_page_may_be_given_leave() -> None:
    async with client_of(with_origins("*"), origin="https://any.org") as client:
        answer = await client.post(SPEECH, json=BODY)
        assert answer.headers["access-control-allow-origin"] == "*"
        assert "access-control-allow-credentials" not in answer.headers
        preflight = await client.options(SPEECH, headers=preflight_headers("https://any.org"))
        assert preflight.headers["access-control-allow-origin"] == "*"


async def test_without_the_setting_no_page_is_spoken_of(client: httpx.AsyncClient) -> None:
    for answer in (
        await client.post(SPEECH, json=BODY, headers={"origin": PAGE}),
        await client.options(SPEECH, headers=preflight_headers()),
    ):
        assert not [name for name in answer.headers if name.startswith("access-control")]


@pytest.mark.parametrize(
    ("origin", "host", "is_same"),
    [
        ("http://a:1", "a:1", True),
        ("https://A.b", "a.B", True),
        ("http://[::1]:80", "[::1]:80", True),
        ("https://a.example", "a.example:443", True),
        ("http://a.example", "a.example:80", True),
        ("http://a.example", "a.example:443", False),
        ("http://a:1", "a:2", False),
        ("http://a", "", False),
        ("null", "null", False),
        ("", "", False),
    ],
)
def test_hosts_are_compared_with_their_ports(origin: str, host: str, *, is_same: bool) -> None:
    assert is_same_host(origin, host) is is_same


def without_chance(headers: httpx.Headers) -> dict[str, str]:
    return {k: v for k, v in headers.items() if k not in ("x-request-id", "date")}


@table("path", [*GETS, *GETS_OF_A_FILE])
async def test_head_is_get_without_the_body(client: httpx.AsyncClient, path: str) -> None:
    await client.post(SPEECH, json={"input": "Kept.", "store": True})
    got, head = await client.get(path), await client.head(path)
    assert head.status_code == got.status_code == 200
    assert without_chance(head.headers) == without_chance(got.headers)
    assert int(head.headers["content-length"]) == len(got.content) > 0
    assert head.content == b""


async def test_the_body_is_dropped_before_any_server_could_send_it() -> None:
    sent: list[dict[str, Any]] = []

    async def app(_: Scope, __: Receive, send: Send) -> None:
        start: Any = {"type": "http.response.start", "status": 200, "headers": []}
        await send(start)
        for more in (True, False):
            await send({"type": "http.response.body", "body": b"GET only", "more_body": more})

    async def send(message: Any) -> None:
        sent.append(message)

    async def receive() -> Any:
        raise AssertionError("nothing is asked for")

    fakes = Fakes()
    services = Services(fakes.ports(), fakes.settings)
    middleware = RequestMiddleware(app, services, AllowedHosts("127.0.0.1", ""), cors=None)
    scope: Any = {"type": "http", "method": "HEAD", "path": "/", "raw_path": b"/"}
    scope |= {"headers": [], "state": {}}
    await middleware(scope, receive, send)
    start, *bodies = sent
    assert start["status"] == 200
    assert [(message["body"], message["more_body"]) for message in bodies] == [
        (b"", True),
        (b"", False),
    ]
    assert scope["method"] == "HEAD"


async def test_head_of_every_get_in_the_schema_is_tested(client: httpx.AsyncClient) -> None:
    paths = (await client.get("/schema/openapi.json")).json()["paths"]
    gets = {path for path, item in paths.items() if "get" in item}
    named = {path.replace("{model_id}", "hum").replace("{name}", FILE[-17:]) for path in gets}
    assert named <= {*GETS, *GETS_OF_A_FILE}


@table("path", ["/nowhere", "/v1/models/other", SPEECH])
async def test_head_of_what_cannot_be_got_is_the_same_error(
    client: httpx.AsyncClient, path: str
) -> None:
    got, head = await client.get(path), await client.head(path)
    assert head.status_code == got.status_code in (404, 405)
    assert without_chance(head.headers) == without_chance(got.headers)
    assert head.content == b""


async def test_a_connection_goes_on_after_head(client: httpx.AsyncClient) -> None:
    for _ in range(3):
        assert (await client.head("/v1/models")).status_code == 200
        assert (await client.get("/health/live")).json() == {"status": "alive"}


@table("path", [*GETS, SPEECH])
async def test_options_are_the_methods(client: httpx.AsyncClient, path: str) -> None:
    answer = await client.options(path)
    assert answer.status_code == 204
    assert answer.content == b""
    methods = ["OPTIONS", "POST"] if path == SPEECH else ["GET", "HEAD", "OPTIONS"]
    assert answer.headers["allow"].split(", ") == methods


async def test_options_need_no_key() -> None:
    fakes = Fakes()
    fakes.keys.give("alice", KEY)
    async with client_of(fakes) as client:
        assert (await client.options(SPEECH)).status_code == 204
        assert (await client.options("/metrics")).status_code == 204


@table("method", ["PUT", "DELETE", "PATCH", "TRACE", "BREW"])
@table(
    ("path", "methods"),
    [("/v1/models", "GET, HEAD, OPTIONS"), (SPEECH, "OPTIONS, POST")],
)
async def test_another_method_is_told_which_there_are(
    client: httpx.AsyncClient, method: str, path: str, methods: str
) -> None:
    answer = await client.request(method, path)
    assert answer.status_code == 405
    assert answer.headers["allow"] == methods


@table(
    "accept",
    ["*/*", "application/octet-stream", "audio/wav", "text/html", "image/png;q=0", "x", "", ",;="],
)
async def test_accept_is_never_negotiated(client: httpx.AsyncClient, accept: str) -> None:
    answer = await client.post(SPEECH, json=BODY, headers={"accept": accept})
    assert (answer.status_code, answer.headers["content-type"]) == (200, "audio/mpeg")
    failed = await client.post(SPEECH, content=b"{", headers={"accept": accept})
    assert failed.json()["error"]["code"] == "invalid_json"
    models = await client.get("/v1/models", headers={"accept": accept})
    assert models.json()["object"] == "list"


@table("stream", [True, False])
@table("coding", ["gzip, br", "gzip", "deflate", "*", "identity;q=0"])
async def test_audio_is_never_compressed(
    client: httpx.AsyncClient, coding: str, *, stream: bool
) -> None:
    request = {**BODY, "stream": stream, "response_format": "wav"}
    answer = await client.post(SPEECH, json=request, headers={"accept-encoding": coding})
    assert answer.status_code == 200
    assert "content-encoding" not in answer.headers
    assert answer.content.endswith(b"!")
