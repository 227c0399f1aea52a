"""Requests that are turned away before the application sees them: how, and what the log has."""

import asyncio
import logging
from collections.abc import Awaitable, Callable
from itertools import product
from typing import Any, Final

import pytest
from structlog.testing import capture_logs

from app.entrypoints import connections
from app.entrypoints.log import LOGGED_BY_US
from app.entrypoints.settings import ServerSettings
from tests.eventually import eventually
from tests.examples import table
from tests.serving import Fakes, serving, serving_until_stopped, url_of
from tests.socket_handshake import HANDSHAKE
from tests.wire import Answer, exchange, rest_of, wired

SPEECH: Final = b"/v1/audio/speech"
KEY: Final = b"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ=="
VERSION: Final = b"Sec-WebSocket-Version: 13"


@pytest.fixture
async def events(caplog: pytest.LogCaptureFixture) -> Any:
    """Our log events so far; in the end, no library may have told of an error."""
    caplog.set_level(logging.WARNING)
    with capture_logs() as events:
        yield events
    records = [record for when in ("call", "teardown") for record in caplog.get_records(when)]
    errors = [one for one in records if one.exc_info or one.levelno >= logging.ERROR]
    assert [one for one in errors if one.getMessage() not in LOGGED_BY_US] == []


@pytest.fixture
async def url(fakes: Fakes, events: list[dict[str, Any]]) -> Any:
    async with serving(fakes.app()) as url:
        events.clear()
        yield url


def request(
    method: bytes = b"GET",
    target: bytes = b"/health/live",
    *headers: bytes,
    version: bytes = b"HTTP/1.1",
) -> bytes:
    lines = [b" ".join((method, target, version)), b"Host: localhost", *headers]
    return b"\r\n".join([*lines, b"", b""])


def chunked(method: bytes, target: bytes, body: bytes) -> bytes:
    headers = b"Transfer-Encoding: chunked", b"Content-Type: application/json"
    return request(method, target, *headers) + body


def assert_is_refused(
    answer: Answer, status: int, code: str, events: list[dict[str, Any]], *, is_head: bool = False
) -> None:
    """The answer is in OpenAI's form, the connection ended, and the log has one event of it."""
    assert answer.status == status
    assert answer.headers["content-type"] == "application/json"
    assert answer.headers["connection"] == "close"
    assert answer.headers["date"]
    if is_head:
        assert int(answer.headers["content-length"]) > 0
        assert answer.body == b""
    else:
        assert answer.error()["code"] == code
        assert int(answer.headers["content-length"]) == len(answer.body)
    assert events == [
        {
            "event": "http.refused",
            "log_level": "info",
            "error": code,
            "request_id": answer.headers["x-request-id"],
        }
    ]


BROKEN_BODIES: Final = {
    "size not a number": b"zz\r\n",
    "negative size": b"-1\r\n",
    "second size not a number": b"1\r\n \r\nzz\r\n",
    "chunk longer than its size": b"1\r\nabc\r\n0\r\n\r\n",
    "size beyond 64 bit": b"f" * 21 + b"\r\n",
    "broken trailer": b"0\r\nno colon\r\n\r\n",
}


@table("body", BROKEN_BODIES.values())
async def test_a_broken_body_is_a_400_and_one_event(
    url: str, events: list[dict[str, Any]], body: bytes
) -> None:
    for method, target in product((b"GET", b"POST", b"HEAD"), (b"/health/live", SPEECH, b"/nope")):
        events.clear()
        answer = await exchange(url, chunked(method, target, body))
        assert_is_refused(answer, 400, "invalid_http", events, is_head=method == b"HEAD")


async def test_the_size_of_a_chunk_that_does_not_end_ends_the_connection(
    url: str, events: list[dict[str, Any]]
) -> None:
    """Its first bytes may be all that has come when an answer that needs no body is made."""
    for method, target in product((b"GET", b"POST", b"HEAD"), (b"/health/live", SPEECH, b"/nope")):
        answer = await exchange(url, chunked(method, target, b"1;" + b"x" * 20_000))
        assert answer.status in (200, 400, 404, 405)
    assert {event["log_level"] for event in events} <= {"info", "debug"}


