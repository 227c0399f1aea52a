"""Home Assistant's protocol, spoken by the client of its own package."""

import asyncio
import json
import os
import random
import signal
import socket
import struct
import sys
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import ExitStack, asynccontextmanager, suppress
from pathlib import Path

import httpx
import numpy as np
import pytest
from wyoming.audio import AudioChunk, AudioStart, AudioStop
from wyoming.client import AsyncTcpClient
from wyoming.error import Error
from wyoming.event import Event, Eventable
from wyoming.info import Describe, Info
from wyoming.ping import Ping, Pong
from wyoming.tts import (
    Synthesize,
    SynthesizeChunk,
    SynthesizeStart,
    SynthesizeStop,
    SynthesizeStopped,
    SynthesizeVoice,
)
from zeroconf import ServiceStateChange
from zeroconf.asyncio import AsyncServiceBrowser, AsyncZeroconf

from app.entrypoints.wyoming import SERVICE
from tests.listening import decode_pcm
from tests.network import ADDRESS, own_network
from tests.serving import (
    ServerProcess,
    clean_environment,
    free_port,
    run_console,
    server_process,
    wait_for_status,
)

TEXT = "The lights in the kitchen are on. The window is open."
LONG = " ".join(f"This is sentence {number} of very many." for number in range(90))


class WyomingServer:
    """A server, and its port of the protocol."""

    def __init__(self, server: ServerProcess, port: int) -> None:
        self.server = server
        self.port = port

    @asynccontextmanager
    async def client(self) -> AsyncIterator[AsyncTcpClient]:
        client = AsyncTcpClient("127.0.0.1", self.port)
        await client.connect()
        try:
            yield client
        finally:
            await client.disconnect()

    async def until_open(self, number: int) -> None:
        """Return when so many requests for speech have not ended."""
        async with asyncio.timeout(10), httpx.AsyncClient(base_url=self.server.url) as client:
            while f"\nsoprano_open_requests {number}.0" not in (await client.get("/metrics")).text:
                await asyncio.sleep(0.02)


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[WyomingServer]:
    port, log = free_port(), tmp_path_factory.mktemp("wyoming") / "log"
    arguments = ["--backend", "embedded", "--wyoming-port", str(port)]
    with server_process(log, *arguments) as server:
        wait_for_status(f"{server.url}/health/ready")
        yield WyomingServer(server, port)


async def receive(client: AsyncTcpClient) -> Event:
    async with asyncio.timeout(30):
        event = await client.read_event()
    assert event is not None
    return event


async def hear(client: AsyncTcpClient) -> np.ndarray:
    """The samples from the start to the stop, at 24 kHz."""
    start = AudioStart.from_event(await receive(client))
    assert (start.rate, start.width, start.channels) == (24_000, 2, 1)
    sound = b""
    while AudioChunk.is_type((event := await receive(client)).type):
        sound += AudioChunk.from_event(event).audio
    assert AudioStop.is_type(event.type)
    return decode_pcm(sound)


async def send(client: AsyncTcpClient, *events: Eventable) -> None:
    for event in events:
        await client.write_event(event.event())


async def test_it_says_which_voices_it_has(served: WyomingServer) -> None:
    async with served.client() as client:
        await send(client, Describe(), Ping("there?"))
        (program,) = Info.from_event(await receive(client)).tts
        assert Pong.from_event(await receive(client)).text == "there?"
    assert program.supports_synthesize_streaming
    assert program.voices[0].languages == ["en-US"]


async def test_a_text_is_the_same_at_once_in_pieces_and_over_http(served: WyomingServer) -> None:
    """The exchange of Home Assistant, which sends the whole text for older servers, too."""
    body = {"input": TEXT, "response_format": "pcm"}
    answer = await asyncio.to_thread(httpx.post, f"{served.server.url}/v1/audio/speech", json=body)
    async with served.client() as client:
        (name,) = await describe(client)
        voice = SynthesizeVoice(name)
        await send(client, Synthesize(TEXT, voice))
        at_once = await hear(client)
        pieces = [SynthesizeChunk(TEXT[start : start + 7]) for start in range(0, len(TEXT), 7)]
        whole = Synthesize(TEXT, voice)
        await send(client, SynthesizeStart(voice), *pieces, whole, SynthesizeStop())
        in_pieces = await hear(client)
        assert SynthesizeStopped.is_type((await receive(client)).type)
    assert np.array_equal(at_once, decode_pcm(answer.content))
    assert len(in_pieces) == pytest.approx(len(at_once), rel=0.1)


async def describe(client: AsyncTcpClient) -> list[str]:
    await send(client, Describe())
    (program,) = Info.from_event(await receive(client)).tts
    return [voice.name for voice in program.voices]


async def test_ten_clients_are_served_at_once(served: WyomingServer) -> None:
    async def speak(number: int) -> int:
        async with served.client() as client:
            await send(client, Synthesize(f"Client number {number} wants to hear this."))
            return len(await hear(client))

    lengths = await asyncio.gather(*(speak(number) for number in range(10)))
    assert all(length > 24_000 for length in lengths)


