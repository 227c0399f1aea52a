"""Bytes that are not, or not quite, HTTP: each connection is answered or closed, and none hurts."""

import asyncio
import random
import re
import socket
import struct
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from itertools import pairwise
from typing import Final

import httpx
import msgspec
import pytest

from tests.fuzz.expectations import TOKEN
from tests.serving import ServerProcess
from tests.socket_handshake import HANDSHAKE

SEED: Final = 20_260_101

QUIET_S: Final = 0.5
"""A server that says nothing for so long waits for the rest of a request: we then hang up."""

CLOSE_LIMIT_S: Final = 10.0
"""In which the server must close after we said that nothing more will come."""

MAX_IN_FLIGHT: Final = 40

PIECE_S: Final = 0.01
"""Between the pieces of a request, so that the server reads one after the other."""

BODY: Final = b'{"input":"Oh, %s.","response_format":"pcm"}' % TOKEN.encode()

NOT_OUR_VERSION: Final = 505
"""Of HTTP: a failure of the client, whatever the number says."""

STATUS: Final = re.compile(rb"HTTP/1\.1 (\d{3}) ")


def request(
    method: bytes = b"POST",
    target: bytes = b"/v1/audio/speech",
    *,
    headers: bytes = b"",
    length: bytes | None = None,
    body: bytes = BODY,
    version: bytes = b"HTTP/1.1",
) -> bytes:
    """The bytes of a request; `headers` and `length` are whole lines."""
    if length is None:
        length = b"Content-Length: %d\r\n" % len(body)
    fixed = b"Host: localhost\r\nContent-Type: application/json\r\n"
    return b"%b %b %b\r\n" % (method, target, version) + fixed + headers + length + b"\r\n" + body


def get(target: bytes, headers: bytes = b"", method: bytes = b"GET") -> bytes:
    """The bytes of a request without body."""
    return request(method, target, headers=headers, length=b"", body=b"")


def chunked(body: bytes, headers: bytes = b"") -> bytes:
    """A request whose body is `body` as it is, named chunked."""
    return request(headers=b"Transfer-Encoding: chunked\r\n" + headers, length=b"", body=body)


CLOSE: Final = b"Connection: close\r\n"

CHUNK: Final = b"%x\r\n%b\r\n" % (len(BODY), BODY)

VALID: Final = (
    request(headers=CLOSE),
    request(headers=b"Accept: */*\r\nX-Request-Id: abc\r\n" + CLOSE),
    request(body=b'{"input":"Oh.","stream":false,"speed":2}'),
    chunked(CHUNK + b"0\r\n\r\n", CLOSE),
    get(b"/health/ready"),
    get(b"/v1/models/tts-1", CLOSE),
    get(b"/v1/audio/voices?x=%20y&z", b"Cookie: a=b; c=d\r\nAccept: text/html;q=0.5\r\n"),
)


class Exchange(msgspec.Struct):
    """What one connection sent and received."""

    sent: bytes
    received: bytes

    @property
    def statuses(self) -> list[int]:
        """Of all answers, in their order."""
        return [int(status) for status in STATUS.findall(self.received)]

    def is_harmless(self) -> bool:
        """No failure of the server is reported, and none is shown."""
        is_http = not self.received or bool(self.statuses)
        is_failure = any(status >= 500 and status != NOT_OUR_VERSION for status in self.statuses)
        return is_http and not is_failure and b"Traceback" not in self.received