async def test_a_body_that_breaks_while_it_is_read_is_a_400_of_its_request(
    url: str, fakes: Fakes, events: list[dict[str, Any]]
) -> None:
    async with wired(url) as (reader, writer):
        writer.write(chunked(b"POST", SPEECH, b"1\r\n{\r\n"))
        await eventually(lambda: fakes.settings.server.read_timeout_s in fakes.clock.slept_s)
        writer.write(b"zz\r\n")
        answer = await rest_of(reader)
    assert (answer.status, answer.error()["code"]) == (400, "invalid_http")
    assert answer.headers["connection"] == "close"
    (event,) = events
    assert event["event"] == "http.request"
    assert (event["status"], event["error"]) == (400, "invalid_http")


async def test_a_body_that_breaks_after_the_answer_ends_the_connection(
    url: str, events: list[dict[str, Any]]
) -> None:
    async with wired(url) as (reader, writer):
        writer.write(chunked(b"GET", b"/health/live", b""))
        await reader.readuntil(b"alive")
        writer.write(b"zz\r\n")
        assert await asyncio.wait_for(reader.read(), 10) == b'"}'
    assert [event["event"] for event in events] == ["http.request"]


async def test_what_comes_after_the_last_request_of_a_connection_does_not_hurt_its_answer(
    url: str, fakes: Fakes
) -> None:
    may_go_on = asyncio.Event()

    async def wait(_: object) -> None:
        await may_go_on.wait()

    fakes.model.before_speaking = wait
    body = b'{"input":"Hi.","response_format":"wav"}'
    length = b"Content-Length: %d" % len(body)
    head = request(b"POST", SPEECH, b"Connection: close", b"Content-Type: application/json", length)
    async with wired(url) as (reader, writer):
        writer.write(head + body)
        await eventually(lambda: fakes.model.num_running > 0)
        writer.write(b"\r\n")  # old browsers send it after a body
        await asyncio.sleep(0.05)
        may_go_on.set()
        answer = await rest_of(reader)
    assert answer.status == 200
    assert answer.body.endswith(b"0\r\n\r\n")


REFUSED_HEADS: Final = {
    "HTTP/3.0": (request(version=b"HTTP/3.0"), 505, "http_version_not_supported"),
    "HTTP/2.0": (request(version=b"HTTP/2.0"), 505, "http_version_not_supported"),
    "HTTP/0.9": (request(version=b"HTTP/0.9"), 505, "http_version_not_supported"),
    "HTTP/1.2": (request(version=b"HTTP/1.2"), 505, "http_version_not_supported"),
    "the preface of HTTP/2": (
        b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
        505,
        "http_version_not_supported",
    ),
    "no version": (b"GET /health/live\r\n\r\n", 400, "invalid_http"),
    "a version that is none": (request(version=b"HTTP/x"), 400, "invalid_http"),
    "a folded header": (request(b"GET", b"/", b"X: a", b" b"), 400, "invalid_http"),
    "a folded coding": (
        request(b"POST", SPEECH, b"Transfer-Encoding:", b"\tchunked") + b"0\r\n\r\n",
        400,
        "invalid_http",
    ),
    "two hosts": (request(b"GET", b"/", b"Host: b"), 400, "invalid_http"),
    "a path of 100 kB": (request(b"GET", b"/" + b"a" * 100_000), 414, "uri_too_long"),
    "a query of 9 kB": (request(b"GET", b"/?" + b"a" * 9_000), 414, "uri_too_long"),
    "a path without end": (b"GET /" + b"a" * 9_000, 414, "uri_too_long"),
    "16 KiB with the request line": (
        request(b"GET", b"/" + b"a" * 8_000, b"X: " + b"a" * 8_400),
        431,
        "headers_too_large",
    ),
    "101 headers": (request(b"GET", b"/", *[b"X: a"] * 100), 431, "headers_too_large"),
}


@table("name", REFUSED_HEADS)
async def test_a_head_that_is_refused_is_an_answer_in_openais_form_and_one_event(
    url: str, events: list[dict[str, Any]], name: str
) -> None:
    events.clear()
    sent, status, code = REFUSED_HEADS[name]
    assert_is_refused(await exchange(url, sent), status, code, events)
    if sent.startswith(b"GET "):
        events.clear()
        answer = await exchange(url, b"HEAD" + sent.removeprefix(b"GET"))
        assert_is_refused(answer, status, code, events, is_head=True)


@table("start", [b"\r\n", b"\r\n\r\n"])
async def test_empty_lines_before_a_request_are_ignored(url: str, start: bytes) -> None:
    answer = await exchange(url, start + request(b"GET", b"/health/live", b"Connection: close"))
    assert answer.status == 200