async def test_a_client_that_leaves_frees_its_place(served: WyomingServer) -> None:
    for messages in ([Synthesize(LONG)], [SynthesizeStart(), SynthesizeChunk(LONG)]):
        async with served.client() as client:
            await send(client, *messages)
            assert AudioStart.is_type((await receive(client)).type)
            await served.until_open(1)
        await served.until_open(0)


@pytest.mark.parametrize(
    ("refused", "words"),
    [
        (Synthesize("").event(), "empty"),
        (Synthesize("Hi.", SynthesizeVoice("nobody")).event(), "nobody"),
        (SynthesizeStart(SynthesizeVoice("nobody")).event(), "nobody"),
        (Event("synthesize", {"text": 5}), "Wyoming"),
    ],
)
async def test_what_cannot_be_spoken_is_an_error_and_the_end_of_the_connection(
    served: WyomingServer, refused: Event, words: str
) -> None:
    """Home Assistant passes over the error, and would wait for more for ever."""
    async with served.client() as client:
        await client.write_event(refused)
        assert words in Error.from_event(await receive(client)).text
        async with asyncio.timeout(10):
            assert await client.read_event() is None


async def test_events_of_other_kinds_are_passed_over(served: WyomingServer) -> None:
    async with served.client() as client:
        await client.write_event(Event("of another kind", {}))
        await send(client, SynthesizeChunk("Nobody has begun."), SynthesizeStop())
        await send(client, SynthesizeStart(), SynthesizeStart(), SynthesizeChunk("Hello."))
        await send(client, SynthesizeStop())
        assert len(await hear(client)) > 5_000
        assert SynthesizeStopped.is_type((await receive(client)).type)


async def test_a_client_that_is_reset_while_it_writes_leaves_nothing(served: WyomingServer) -> None:
    with socket.create_connection(("127.0.0.1", served.port)) as connection:
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        connection.sendall(b'{"type": "synthesize-start"}\n')
        for _ in range(40):
            data = json.dumps({"text": LONG}).encode()
            head = {"type": "synthesize-chunk", "data_length": len(data)}
            connection.sendall(json.dumps(head).encode() + b"\n" + data)
        await served.until_open(1)
    await served.until_open(0)


@pytest.mark.parametrize(
    "data",
    [
        b"\n",
        b"[]\n",
        b"{}\n",
        b'{"type": 5}\n',
        b'{"type": "synthesize", "data": 5}\n',
        b'{"type": "synthesize", "data_length": "a"}\n',
        b'{"type": "synthesize", "data_length": 99999999999}\n',
        b'{"type": "describe", "payload_length": 99999999999}\n',
        b"\xff\xfe\n",
        b"[" * 100_000 + b"\n",
        b"a" * 1_000_000,
        b'{"type": "synthesize", "data_length": 10}\n{"tex',
    ],
)
def test_what_is_no_event_ends_the_connection_and_nothing_else(
    served: WyomingServer, data: bytes
) -> None:
    with socket.create_connection(("127.0.0.1", served.port)) as connection:
        connection.settimeout(10)
        try:
            connection.sendall(data)
            with suppress(OSError):  # the server may have closed it
                connection.shutdown(socket.SHUT_WR)
            while connection.recv(1_000):
                pass
        except ConnectionError:
            pass
    assert not served.server.log_events(level="error")


async def test_an_event_may_be_as_long_as_a_text(tmp_path: Path) -> None:
    port, environ = free_port(), {"SOPRANO_SPEECH__MAX_CHARS": "400000"}
    arguments = ["--backend", "embedded", "--wyoming-port", str(port)]
    with server_process(tmp_path / "log", *arguments, environ=environ) as server:
        wait_for_status(f"{server.url}/health/ready")
        async with WyomingServer(server, port).client() as client:
            await client.write_event(Synthesize("Hello." + " " * 300_000).event())
            assert AudioStart.is_type((await receive(client)).type)


def test_clients_that_leave_at_any_moment_leave_nothing(served: WyomingServer) -> None:
    draw = random.Random(5)
    text = json.dumps({"text": LONG}).encode()
    requests = (
        b'{"type": "synthesize-start"}\n',
        b'{"type": "synthesize", "data": {"text": "Hello there, my friend."}}\n',
        b'{"type": "synthesize-start"}\n{"type": "synthesize-chunk", "data_length": %d}\n%b'
        % (len(text), text),
        b'{"type": "describe"}\n{"type": "ping"}\n[]\n',
    )
    for _ in range(120):
        with socket.create_connection(("127.0.0.1", served.port)) as connection:
            with suppress(ConnectionError):
                connection.sendall(draw.choice(requests))
            time.sleep(draw.random() / 20)
            if draw.random() < 0.5:
                connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    assert not served.server.log_events(level="error")