class Wire:
    """Sends raw bytes to the server, each time on a connection of its own."""

    def __init__(self, port: int) -> None:
        self.port = port
        self._free = asyncio.Semaphore(MAX_IN_FLIGHT)

    @asynccontextmanager
    async def connection(self) -> AsyncIterator[tuple[asyncio.StreamReader, asyncio.StreamWriter]]:
        """A connection for one request, closed in the end."""
        reader, writer = await asyncio.open_connection("127.0.0.1", self.port)
        try:
            yield reader, writer
        finally:
            writer.close()
            with suppress(ConnectionError):
                await writer.wait_closed()

    async def exchange(self, *pieces: bytes) -> Exchange:
        """Send, wait for what comes, hang up; fails unless the server closes in time."""
        sent, received = b"".join(pieces), bytearray()
        async with self._free, self.connection() as (reader, writer):
            with suppress(OSError):
                for piece in pieces:
                    writer.write(piece)
                    await writer.drain()
                    await asyncio.sleep(PIECE_S if len(pieces) > 1 else 0)
                await read_until_quiet(reader, received)
                writer.write_eof()
                received += await read_to_the_end(reader, sent)
        return Exchange(sent, bytes(received))

    async def exchange_all(self, requests: list[bytes]) -> list[Exchange]:
        """Many at once."""
        return await self.exchange_pieces([[sent] for sent in requests])

    async def exchange_pieces(self, requests: list[list[bytes]]) -> list[Exchange]:
        """The same, of requests that come piece by piece."""
        async with asyncio.TaskGroup() as group:
            tasks = [group.create_task(self.exchange(*pieces)) for pieces in requests]
        return [task.result() for task in tasks]


async def read_until_quiet(reader: asyncio.StreamReader, received: bytearray) -> None:
    with suppress(TimeoutError):
        while part := await asyncio.wait_for(reader.read(65_536), QUIET_S):
            received += part


async def read_to_the_end(reader: asyncio.StreamReader, sent: bytes) -> bytes:
    try:
        return await asyncio.wait_for(reader.read(-1), CLOSE_LIMIT_S)
    except TimeoutError as error:
        raise AssertionError(f"seed {SEED}: still open after {sent[:2000]!r}") from error


def reset(writer: asyncio.StreamWriter) -> None:
    """Close with RST instead of FIN, as a crashed client does."""
    linger = struct.pack("ii", 1, 0)
    writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
    writer.transport.abort()


def assert_harmless(exchanges: list[Exchange]) -> None:
    for index, one in enumerate(exchanges):
        assert one.is_harmless(), (
            f"seed {SEED}, request {index}: {one.sent[:2000]!r} got {one.received[:500]!r}"
        )


@pytest.fixture
def wire(server: ServerProcess) -> Iterator[Wire]:
    yield Wire(server.port)
    assert httpx.get(f"{server.url}/health/live").status_code == 200


@pytest.fixture
def rng() -> random.Random:
    return random.Random(SEED)


def flip_bytes(rng: random.Random, valid: bytes) -> bytes:
    mutant = bytearray(valid)
    for _ in range(rng.choice([1, 1, 1, 2, 4, 16])):
        mutant[rng.randrange(len(mutant))] = rng.randrange(256)
    return bytes(mutant)


def flip_bits_of_the_head(rng: random.Random, valid: bytes) -> bytes:
    mutant = bytearray(valid)
    mutant[rng.randrange(valid.index(b"\r\n\r\n"))] ^= 1 << rng.randrange(8)
    return bytes(mutant)


def truncate(rng: random.Random, valid: bytes) -> bytes:
    return valid[: rng.randrange(len(valid))]


def remove_a_part(rng: random.Random, valid: bytes) -> bytes:
    start = rng.randrange(len(valid))
    return valid[:start] + valid[start + rng.randint(1, 20) :]


def insert_noise(rng: random.Random, valid: bytes) -> bytes:
    noise = rng.choice(
        [rng.randbytes(rng.randint(1, 8)), b"\r", b"\n", b"\r\n", b"\r\n\r\n", b"\x00", b" ", b":"]
    )
    start = rng.randrange(len(valid) + 1)
    return valid[:start] + noise + valid[start:]


def shuffle_lines(rng: random.Random, valid: bytes) -> bytes:
    lines = valid.split(b"\r\n")
    rng.shuffle(lines)
    return b"\r\n".join(lines)


def repeat_a_line(rng: random.Random, valid: bytes) -> bytes:
    lines = valid.split(b"\r\n")
    index = rng.randrange(len(lines))
    return b"\r\n".join(lines[:index] + [lines[index]] * rng.randint(2, 50) + lines[index:])


def splice(rng: random.Random, valid: bytes) -> bytes:
    other = rng.choice(VALID)
    return valid[: rng.randrange(len(valid))] + other[rng.randrange(len(other)) :]


