"""Clients that take time, memory or connections and give nothing: each is bounded, others served.

The server has limits of a second or two, so that they are met here.
"""

import asyncio
import json
import socket
import sys
from collections.abc import AsyncIterator, Iterator
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from pathlib import Path
from typing import Any, Final

import httpx
import psutil
import pytest

from tests.faults.hasty_server import LIMIT_S
from tests.serving import ServerProcess, server_process, wait_for_status
from tests.socket_handshake import HANDSHAKE

SPEECH: Final = "/v1/audio/speech"
HOST: Final = b"Host: localhost\r\n"
PATIENCE_S: Final = 30.0
"""In which what the limit ends must have ended; the machine may be busy."""

MAX_CHARS: Final = 1_000_000
LIMITS: Final = {
    "SOPRANO_SERVER__READ_TIMEOUT_S": str(LIMIT_S),
    "SOPRANO_SPEECH__MAX_CHARS": str(MAX_CHARS),
}

LONG_TEXT: Final = "This is one of the many sentences of a rather long story. " * 1_000

NUM_SLOW_READERS: Final = 20
NUM_IDLE: Final = 2_000
MB: Final = 1_000_000


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServerProcess]:
    log_path = tmp_path_factory.mktemp("faults") / "server.log"
    command, hasty = ("--backend", "embedded"), "tests.faults.hasty_server"
    with server_process(log_path, *command, environ=LIMITS, entry=hasty) as running:
        wait_for_status(f"{running.url}/health/ready")
        yield running


@pytest.fixture(autouse=True)
def the_server_is_well_afterwards(server: ServerProcess) -> Iterator[None]:
    yield
    answer = httpx.post(server.url + SPEECH, json={"input": "All is well."}, timeout=60)
    assert answer.status_code == 200
    assert answer.content
    assert server.log_events(level="error") == []


class Connection:
    """One connection, byte by byte."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader = reader
        self._writer = writer

    async def send(self, data: bytes) -> None:
        with suppress(ConnectionError):
            self._writer.write(data)
            await self._writer.drain()

    async def drip(self, data: bytes, interval_s: float) -> None:
        """Send byte by byte, for as long as somebody is there."""
        for byte in data:
            await self.send(bytes([byte]))
            await asyncio.sleep(interval_s)

    async def head(self) -> bytes:
        """Of the next answer."""
        async with asyncio.timeout(PATIENCE_S):
            return await self._reader.readuntil(b"\r\n\r\n")

    async def rest(self) -> bytes:
        """All that comes until the server closes; fails unless it does."""
        received = bytearray()
        async with asyncio.timeout(PATIENCE_S):
            with suppress(ConnectionError):
                while part := await self._reader.read(65_536):
                    received += part
        return bytes(received)


@asynccontextmanager
async def connected(server: ServerProcess, receive_buffer: int = 0) -> AsyncIterator[Connection]:
    raw = socket.socket()
    raw.setblocking(False)  # noqa: FBT003
    if receive_buffer:
        raw.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_buffer)
    await asyncio.get_running_loop().sock_connect(raw, ("127.0.0.1", server.port))
    reader, writer = await asyncio.open_connection(sock=raw, limit=1_024)
    try:
        yield Connection(reader, writer)
    finally:
        writer.transport.abort()


def speech_request(body: dict[str, Any], *, headers: bytes = b"") -> bytes:
    content = json.dumps(body).encode()
    head = b"POST %b HTTP/1.1\r\n%bContent-Type: application/json\r\nContent-Length: %d\r\n%b\r\n"
    return head % (SPEECH.encode(), HOST, len(content), headers) + content


def error_in(answer: bytes) -> dict[str, Any]:
    """The error of an answer in OpenAI's form."""
    error: dict[str, Any] = json.loads(answer.partition(b"\r\n\r\n")[2])["error"]
    assert set(error) == {"message", "type", "param", "code"}
    return error


def status_of(answer: bytes) -> int:
    return int(answer.split(b" ", 2)[1])


async def speak(server: ServerProcess, text: str = "Still here.") -> bytes:
    async with httpx.AsyncClient(base_url=server.url, timeout=60) as client:
        answer = await client.post(SPEECH, json={"input": text})
        assert answer.status_code == 200
        return answer.content