async def test_an_empty_line_between_two_requests_is_ignored(url: str) -> None:
    first = request(b"POST", SPEECH, b"Content-Length: 2") + b"{}"
    last = request(b"GET", b"/health/live", b"Connection: close")
    answer = await exchange(url, first + b"\r\n" + last)
    assert answer.status == 400
    assert b"HTTP/1.1 200" in answer.body


async def test_the_largest_head_is_served(url: str) -> None:
    for headers in ([b"X: a"] * 98, [b"X: " + b"a" * 8_100]):
        target = b"/health/live?" + b"a" * (8_192 - len(b"/health/live?"))
        sent = request(b"GET", target, b"Connection: close", *headers)
        assert (await exchange(url, sent)).status == 200


@pytest.mark.parametrize("method", [b"GET", b"HEAD"])
async def test_one_connection_too_many_is_told_so_once_its_request_begins(
    fakes: Fakes, events: list[dict[str, Any]], method: bytes
) -> None:
    settings = ServerSettings(max_connections=1)
    async with serving_until_stopped(fakes.app(), settings) as server:
        async with wired(url_of(server)) as (reader, writer):
            writer.write(request())
            await reader.readuntil(b"\r\n\r\n")
            events.clear()
            answer = await exchange(url_of(server), request(method))
        is_head = method == b"HEAD"
        assert_is_refused(answer, 503, "too_many_connections", events, is_head=is_head)
    assert int(answer.headers["retry-after"]) > 0


def handshake(*changes: tuple[bytes, bytes]) -> bytes:
    """The handshake of the speech socket, with other lines."""
    sent = HANDSHAKE
    for old, new in changes:
        assert old in sent
        sent = sent.replace(old, new, 1)
    return sent


def with_header(header: bytes) -> bytes:
    return handshake((VERSION, VERSION + b"\r\n" + header))


BAD_HANDSHAKES: Final = {
    "no key": (handshake((KEY, b"X: a")), 400, "invalid_handshake"),
    "a short key": (handshake((KEY, b"Sec-WebSocket-Key: abc")), 400, "invalid_handshake"),
    "a key beyond ASCII": (handshake((KEY, b"Sec-WebSocket-Key: \xff")), 400, "invalid_handshake"),
    "two keys": (with_header(KEY), 400, "invalid_handshake"),
    "no version": (handshake((VERSION, b"X: a")), 400, "invalid_handshake"),
    "version 8": (handshake((VERSION, VERSION[:-2] + b"8")), 426, "upgrade_required"),
    "two protocols": (
        handshake((b"Upgrade: w", b"Upgrade: h2c\r\nUpgrade: w")),
        426,
        "upgrade_required",
    ),
    "a bad subprotocol": (with_header(b"Sec-WebSocket-Protocol: a b"), 400, "invalid_handshake"),
    "two origins": (with_header(b"Origin: a\r\nOrigin: b"), 400, "invalid_handshake"),
    "a body": (with_header(b"Content-Length: 5"), 400, "invalid_handshake"),
    "chunks": (with_header(b"Transfer-Encoding: chunked"), 400, "invalid_handshake"),
    "a control character": (with_header(b"X: a\x01b"), 400, "invalid_handshake"),
    "a long header": (with_header(b"X: " + b"a" * 9_000), 431, "headers_too_large"),
    "a long path": (handshake((SPEECH, b"/" + b"a" * 8_180)), 414, "uri_too_long"),
}


@table("name", BAD_HANDSHAKES)
async def test_a_bad_handshake_is_answered_in_openais_form(
    url: str, events: list[dict[str, Any]], name: str
) -> None:
    events.clear()
    sent, status, code = BAD_HANDSHAKES[name]
    answer = await exchange(url, sent)
    assert_is_refused(answer, status, code, events)
    if status == 426:
        assert answer.headers["upgrade"] == "websocket"
        assert answer.headers["sec-websocket-version"] == "13"


@table("behind", [b"\xff\xff\xff\xff", b"\x81\x02{}", b"GET / HTTP/1.1\r\nhost: a\r\n\r\n"])
@table("name", ["no key", "no version", "version 8", "two keys", "a bad subprotocol"])
async def test_what_is_behind_a_bad_handshake_is_no_frame(
    url: str, events: list[dict[str, Any]], name: str, behind: bytes
) -> None:
    events.clear()
    sent, status, code = BAD_HANDSHAKES[name]
    assert_is_refused(await exchange(url, sent + behind), status, code, events)