@pytest.mark.parametrize(
    ("mutate", "number"),
    [
        (flip_bytes, 300),
        (flip_bits_of_the_head, 300),
        (truncate, 150),
        (remove_a_part, 200),
        (insert_noise, 300),
        (shuffle_lines, 100),
        (repeat_a_line, 100),
        (splice, 200),
    ],
)
async def test_a_mutated_request_is_answered_or_its_connection_closed(
    wire: Wire, rng: random.Random, mutate: Callable[[random.Random, bytes], bytes], number: int
) -> None:
    mutants = [mutate(rng, rng.choice(VALID)) for _ in range(number)]
    assert_harmless(await wire.exchange_all(mutants))


def in_pieces(rng: random.Random, sent: bytes) -> list[bytes]:
    """Of any sizes."""
    cuts = sorted(rng.randrange(len(sent) + 1) for _ in range(rng.randint(1, 3)))
    return [sent[start:end] for start, end in pairwise([0, *cuts, len(sent)])]


MUTATIONS: Final = (flip_bytes, truncate, remove_a_part, insert_noise, repeat_a_line, splice)


async def test_a_mutated_request_that_comes_in_pieces_is_answered_or_its_connection_closed(
    wire: Wire, rng: random.Random
) -> None:
    mutants = [rng.choice(MUTATIONS)(rng, rng.choice(VALID)) for _ in range(300)]
    assert_harmless(await wire.exchange_pieces([in_pieces(rng, mutant) for mutant in mutants]))


PARTS_OF_BODIES: Final = (
    CHUNK, b"1\r\n \r\n", b"0\r\n\r\n", b"zz\r\n", b"5\r\nab\r\n", b"\r\n", b"-1\r\n",
    b"0\r\nX: a\r\n b\r\n\r\n", b"0\r\nX\r\n\r\n", b"f" * 21, b"1;x\r\n \r\n", b"\xff\xfe", BODY,
)  # fmt: skip


def broken_body(rng: random.Random) -> list[bytes]:
    """A request with a body of chunks that are none, and sometimes another one behind it."""
    method = rng.choice([b"GET", b"HEAD", b"POST", b"DELETE", b"BREW", b"CONNECT"])
    target = rng.choice([*ADDRESSES, b"/v1/audio/files"])
    headers = [CLOSE, b"Expect: 100-continue\r\n", b"Content-Length: 5\r\n"]
    wishes = [header for header in headers if rng.random() < 0.3]
    framing = b"Transfer-Encoding: chunked\r\n"
    head = request(method, target, headers=b"".join(wishes), length=framing, body=b"")
    body = b"".join(rng.choices(PARTS_OF_BODIES, k=rng.randint(1, 5)))
    sent = head + body + rng.choice([b"", b"", rng.choice(VALID)])
    return [sent] if rng.random() < 0.5 else in_pieces(rng, sent)


async def test_a_body_of_broken_chunks_is_answered_or_its_connection_closed(
    wire: Wire, rng: random.Random
) -> None:
    assert_harmless(await wire.exchange_pieces([broken_body(rng) for _ in range(400)]))