async def test_heads_that_come_byte_by_byte_are_ended_and_others_served(
    server: ServerProcess,
) -> None:
    async def drip() -> bytes:
        async with connected(server) as connection:
            dripping = asyncio.create_task(connection.drip(b"GET / HTTP/1.1\r\nX: " * 50, 0.1))
            answer = await connection.rest()
            dripping.cancel()
            return answer

    dripping = [asyncio.create_task(drip()) for _ in range(50)]
    assert await speak(server)
    for answer in await asyncio.gather(*dripping):
        assert status_of(answer) == 408
        assert error_in(answer)["code"] == "request_too_slow"
        assert b"connection: close\r\n" in answer


async def test_a_head_request_that_comes_too_slowly_gets_no_body(server: ServerProcess) -> None:
    async with connected(server) as connection:
        await connection.send(b"HEAD / HTTP/1.1\r\n")
        head, _, body = (await connection.rest()).partition(b"\r\n\r\n")
    assert status_of(head) == 408
    assert body == b""


async def test_a_connection_that_never_says_anything_is_closed(server: ServerProcess) -> None:
    async with connected(server) as connection:
        assert await connection.rest() == b""


async def test_a_second_head_has_as_much_time_as_the_first(server: ServerProcess) -> None:
    async with connected(server) as connection:
        await connection.send(b"GET /health/live HTTP/1.1\r\n" + HOST + b"\r\nGET /health/li")
        answer = await connection.rest()
    assert answer.startswith(b"HTTP/1.1 200 ")
    assert b"HTTP/1.1 408 " in answer


async def test_a_body_that_is_left_over_does_not_keep_its_connection(
    server: ServerProcess,
) -> None:
    """The answer is given without reading it, so the limit on bodies does not hold for it."""
    async with connected(server) as connection:
        head = b"POST /nope HTTP/1.1\r\n" + HOST + b"Content-Length: 1000\r\n\r\n"
        await connection.send(head)
        dripping = asyncio.create_task(connection.drip(b"a" * 900, 0.1))
        answer = await connection.rest()
        dripping.cancel()
    assert status_of(answer) == 404


@pytest.mark.parametrize("is_chunked", [False, True])
async def test_a_body_that_comes_byte_by_byte_is_told_that_it_is_late(
    server: ServerProcess, *, is_chunked: bool
) -> None:
    framing = b"Transfer-Encoding: chunked" if is_chunked else b"Content-Length: 1000"
    drop = b"1\r\n \r\n" if is_chunked else b" "
    async with connected(server) as connection:
        await connection.send(b"POST %b HTTP/1.1\r\n" % SPEECH.encode() + HOST)
        await connection.send(b"Content-Type: application/json\r\n" + framing + b"\r\n\r\n")
        dripping = asyncio.create_task(connection.drip(drop * 500, 0.02))
        answer = await connection.rest()
        dripping.cancel()
    assert status_of(answer) == 408
    assert error_in(answer)["code"] == "request_too_slow"


async def test_clients_that_do_not_read_are_cut_and_cost_little(server: ServerProcess) -> None:
    """Each of them asks for an hour of speech, which would be 180 MB."""
    process = psutil.Process(server.pid)
    await speak(server)
    before = process.memory_info().rss
    request = speech_request({"input": LONG_TEXT, "response_format": "wav"})
    ended_before = num_cancelled(server)
    async with AsyncExitStack() as stack:
        readers = [
            await stack.enter_async_context(connected(server, 4_096))
            for _ in range(NUM_SLOW_READERS)
        ]
        for reader in readers:
            await reader.send(request)
        assert await speak(server)
        most = before
        async with asyncio.timeout(PATIENCE_S):
            while num_cancelled(server) - ended_before < NUM_SLOW_READERS:
                most = max(most, process.memory_info().rss)
                await asyncio.sleep(0.1)
        for reader in readers:
            assert not (await reader.rest()).endswith(b"0\r\n\r\n")
    print(f"\n{NUM_SLOW_READERS} that do not read: {(most - before) / MB:.0f} MB more")
    assert most - before < 150 * MB


