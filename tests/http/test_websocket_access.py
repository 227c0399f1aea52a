"""Keys, limits and origins of WebSockets: before anything is accepted.

A route of the test's own stands for all; its server is the test itself, so that every message of
the application can be looked at.
"""

import asyncio
from collections.abc import Mapping
from contextlib import suppress
from typing import Any

import msgspec
import pytest
from litestar import Litestar, WebSocket, websocket
from litestar.types import Receive, Scope, Send

from app.domain.api_keys import KeyLimits
from app.entrypoints.http.access import LIMITED, key_name, protocol_to_accept
from app.entrypoints.settings import ServerSettings, Settings
from tests.examples import table
from tests.serving import Fakes

KEY = "sk-soprano-0123456789abcdef"
PATH = "/v1/test"
AUTHORIZED = {"authorization": f"Bearer {KEY}"}
HOST = "localhost:8000"


@websocket(PATH, opt=LIMITED)
async def whose(socket: WebSocket[Any, Any, Any]) -> None:
    """Says whose key it is; then waits until the client leaves."""
    await socket.accept(subprotocols=protocol_to_accept(socket.scope["subprotocols"]))
    await socket.send_text(str(key_name(socket.scope)))
    with suppress(Exception):
        await socket.receive_text()
    await socket.close()


class Connection:
    """One WebSocket, from the server's side of ASGI.

    Attributes:
        sent: all messages of the application.
    """

    def __init__(self, app: Litestar, scope: Mapping[str, Any]) -> None:
        self.sent: list[dict[str, Any]] = []
        self._incoming: asyncio.Queue[dict[str, Any]] = asyncio.Queue()
        self._incoming.put_nowait({"type": "websocket.connect"})
        self._changed = asyncio.Event()
        self._running = asyncio.ensure_future(self._run(app, dict(scope)))

    async def _run(self, app: Litestar, scope: Any) -> None:
        async def send(message: Any) -> None:
            self.sent.append(message)
            self._changed.set()

        receive: Receive = self._incoming.get  # type: ignore[assignment]
        sender: Send = send
        asgi_scope: Scope = scope
        await app(asgi_scope, receive, sender)

    async def answered(self, count: int = 1) -> "Connection":
        """Once there are `count` messages."""
        while len(self.sent) < count:
            self._changed.clear()
            await asyncio.wait_for(self._changed.wait(), 5)
        return self

    async def leave(self) -> None:
        await self._incoming.put({"type": "websocket.disconnect", "code": 1001})
        await asyncio.wait_for(self._running, 5)

    @property
    def types(self) -> list[str]:
        return [message["type"] for message in self.sent]


def connect(
    app: Litestar,
    headers: Mapping[str, str] | None = None,
    protocols: tuple[str, ...] = (),
    *,
    has_extension: bool = True,
) -> Connection:
    named = {"host": HOST, **(headers or {})}
    return Connection(
        app,
        {
            "type": "websocket",
            "path": PATH,
            "raw_path": PATH.encode(),
            "query_string": f"api_key={KEY}".encode(),
            "root_path": "",
            "scheme": "ws",
            "headers": [(name.encode(), value.encode()) for name, value in named.items()],
            "subprotocols": list(protocols),
            "extensions": {"websocket.http.response": {}} if has_extension else {},
            "client": ("127.0.0.1", 1),
            "server": ("127.0.0.1", 8000),
        },
    )


def app_of(fakes: Fakes) -> Litestar:
    app = fakes.app()
    app.register(whose)
    return app


def with_key(limits: KeyLimits | None = None, cors_origins: str = "") -> Litestar:
    fakes = Fakes(Settings(server=ServerSettings(cors_origins=cors_origins)))
    fakes.keys.give("alice", KEY, limits)
    return app_of(fakes)


@pytest.fixture
def keyed() -> Litestar:
    return with_key()


@pytest.fixture
def of_a_page() -> Litestar:
    """One that a page of chat.example.org may use."""
    return with_key(cors_origins="https://chat.example.org")


@pytest.fixture
def named() -> Litestar:
    """One that is reached as speech.example.org."""
    fakes = Fakes(Settings(server=ServerSettings(allowed_hosts="speech.example.org")))
    fakes.keys.give("alice", KEY)
    return app_of(fakes)


def assert_is_refused(connection: Connection, status: int, code: str) -> dict[str, str]:
    """Nothing was accepted, and the answer has OpenAI's body; its headers."""
    assert connection.types == ["websocket.http.response.start", "websocket.http.response.body"]
    start, body = connection.sent
    assert start["status"] == status
    assert msgspec.json.decode(body["body"])["error"]["code"] == code
    headers = {name.decode(): value.decode() for name, value in start["headers"]}
    assert headers["content-length"] == str(len(body["body"]))
    assert headers["content-type"] == "application/json"
    return headers


async def test_without_keys_a_socket_needs_none() -> None:
    connection = await connect(app_of(Fakes()), {"authorization": "Bearer x"}).answered(2)
    assert connection.sent[1]["text"] == "None"
    await connection.leave()