CONTRADICTORY: Final = {
    "two lengths": request(headers=b"Content-Length: 3\r\n"),
    "negative length": request(length=b"Content-Length: -5\r\n"),
    "signed length": request(length=b"Content-Length: +5\r\n"),
    "word for a length": request(length=b"Content-Length: many\r\n"),
    "empty length": request(length=b"Content-Length: \r\n"),
    "list of lengths": request(length=b"Content-Length: 5, 5\r\n"),
    "hexadecimal length": request(length=b"Content-Length: 0x10\r\n"),
    "length beyond 64 bit": request(length=b"Content-Length: 99999999999999999999\r\n"),
    "unknown transfer coding": request(headers=b"Transfer-Encoding: xchunked\r\n"),
    "chunked but not last": request(headers=b"Transfer-Encoding: chunked, gzip\r\n", length=b""),
    "chunk size not a number": chunked(b"zz\r\n" + BODY + b"\r\n0\r\n\r\n"),
    "negative chunk size": chunked(b"-1\r\n" + BODY + b"\r\n0\r\n\r\n"),
    "chunk size beyond 64 bit": chunked(b"f" * 17 + b"\r\n" + BODY + b"\r\n0\r\n\r\n"),
    "chunk longer than its size": chunked(b"5\r\n" + BODY + b"\r\n0\r\n\r\n"),
    "chunk size missing": chunked(b"\r\n" + BODY + b"\r\n0\r\n\r\n"),
    "CR in a value": get(b"/health/live", b"X-A: a\rX-B: b\r\n"),
    "LF in a value": get(b"/health/live", b"X-A: a\nb\r\n"),
    "NUL in a value": get(b"/health/live", b"X-A: a\x00b\r\n"),
    "NUL in a name": get(b"/health/live", b"X\x00A: a\r\n"),
    "space before the colon": get(b"/health/live", b"Content-Length : 5\r\n"),
    "no colon": get(b"/health/live", b"Nonsense\r\n"),
    "empty name": get(b"/health/live", b": a\r\n"),
    "control character in the target": get(b"/health/\x01live"),
    "TLS hello": b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + b"\x00" * 100,
    "NUL bytes": b"\x00" * 1_000,
}


@pytest.mark.parametrize("name", CONTRADICTORY)
async def test_a_request_with_two_meanings_is_refused(wire: Wire, name: str) -> None:
    exchange = await wire.exchange(CONTRADICTORY[name] + get(b"/health/live"))
    assert_harmless([exchange])
    assert all(status >= 400 for status in exchange.statuses), exchange.received[:500]


@pytest.mark.parametrize("length", [b"5", b"%d" % len(CHUNK), b"100"])
async def test_a_length_beside_chunks_is_refused_or_ends_the_connection(
    wire: Wire, length: bytes
) -> None:
    # RFC 9112, section 6.1: two servers in a row that choose differently see different requests.
    sent = chunked(CHUNK + b"0\r\n\r\n", b"Content-Length: %b\r\n" % length)
    exchange = await wire.exchange(sent + get(b"/health/live"))
    assert_harmless([exchange])
    assert len(exchange.statuses) == 1, exchange.received[:500]


LARGE: Final = (
    get(b"/health/live", b"X-A: " + b"a" * 65_536 + b"\r\n"),
    get(b"/health/live", b"a" * 65_536 + b": a\r\n"),
    get(b"/health/live", b"".join(b"X-%d: a\r\n" % i for i in range(1_000))),
    get(b"/health/live", b"X-Request-Id: " + b"a" * 10_000 + b"\r\n"),
    get(b"/health/live", b"Cookie: " + b"a=b; " * 10_000 + b"\r\n"),
    get(b"/health/live", b"Accept: " + b"a/b;q=0.1, " * 5_000 + b"\r\n"),
    get(b"/" + b"a" * 60_000),
    get(b"/v1/models/" + b"a" * 60_000),
    get(b"/health/live?" + b"a=b&" * 15_000),
    request(length=b"Content-Length: 300000\r\n"),
    request(body=b'{"input":"' + b"a" * 300_000 + b'"}'),
    chunked(b"493e0\r\n" + b"a" * 300_000 + b"\r\n0\r\n\r\n"),
    chunked(b"1\r\n \r\n" * 2_000 + CHUNK + b"0\r\n\r\n"),
    chunked(b"1;x=" + b"y" * 20_000 + b"\r\n \r\n" + CHUNK + b"0\r\n\r\n"),
    request(body=b"[" * 200_000),
)