async def test_a_socket_whose_client_does_not_read_is_ended_as_well(server: ServerProcess) -> None:
    num_stalled = len(server.log_events(event="connection.stalled"))
    async with connected(server, 4_096) as client:
        await client.send(HANDSHAKE)
        assert status_of(await client.head()) == 101
        for message in ({"type": "text", "text": LONG_TEXT}, {"type": "end"}):
            await client.send(frame_of(message))
        async with asyncio.timeout(PATIENCE_S):
            while len(server.log_events(event="connection.stalled")) == num_stalled:
                await asyncio.sleep(0.1)
        assert b"utterance.ended" not in await client.rest()


def frame_of(message: dict[str, str]) -> bytes:
    """A text frame with an empty mask (RFC 6455, section 5.2)."""
    content = json.dumps(message).encode()
    size = 127 if len(content) > 65_535 else 126  # its length is in the next 8 or 2 bytes
    length = len(content).to_bytes(8 if size == 127 else 2)
    return bytes([0x81, 0x80 | size]) + length + bytes(4) + content


def num_cancelled(server: ServerProcess) -> int:
    return len(server.log_events(outcome="cancelled"))


async def test_two_thousand_idle_connections_do_not_keep_others_waiting(tmp_path: Path) -> None:
    with server_process(tmp_path / "log", "--backend", "embedded") as server:
        wait_for_status(f"{server.url}/health/ready")
        async with AsyncExitStack() as stack:
            for _ in range(NUM_IDLE):
                await stack.enter_async_context(connected(server))
            assert await speak(server)
            assert len(psutil.Process(server.pid).net_connections()) > NUM_IDLE


NUM_UNFINISHED: Final = 2_000
PART: Final = b" " * 250_000
UNFINISHED: Final = {
    "body": b"POST %b HTTP/1.1\r\n%bContent-Type: application/json\r\nContent-Length: %d\r\n\r\n"
    % (SPEECH.encode(), HOST, len(PART) + 1),
    "message": HANDSHAKE + b"\x81\xff" + (len(PART) + 1).to_bytes(8) + bytes(4),
}


@pytest.mark.parametrize("kind", UNFINISHED)
async def test_many_unfinished_bodies_or_messages_neither_fill_the_memory_nor_stop_the_server(
    tmp_path: Path, kind: str
) -> None:
    with server_process(tmp_path / "log", "--backend", "embedded") as server:
        wait_for_status(f"{server.url}/health/ready")
        process = psutil.Process(server.pid)
        await speak(server)
        before = process.memory_info().rss
        most, slowest_s = before, 0.0
        async with AsyncExitStack() as stack:
            sending = []
            for _ in range(NUM_UNFINISHED):
                connection = await stack.enter_async_context(connected(server))
                sending.append(asyncio.create_task(connection.send(UNFINISHED[kind] + PART)))
            async with httpx.AsyncClient(base_url=server.url, timeout=60) as client:
                for _ in range(50):
                    started = asyncio.get_running_loop().time()
                    assert (await client.get("/health/live")).status_code == 200
                    slowest_s = max(slowest_s, asyncio.get_running_loop().time() - started)
                    most = max(most, process.memory_info().rss)
                    await asyncio.sleep(0.1)
            for task in sending:
                task.cancel()
            await asyncio.gather(*sending, return_exceptions=True)
        print(f"\n{kind}: {(most - before) / MB:.0f} MB, /health/live {slowest_s:.2f} s at most")
        assert most - before < 300 * MB