@table(
    ("headers", "protocols", "accepted"),
    [
        ({"authorization": f"Bearer {KEY}"}, (), None),
        ({"authorization": f"bearer {KEY}"}, ("realtime",), "realtime"),
        ({}, ("realtime", f"openai-insecure-api-key.{KEY}"), "realtime"),
    ],
)
async def test_a_key_may_come_in_the_header_or_as_a_protocol(
    keyed: Litestar, headers: dict[str, str], protocols: tuple[str, ...], accepted: str | None
) -> None:
    connection = await connect(keyed, headers, protocols).answered(2)
    assert connection.types[0] == "websocket.accept"
    assert connection.sent[0]["subprotocol"] == accepted
    assert connection.sent[1]["text"] == "alice"
    await connection.leave()


@table(
    ("headers", "protocols"),
    [
        ({}, ()),
        ({}, ("realtime",)),
        ({}, ("openai-insecure-api-key.",)),
        ({}, (f"openai-insecure-api-key.{KEY}x",)),
        ({}, (f"openai-insecure-api-key.{KEY}", f"openai-insecure-api-key.{KEY}")),
        ({}, (KEY,)),
        ({"authorization": "Bearer wrong"}, (f"openai-insecure-api-key.{KEY}",)),
    ],
)
async def test_without_the_right_key_a_socket_is_refused_with_a_401_before_it_is_accepted(
    keyed: Litestar, headers: dict[str, str], protocols: tuple[str, ...]
) -> None:
    connection = await connect(keyed, headers, protocols).answered(2)
    refused = assert_is_refused(connection, 401, "invalid_api_key")
    assert refused["www-authenticate"] == "Bearer"


async def test_a_server_that_cannot_answer_so_closes() -> None:
    connection = await connect(with_key(), has_extension=False).answered()
    assert connection.types == ["websocket.close"]


async def test_a_socket_holds_its_place_as_long_as_it_is_open() -> None:
    app = with_key(KeyLimits(max_concurrent=1))
    for _ in range(2):
        first = await connect(app, AUTHORIZED).answered(2)
        second = await connect(app, AUTHORIZED).answered(2)
        refused = assert_is_refused(second, 429, "rate_limit_exceeded")
        assert refused["retry-after"] == "1"
        await first.leave()


@pytest.mark.parametrize(
    ("origin", "allowed"),
    [
        ("http://localhost:8000", ""),
        ("https://LOCALHOST:8000", ""),
        ("https://chat.example.org", "https://chat.example.org"),
        ("https://chat.example.org", "https://other.example.org, https://chat.example.org"),
        ("https://chat.example.org", "*"),
        ("null", "*"),
    ],
)
async def test_a_page_of_this_host_or_one_with_leave_may_connect(origin: str, allowed: str) -> None:
    app = with_key(cors_origins=allowed)
    connection = connect(app, {"origin": origin, **AUTHORIZED})
    assert (await connection.answered()).types[0] == "websocket.accept"
    await connection.leave()


@table(
    "origin",
    [
        "https://evil.example.org",
        "http://localhost",
        "http://localhost:3000",
        "http://127.0.0.1:8000",
        "https://localhost:8000.evil.example.org",
        "https://chat.example.org.evil.example.org",
        "null",
        "",
        "://",
    ],
)
async def test_another_page_is_refused_with_a_403_even_with_a_key(
    of_a_page: Litestar, origin: str
) -> None:
    connection = connect(of_a_page, {"origin": origin, **AUTHORIZED})
    assert_is_refused(await connection.answered(2), 403, "origin_not_allowed")


@table(
    ("origin", "host", "is_allowed"),
    [
        ("http://evil.example", "evil.example", False),  # its own name resolves to this machine
        ("http://speech.example.org", "speech.example.org", True),
        ("https://speech.example.org", "127.0.0.1:8000", True),  # a proxy that passes on another
        ("https://other.example.org", "speech.example.org", False),
        ("http://127.0.0.1:8000", "127.0.0.1:8000", True),
        ("http://127.0.0.1:3000", "127.0.0.1:8000", False),
    ],
)
async def test_a_page_is_the_servers_own_by_a_name_of_the_server_and_never_by_host_alone(
    named: Litestar, origin: str, host: str, *, is_allowed: bool
) -> None:
    connection = connect(named, {"origin": origin, **AUTHORIZED, "host": host})
    if is_allowed:
        assert (await connection.answered()).types[0] == "websocket.accept"
        await connection.leave()
    else:
        assert_is_refused(await connection.answered(2), 403, "origin_not_allowed")


async def test_a_socket_to_a_name_that_is_not_the_servers_is_refused_with_a_421() -> None:
    connection = connect(app_of(Fakes()), {"host": "evil.example", "origin": "http://evil.example"})
    assert_is_refused(await connection.answered(2), 421, "host_not_allowed")


async def test_a_page_that_is_refused_costs_nothing_of_the_key() -> None:
    app = with_key(KeyLimits(requests_per_minute=1))
    evil = connect(app, {"origin": "https://evil.example.org", **AUTHORIZED})
    assert_is_refused(await evil.answered(2), 403, "origin_not_allowed")
    connection = await connect(app, AUTHORIZED).answered()
    assert connection.types[0] == "websocket.accept"
    await connection.leave()