ODD: Final = (
    b"\r\n" * 10, b" ", b"\n", b"GET", b"GET /health/live\r\n", b"GET /health/live\r\n\r\n",
    b"GET  /health/live HTTP/1.1\r\n\r\n", b"GET /health/live HTTP/9.9\r\n\r\n",
    b"GET /health/live http/1.1\r\n\r\n", b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
    request(version=b"HTTP/1.0"), request(version=b"HTTP/0.9"), request(version=b"HTTP/2"),
    request(b"post"), request(b"BREW"), request(b"P\x00ST"), request(b""), request(b"A" * 10_000),
    request(target=b"http://localhost/v1/audio/speech"), request(target=b"http://"),
    request(target=b"http://[::1/v1/audio/speech"), request(target=b"http://a:99999999/"),
    request(target=b"//v1//audio//speech"), request(target=b"/v1/audio/../audio/speech"),
    request(target=b"*"), request(target=b"v1/audio/speech"), request(target=b"?a"),
    get(b"localhost:443", method=b"CONNECT"), get(b"/", method=b"CONNECT"),
    get(b"*", method=b"OPTIONS"), get(b"/%ff%fe%00"), get(b"/%zz%"), get(b"/\xff\xfe"),
    get(b"/v1/models/%ff"), get(b"/v1/models/%2f%2e%2e"), get(b"/v1/models/%0d%0aX: y"),
    get(b"/v1/models/" + b"%E2%80%AE" * 50), get(b"/health/live?%ff=%fe&&&="), get(b"/a#b"),
    get(b"/schema/../../etc/passwd"), get(b"/schema/openapi.yaml"), get(b"/schema/x"), get(b"//"),
    get(b"/health/live", b'Cookie: \xff=;;;=\x80; a["=\r\n'),
    get(b"/nope", b"Accept: ;;;q=\xff,/\r\n"), get(b"/nope", b"Accept: text/html;q=abc\r\n"),
    get(b"/nope", b"Accept-Encoding: \xff\r\nAccept-Language: ;;\r\n"),
    get(b"/health/live", b"X-Request-Id: \xff\x80\r\n"), get(b"/", b"X-Request-Id: \t\r\n"),
    get(b"/nope", b'X-Forwarded-For: ,,[::\r\nX-Forwarded-Proto: \xff\r\nForwarded: for="\r\n'),
    get(b"/health/live", b"Host: two\r\n"), b"GET /health/live HTTP/1.1\r\n\r\n",
    b"GET /nope HTTP/1.1\r\nHost: [::1:abc/\xff\r\n\r\n", b"GET /nope HTTP/1.1\r\nHost:\r\n\r\n",
    b"GET / HTTP/1.1\r\nHost: a:99999999\r\n\r\n",
    get(b"/health/live", b"Connection: Upgrade\r\nUpgrade: h2c\r\nHTTP2-Settings: AAMAAABk\r\n"),
    get(b"/health/live", b"Connection: Upgrade\r\nUpgrade: websocket\r\n"),
    get(
        b"/v1/audio/speech",
        b"Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n"
        b"Sec-WebSocket-Key: aaaaaaaaaaaaaaaaaaaaaa==\r\n",
    ),
    request(headers=b"Connection: Upgrade\r\nUpgrade: h2c\r\n"),
    request(headers=b"Connection: keep-alive, close, \xff\r\n"),
    request(headers=b"Content-Encoding: gzip\r\n"), request(headers=b"Range: bytes=0-0\r\n"),
    request(headers=b"Expect: something\r\n"), request(headers=b"TE: trailers, \xff\r\n"),
    request(headers=b"If-None-Match: *\r\nIf-Modified-Since: never\r\n"),
    request(headers=b"Authorization: \xff\r\n"), request(headers=b"Authorization: Basic %%%\r\n"),
    request(headers=b"X-HTTP-Method-Override: DELETE\r\n"), request(headers=b"X-A: a\r\n b\r\n"),
    request(headers=b"Content-Type: text/plain\r\n"), request(headers=b"Content-Type: \xff\r\n"),
    request(length=b""), request(length=b"Content-Length: 10\r\n"), request(body=b""),
    request(length=b"Content-Length: 100\r\n"), request(body=b"\x00" * 50),
    request(body=b'{"input":"\xff"}'), request(body=b"\xef\xbb\xbf" + BODY),
    request(body=BODY.decode().encode("utf-16")), request(body=b'{"input":1e999999}'),
    request().replace(b"application/json", b"application/json; charset=\xff"),
    request().replace(b"application/json", b";;;="), request().replace(b"application/json", b""),
    request().replace(b"application/json", b"multipart/form-data"),
    request().replace(b"application/json", b"multipart/form-data; boundary=\xff"),
    request().replace(b"application/json", b"application/x-msgpack"),
    request().replace(b"\r\n", b"\n"), request().replace(b"\r\n", b"\r"),
    chunked(CHUNK), chunked(CHUNK + b"0\r\nX: a\r\nContent-Length: 5\r\n\r\n"),
    chunked(CHUNK + b"0\r\nX: \x00\r\n\r\n"), chunked(b""), chunked(b"0\r\n\r\n"),
    chunked(CHUNK.upper() + b"0\r\n\r\n"), chunked(b"000" + CHUNK + b"000\r\n\r\n"),
)  # fmt: skip