async def test_a_bad_handshake_names_its_header_and_no_key(url: str) -> None:
    sent = with_header(b"Sec-WebSocket-Protocol: openai-insecure-api-key.sk-1, a b")
    message = (await exchange(url, sent)).error()["message"]
    assert "Sec-WebSocket-Protocol" in message
    assert "sk-1" not in message


@table("path", [b"/nope", b"/v1/audio/speech", b"/", b"/v1/audio/speech/stream%2f"])
async def test_a_websocket_where_there_is_none_is_a_404_in_openais_form(
    url: str, events: list[dict[str, Any]], path: bytes
) -> None:
    events.clear()
    answer = await exchange(url, handshake((b"/v1/audio/speech/stream", path)))
    assert (answer.status, answer.error()["code"]) == (404, "not_found")
    assert answer.headers["content-type"] == "application/json"
    assert answer.headers["connection"] == "close"
    assert answer.headers["x-request-id"]
    (event,) = events
    assert (event["event"], event["method"]) == ("http.request", "WEBSOCKET")
    assert (event["status"], event["error"]) == (404, "not_found")


@table(
    ("change", "status"),
    [
        ((b"GET ", b"HEAD "), 405),
        ((b"GET ", b"POST "), 405),
        ((b"HTTP/1.1", b"HTTP/1.0"), 405),
        ((b"websocket", b"h2c"), 405),
    ],
)
async def test_a_wish_for_a_websocket_that_cannot_be_one_is_ignored(
    url: str, change: tuple[bytes, bytes], status: int
) -> None:
    sent = handshake(change, (KEY, KEY + b"\r\nConnection: close"))
    answer = await exchange(
        url, sent.replace(b"Connection: Upgrade", b"Connection: Upgrade, close")
    )
    assert answer.status == status


def frame(opcode: int, content: bytes, *, is_final: bool = True) -> bytes:
    """A frame with an empty mask (RFC 6455, section 5.2)."""
    return bytes([opcode | 0x80 * is_final, 0x80 | len(content)]) + bytes(4) + content


TEXT, CONTINUATION, CLOSE, PING = 1, 0, 8, 9


@table(
    "sent",
    [
        frame(TEXT, b"\xff"),
        frame(TEXT, b"\xe2", is_final=False) + frame(CONTINUATION, b"\xff"),
        frame(TEXT, b"\xff") + frame(TEXT, b"\xff") + frame(PING, b"") + frame(CLOSE, b""),
        frame(CLOSE, b"\x03\xff"),
        frame(CONTINUATION, b"a"),
        frame(3, b""),
        b"\x81\xff" + b"\xff" * 8,
    ],
)
async def test_frames_that_are_none_close_the_socket(
    url: str, events: list[dict[str, Any]], sent: bytes
) -> None:
    async with wired(url) as (reader, writer):
        events.clear()
        writer.write(HANDSHAKE)
        await reader.readuntil(b"ready")
        writer.write(sent)
        answer = await asyncio.wait_for(reader.read(), 10)
    assert b"\x88" in answer
    await eventually(lambda: bool(events))
    assert [(event["event"], event["status"]) for event in events] == [("http.request", 101)]


async def test_a_message_in_the_packet_of_the_handshake_is_answered(
    url: str, events: list[dict[str, Any]]
) -> None:
    async with wired(url) as (reader, writer):
        writer.write(HANDSHAKE + frame(TEXT, b'{"type":"ping","id":"early"}'))
        head = await asyncio.wait_for(reader.readuntil(b"\r\n\r\n"), 10)
        assert head.startswith(b"HTTP/1.1 101 ")
        await asyncio.wait_for(reader.readuntil(b'"pong","id":"early"'), 10)
    await eventually(lambda: bool(events))
    assert [(event["event"], event["status"]) for event in events] == [("http.request", 101)]


async def test_frames_behind_a_handshake_that_is_refused_leave_its_answer_as_it_is(
    url: str,
) -> None:
    sent = HANDSHAKE.replace(b"/stream", b"") + frame(TEXT, b"{}")
    answer = await exchange(url, sent)
    assert (answer.status, answer.error()["code"]) == (404, "not_found")


MAX_UNFINISHED: Final = 100_000
PART: Final = b" " * 60_000
"""Of a body or a message: one may be there, two are too many."""