async def test_beyond_the_limit_a_connection_is_told_so_and_closed(tmp_path: Path) -> None:
    environ = {"SOPRANO_SERVER__MAX_CONNECTIONS": "10"}
    with server_process(tmp_path / "log", "--backend", "embedded", environ=environ) as server:
        wait_for_status(f"{server.url}/health/ready")
        async with AsyncExitStack() as stack:
            for _ in range(10):
                await stack.enter_async_context(connected(server))
            async with httpx.AsyncClient(base_url=server.url) as client:
                answer = await client.get("/health/live")
                assert answer.status_code == 503
                assert answer.json()["error"]["code"] == "too_many_connections"
                assert answer.headers["connection"] == "close"
                assert int(answer.headers["retry-after"]) > 0
                request_id = answer.headers["x-request-id"]
                (event,) = server.wait_for_events(event="http.refused", request_id=request_id)
                assert (event["level"], event["error"]) == ("info", "too_many_connections")
                assert (await client.head("/health/live")).status_code == 503
            async with connected(server) as silent:
                assert status_of(await silent.rest()) == 503
            flood = [await stack.enter_async_context(connected(server)) for _ in range(100)]
            answers = [await connection.rest() for connection in flood]
            assert {answer.partition(b"\r\n")[0] for answer in answers} <= {
                b"HTTP/1.1 503 Service Unavailable",
                b"",
            }
            async with asyncio.timeout(PATIENCE_S):
                while not is_logged(server, "server.connections_full"):
                    await asyncio.sleep(0.1)
        async with asyncio.timeout(PATIENCE_S):
            while not await is_alive(server):
                await asyncio.sleep(0.1)
        assert await speak(server)


@pytest.mark.skipif(sys.platform != "linux", reason="sets the limit from outside")
async def test_few_open_files_neither_end_the_server_nor_make_it_spin(tmp_path: Path) -> None:
    log_path = tmp_path / "log"
    with server_process(
        log_path, "--backend", "embedded", launcher=["prlimit", "--nofile=64"]
    ) as server:
        wait_for_status(f"{server.url}/health/ready")
        await exhaust(server, 100)
        (event,) = server.log_events(event="server.few_open_files")
        assert event["max_connections"] == 64 - 48
        await exhaust_files(server)
        assert server.log_events(level="error") == []


async def exhaust(server: ServerProcess, num_connections: int) -> None:
    """Open so many connections, and close them when the server has had time to suffer."""
    process = psutil.Process(server.pid)
    async with AsyncExitStack() as stack:
        for _ in range(num_connections):
            await stack.enter_async_context(connected(server))
        busy_s = sum(process.cpu_times()[:2])
        await asyncio.sleep(1)
        assert sum(process.cpu_times()[:2]) - busy_s < 0.8
    async with asyncio.timeout(PATIENCE_S):
        while not await is_alive(server):
            await asyncio.sleep(0.1)
    assert await speak(server)


def is_logged(server: ServerProcess, name: str) -> bool:
    return bool(server.log_events(event=name))


async def is_alive(server: ServerProcess) -> bool:
    async with httpx.AsyncClient(base_url=server.url, timeout=1) as client:
        try:
            return (await client.get("/health/live")).status_code == 200
        except httpx.TransportError:
            return False


async def exhaust_files(server: ServerProcess) -> None:
    """Leave it so few files that connections cannot even be accepted, for a while."""
    import resource

    num_files = psutil.Process(server.pid).num_fds()
    resource.prlimit(server.pid, resource.RLIMIT_NOFILE, (num_files + 2, 64))
    async with AsyncExitStack() as stack:
        for _ in range(20):
            await stack.enter_async_context(connected(server))
        await asyncio.sleep(1)
    resource.prlimit(server.pid, resource.RLIMIT_NOFILE, (64, 64))
    await exhaust(server, 5)