async def test_an_odd_or_large_request_is_answered_or_its_connection_closed(wire: Wire) -> None:
    assert_harmless(await wire.exchange_all([*LARGE, *ODD]))


ADDRESSES: Final = (
    b"/", b"/schema", b"/schema/openapi.json", b"/health/live", b"/health/ready", b"/v1/models",
    b"/v1/models/tts-1", b"/v1/audio/models", b"/v1/audio/voices", b"/v1/audio/speech", b"/nope",
)  # fmt: skip

METHODS: Final = (b"HEAD", b"OPTIONS", b"TRACE", b"PUT", b"DELETE", b"PATCH", b"PROPFIND", b"LOCK")


async def test_every_method_is_answered_at_every_address(wire: Wire) -> None:
    requests = [get(path, CLOSE, method) for path in ADDRESSES for method in METHODS]
    exchanges = await wire.exchange_all(requests)
    assert_harmless(exchanges)
    assert all(len(one.statuses) == 1 for one in exchanges)


async def test_pipelined_requests_are_all_answered_in_order(wire: Wire) -> None:
    batch = [get(b"/health/live"), get(b"/nope"), request(), get(b"/v1/models/nope")]
    exchange = await wire.exchange(b"".join(batch) * 5 + get(b"/health/live", CLOSE))
    assert_harmless([exchange])
    assert exchange.statuses == [200, 404, 200, 404] * 5 + [200]


async def test_a_broken_request_in_a_pipeline_ends_it(wire: Wire) -> None:
    exchange = await wire.exchange(get(b"/health/live") * 3 + b"NONSENSE\r\n\r\n" + request())
    assert_harmless([exchange])
    assert exchange.statuses[-1:] == [400]
    assert exchange.statuses.count(400) == 1


async def test_a_client_that_closes_its_half_is_answered_or_closed(
    wire: Wire, rng: random.Random
) -> None:
    for _ in range(30):
        sent = rng.choice(VALID)
        async with wire.connection() as (reader, writer):
            writer.write(sent)
            writer.write_eof()
            assert_harmless([Exchange(sent, await read_to_the_end(reader, sent))])


async def vanish(wire: Wire, sent: bytes, wait_s: float, *, is_crash: bool) -> None:
    async with wire.connection() as (_, writer):
        writer.write(sent)
        await writer.drain()
        await asyncio.sleep(wait_s)
        if is_crash:
            reset(writer)


async def test_clients_that_vanish_at_any_moment_do_no_harm(wire: Wire, rng: random.Random) -> None:
    async with asyncio.TaskGroup() as group:
        for _ in range(100):
            stream = rng.choice([b"true", b"false"])
            whole = request(body=b'{"input":"%b","stream":%b}' % (b"One. " * 20, stream))
            sent = whole[: rng.choice([0, 1, rng.randrange(len(whole)), len(whole), len(whole)])]
            wait_s = rng.choice([0.0, 0.01, 0.05, 0.2])
            group.create_task(vanish(wire, sent, wait_s, is_crash=rng.random() < 0.5))


async def test_a_client_that_leaves_amid_its_body_is_not_logged_as_a_failure_of_the_server(
    wire: Wire, server: ServerProcess
) -> None:
    sent = request(headers=b"X-Request-Id: left-amid-its-body\r\n")[:-10]
    await vanish(wire, sent, 0.1, is_crash=False)
    async with asyncio.timeout(CLOSE_LIMIT_S):
        while not (statuses := logged_statuses(server, "left-amid-its-body")):
            await asyncio.sleep(0.05)
    assert statuses == [499]


def logged_statuses(server: ServerProcess, request_id: str) -> list[object]:
    answered = [event for event in server.log_events() if event["event"] == "http.request"]
    return [event["status"] for event in answered if event["request_id"] == request_id]