async def test_clients_that_do_not_go_on_are_ended(tmp_path: Path) -> None:
    port = free_port()
    environ = {"SOPRANO_SERVER__READ_TIMEOUT_S": "1", "SOPRANO_SERVER__SOCKET_IDLE_S": "3"}
    arguments = ["--backend", "embedded", "--wyoming-port", str(port)]
    with server_process(tmp_path / "log", *arguments, environ=environ) as server:
        wait_for_status(f"{server.url}/health/ready")
        part = b'{"type": "a", "data_length": 9}\n{'
        for begun, limit_s in ((part[:9], 1), (part, 1), (b"", 3)):
            with socket.create_connection(("127.0.0.1", port), timeout=10) as connection:
                started = time.monotonic()
                connection.sendall(begun)
                assert not connection.recv(100)
                assert limit_s <= time.monotonic() - started < limit_s + 4


async def test_what_all_clients_have_not_finished_is_bounded(tmp_path: Path) -> None:
    port = free_port()
    arguments = ["--backend", "embedded", "--wyoming-port", str(port)]
    with server_process(tmp_path / "log", *arguments) as server, ExitStack() as stack:
        wait_for_status(f"{server.url}/health/ready")
        part = b'{"type": "synthesize", "data_length": 262000}\n' + b" " * 250_000
        num_ended = 0
        for _ in range(400):
            connection = socket.create_connection(("127.0.0.1", port), timeout=10)
            stack.enter_context(connection)
            try:
                connection.sendall(part)
                connection.settimeout(0.002)
                connection.recv(1)
                num_ended += 1
            except ConnectionError:
                num_ended += 1
            except TimeoutError:
                pass
        async with WyomingServer(server, port).client() as client:
            await client.write_event(Ping().event())
            assert Pong.is_type((await receive(client)).type)
    assert num_ended >= 100  # 64 MiB are 268 of them


async def test_a_stopping_server_finishes_what_it_says(tmp_path: Path) -> None:
    port = free_port()
    arguments = ["--backend", "embedded", "--wyoming-port", str(port)]
    with server_process(tmp_path / "log", *arguments) as server:
        wait_for_status(f"{server.url}/health/ready")
        served = WyomingServer(server, port)
        async with served.client() as client:
            await send(client, Synthesize(LONG))
            start = AudioStart.from_event(await receive(client))
            os.kill(server.pid, signal.SIGTERM)
            while not AudioStop.is_type((event := await receive(client)).type):
                assert AudioChunk.is_type(event.type)
        assert start.rate == 24_000
        assert await asyncio.to_thread(server.exit_code) == 0


def test_a_client_that_reads_nothing_does_not_delay_the_end(tmp_path: Path) -> None:
    port, environ = free_port(), {"SOPRANO_SERVER__SHUTDOWN_S": "2"}
    arguments = ["--backend", "embedded", "--wyoming-port", str(port)]
    with server_process(tmp_path / "log", *arguments, environ=environ) as server:
        wait_for_status(f"{server.url}/health/ready")
        with socket.socket() as client:
            client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4_096)
            client.connect(("127.0.0.1", port))
            client.sendall(json.dumps({"type": "synthesize", "data": {"text": LONG}}).encode())
            client.sendall(b"\n")
            time.sleep(1.5)
            stopped_at = time.monotonic()
            server._process.send_signal(signal.SIGTERM)
            assert server._process.wait(30) == 0
            assert time.monotonic() - stopped_at < 2 + 8
        assert not server.log_events(level="error")


def test_a_port_in_use_ends_the_start(served: WyomingServer) -> None:
    done = run_console("serve", "--port", "0", "--wyoming-port", str(served.port))
    assert done.returncode == 1
    assert b"server.bind_failed" in done.stderr


async def test_the_local_network_hears_of_it_by_mdns(tmp_path: Path) -> None:
    heard: asyncio.Queue[tuple[ServiceStateChange, str]] = asyncio.Queue()

    def on_change(state_change: ServiceStateChange, name: str, **_: object) -> None:
        heard.put_nowait((state_change, name))

    port = free_port()
    arguments = ["--backend", "embedded", "--wyoming-port", str(port), "--host", ADDRESS]
    command = [sys.executable, "-m", "app", "serve", *arguments]
    with own_network(), (tmp_path / "log").open("w") as log:
        network = AsyncZeroconf()
        AsyncServiceBrowser(network.zeroconf, SERVICE, handlers=[on_change])
        environ = clean_environment()
        server = await asyncio.create_subprocess_exec(*command, stderr=log, env=environ)
        async with asyncio.timeout(30):
            change, name = await heard.get()
            assert change is ServiceStateChange.Added
            info = await network.async_get_service_info(SERVICE, name)
            assert info is not None
            assert (info.parsed_addresses(), info.port) == ([ADDRESS], port)
            server.terminate()
            assert await heard.get() == (ServiceStateChange.Removed, name)
            assert await server.wait() == 0
        await network.async_close()