REFUSED: Final = {
    "64 kB of a header": (b"GET / HTTP/1.1\r\n" + HOST + b"X: " + b"a" * 65_536, 431),
    "a head of 64 kB in many lines": (
        b"GET / HTTP/1.1\r\n" + HOST + b"X: aaaaaaaaaaaaaaaaaaaaaaaaaaa\r\n" * 2_000 + b"\r\n",
        431,
    ),
    "a head of 20 kB that comes at once": (
        b"GET /health/live HTTP/1.1\r\n" + HOST + b"X: " + b"a" * 20_000 + b"\r\n\r\n",
        431,
    ),
    "1000 headers": (
        b"GET /health/live HTTP/1.1\r\n" + HOST + b"X: a\r\n" * 1_000 + b"\r\n",
        431,
    ),
    "a path of 100 kB that comes at once": (
        b"GET /" + b"a" * 100_000 + b" HTTP/1.1\r\n" + HOST + b"\r\n",
        414,
    ),
    "HTTP/0.9": (b"GET /health/live\r\n\r\n", 400),
    "HTTP/3.0": (b"GET / HTTP/3.0\r\n" + HOST + b"\r\n", 505),
    "a folded header": (b"GET / HTTP/1.1\r\n" + HOST + b"X: a\r\n b\r\n\r\n", 400),
    "a handshake without a key": (HANDSHAKE.replace(b"Sec-WebSocket-Key", b"X"), 400),
    "a handshake of another version": (HANDSHAKE.replace(b"13", b"8"), 426),
    "a WebSocket where there is none": (HANDSHAKE.replace(b"/stream", b""), 404),
    "not HTTP": (b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\r\n\r\n", 400),
    "CR in a value": (b"GET / HTTP/1.1\r\n" + HOST + b"X: a\rY: b\r\n\r\n", 400),
    "LF in a value": (b"GET / HTTP/1.1\r\n" + HOST + b"X: a\nb\r\n\r\n", 400),
    "two lengths": (
        b"POST / HTTP/1.1\r\n" + HOST + b"Content-Length: 1\r\nContent-Length: 2\r\n\r\nab",
        400,
    ),
    "a target with no host": (
        b"GET http:///health/live HTTP/1.1\r\n" + HOST + b"Connection: close\r\n\r\n",
        404,
    ),
}


@pytest.mark.parametrize("name", REFUSED)
async def test_what_is_not_a_plain_request_is_refused_in_the_form_of_all_errors(
    server: ServerProcess, name: str
) -> None:
    request, status = REFUSED[name]
    async with connected(server) as connection:
        await connection.send(request)
        answer = await connection.rest()
    assert status_of(answer) == status
    assert error_in(answer)["type"] == "invalid_request_error"
    assert b"x-request-id: " in answer


async def test_chunks_beside_a_length_end_the_connection(server: ServerProcess) -> None:
    body = b'{"input":"Hi."}'
    request = speech_request({}, headers=b"Transfer-Encoding: chunked\r\n").removesuffix(b"{}")
    request += b"%x\r\n%b\r\n0\r\n\r\n" % (len(body), body)
    async with connected(server) as connection:
        await connection.send(request + b"GET /health/live HTTP/1.1\r\n" + HOST + b"\r\n")
        answer = await connection.rest()
    assert answer.count(b"HTTP/1.1 ") == 1
    assert b"connection: close" in answer


@pytest.mark.parametrize("is_sent", [True, False])
async def test_who_asks_before_sending_a_body_is_told_to_go_on_and_may_not_be_late(
    server: ServerProcess, *, is_sent: bool
) -> None:
    request = speech_request(
        {"input": "Hi."}, headers=b"Expect: 100-continue\r\nConnection: close\r\n"
    )
    head, _, body = request.partition(b"\r\n\r\n")
    async with connected(server) as connection:
        await connection.send(head + b"\r\n\r\n")
        if is_sent:
            await asyncio.sleep(0.1)
            await connection.send(body)
        answer = await connection.rest()
    first, _, answer = answer.partition(b"\r\n\r\n")
    assert first == b"HTTP/1.1 100 Continue"
    assert status_of(answer) == (200 if is_sent else 408)


async def test_a_client_that_closes_its_half_amid_an_answer_has_left(
    server: ServerProcess,
) -> None:
    """TCP does not tell it from a client that is gone, and work for nobody is worse."""
    before = num_cancelled(server)
    reader, writer = await asyncio.open_connection("127.0.0.1", server.port)
    writer.write(speech_request({"input": LONG_TEXT, "response_format": "pcm"}))
    assert (await reader.read(1_000)).startswith(b"HTTP/1.1 200 ")
    writer.write_eof()
    rest = await asyncio.wait_for(reader.read(-1), PATIENCE_S)
    assert not rest.endswith(b"0\r\n\r\n")
    writer.close()
    async with asyncio.timeout(PATIENCE_S):
        while num_cancelled(server) == before:
            await asyncio.sleep(0.05)