async def test_a_body_that_comes_byte_by_byte_is_answered(wire: Wire) -> None:
    sent = request(headers=CLOSE)
    async with wire.connection() as (reader, writer):
        for byte in sent:
            writer.write(bytes([byte]))
            await writer.drain()
            await asyncio.sleep(0.002)
        assert Exchange(sent, await read_to_the_end(reader, sent)).statuses == [200]


async def test_a_client_that_asks_before_it_sends_is_told_to_go_on(wire: Wire) -> None:
    sent = request(headers=b"Expect: 100-continue\r\n" + CLOSE)
    head, _, body = sent.partition(b"\r\n\r\n")
    async with wire.connection() as (reader, writer):
        writer.write(head + b"\r\n\r\n")
        async with asyncio.timeout(CLOSE_LIMIT_S):
            assert await reader.readuntil(b"\r\n\r\n") == b"HTTP/1.1 100 Continue\r\n\r\n"
        writer.write(body)
        assert Exchange(sent, await read_to_the_end(reader, sent)).statuses == [200]


@pytest.mark.parametrize("protocol", [b"h2c", b"websocket"])
async def test_a_wish_for_another_protocol_is_ignored(wire: Wire, protocol: bytes) -> None:
    wish = (
        b"Connection: Upgrade, HTTP2-Settings\r\nUpgrade: %b\r\nHTTP2-Settings: AA\r\n" % protocol
    )
    exchange = await wire.exchange(request(headers=wish) + get(b"/health/live", CLOSE))
    assert exchange.statuses == [200, 200]


async def test_a_head_without_end_is_refused(wire: Wire) -> None:
    async with wire.connection() as (reader, writer):
        with suppress(ConnectionError):
            writer.write(get(b"/health/live", b"X-A: ")[:-2])
            for _ in range(64):
                writer.write(b"a" * 65_536)
                await writer.drain()
            await asyncio.wait_for(reader.read(-1), QUIET_S)


async def test_hundreds_of_idle_connections_do_not_keep_others_waiting(
    wire: Wire, server: ServerProcess, rng: random.Random
) -> None:
    async with AsyncExitStack() as idle:
        for _ in range(200):
            _, writer = await idle.enter_async_context(wire.connection())
            writer.write(truncate(rng, VALID[0]) if rng.random() < 0.5 else b"")
        async with httpx.AsyncClient(base_url=server.url, timeout=CLOSE_LIMIT_S) as client:
            answer = await client.post("/v1/audio/speech", json={"input": "Still here."})
    assert answer.status_code == 200
    assert answer.content


FRAMES: Final = tuple(
    bytes([first, 0x80 | len(content)]) + bytes(4) + content
    for first, content in (
        (0x81, b'{"type":"text","text":"Hi."}'), (0x81, b'{"type":"end"}'), (0x81, b"{"),
        (0x81, b'{"type":"cancel"}'), (0x81, b"\xff"), (0x01, b"\xe2"), (0x80, b"\xff"),
        (0x82, b"a"), (0x89, b"a"), (0x8A, b""), (0x88, b""), (0x88, b"\x03\xe8"), (0x88, b"\0"),
        (0x83, b""), (0xF1, b"a"), (0x09, b""),
    )
)  # fmt: skip


async def send_frames(wire: Wire, rng: random.Random) -> None:
    async with wire.connection() as (reader, writer):
        writer.write(HANDSHAKE)
        if rng.random() < 0.8:
            await reader.readuntil(b"ready")
        with suppress(ConnectionError):
            for _ in range(rng.randint(1, 3)):
                writer.write(b"".join(rng.choices(FRAMES, k=rng.randint(1, 5))))
                await writer.drain()
                await asyncio.sleep(PIECE_S)
            await read_until_quiet(reader, bytearray())


async def test_frames_in_any_order_on_the_speech_socket_do_no_harm(
    wire: Wire, rng: random.Random
) -> None:
    for _ in range(10):
        async with asyncio.TaskGroup() as group:
            for _ in range(20):
                group.create_task(send_frames(wire, rng))