@pytest.fixture
async def narrow_url(
    fakes: Fakes, events: list[dict[str, Any]], monkeypatch: pytest.MonkeyPatch
) -> Any:
    """A server that holds few unfinished bodies."""
    monkeypatch.setattr(connections, "MAX_UNFINISHED_BYTES", MAX_UNFINISHED)
    async with serving(fakes.app()) as url:
        events.clear()
        yield url


def unfinished_body() -> bytes:
    length = b"Content-Length: %d" % (2 * len(PART))
    return request(b"POST", SPEECH, b"Content-Type: application/json", length) + PART


UNFINISHED_MESSAGES: Final = {
    "one frame": b"\x81\xff" + (2 * len(PART)).to_bytes(8) + bytes(4) + PART,
    "many frames": b"\x01\x80" + bytes(4) + (b"\x00\xfd" + bytes(4) + b" " * 125) * 480,
}


async def test_a_body_beyond_what_all_unfinished_ones_may_take_is_a_503(
    narrow_url: str, events: list[dict[str, Any]]
) -> None:
    async with wired(narrow_url) as (_, first):
        first.write(unfinished_body())
        await first.drain()
        await asyncio.sleep(0.2)
        answer = await exchange(narrow_url, unfinished_body())
        error = answer.error()
        assert (answer.status, error["code"]) == (503, "too_many_unfinished_bodies")
        assert error["type"] == "server_error"
        assert int(answer.headers["retry-after"]) > 0
        assert answer.headers["connection"] == "close"
        whole = b'{"input":"Hi."}'
        headers = b"Content-Type: application/json", b"Content-Length: %d" % len(whole)
        small = await exchange(
            narrow_url, request(b"POST", SPEECH, *headers, b"Connection: close") + whole
        )
        assert small.status == 200
    refused = [event for event in events if event["event"] == "http.refused"]
    assert [event["error"] for event in refused] == ["too_many_unfinished_bodies"]


@pytest.mark.parametrize("name", UNFINISHED_MESSAGES)
async def test_a_message_beyond_that_closes_its_socket(narrow_url: str, name: str) -> None:
    async with wired(narrow_url) as (_, first), wired(narrow_url) as (reader, writer):
        for each in first, writer:
            each.write(HANDSHAKE + UNFINISHED_MESSAGES[name])
            await each.drain()
            await asyncio.sleep(0.2)
        received = await asyncio.wait_for(reader.read(), 10)
    close = (1013).to_bytes(2) + b"too_many_unfinished_bodies"
    assert received.endswith(b"\x88" + bytes([len(close)]) + close)


async def leave_body(url: str) -> None:
    async with wired(url) as (_, writer):
        writer.write(unfinished_body())
        await writer.drain()
        await asyncio.sleep(0.1)


async def leave_message(url: str) -> None:
    async with wired(url) as (_, writer):
        writer.write(HANDSHAKE + UNFINISHED_MESSAGES["many frames"])
        await writer.drain()
        await asyncio.sleep(0.1)


async def send_too_large_body(url: str) -> None:
    async with wired(url) as (reader, writer):
        length = b"Content-Length: 10000000"
        writer.write(request(b"POST", SPEECH, b"Content-Type: application/json", length) + PART)
        assert (await asyncio.wait_for(reader.readline(), 10)).startswith(b"HTTP/1.1 413 ")


async def send_broken_chunks(url: str) -> None:
    answer = await exchange(url, chunked(b"POST", SPEECH, b"ea60\r\n" + PART + b"\r\nxyz\r\n"))
    assert answer.status == 400


async def send_whole_body(url: str) -> None:
    text = PART[: MAX_UNFINISHED // 2] + b'{"input":"Hi."}'
    headers = b"Content-Type: application/json", b"Content-Length: %d" % len(text)
    answer = await exchange(url, request(b"POST", SPEECH, *headers, b"Connection: close") + text)
    assert answer.status == 200


@pytest.mark.parametrize(
    "use",
    [leave_body, leave_message, send_too_large_body, send_broken_chunks, send_whole_body],
)
async def test_what_an_unfinished_body_takes_is_given_back_however_it_ends(
    narrow_url: str, use: Callable[[str], Awaitable[None]]
) -> None:
    for _ in range(4):
        await use(narrow_url)
    await asyncio.sleep(0.1)
    await send_whole_body(narrow_url)
