"""What is measured: our server, the package's server and the package itself, a process each."""

import asyncio
import os
import socket
import sys
import time
from asyncio.subprocess import DEVNULL, PIPE, Process
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import aclosing, asynccontextmanager, suppress
from pathlib import Path
from typing import Any, Final

import h11
import msgspec
import psutil

from benchmarks.results import OURS, PACKAGE, PACKAGE_SERVER, Answer, Arrival

HOST: Final = "127.0.0.1"
SAMPLE_RATE: Final = 32_000  # Hz, of the model card; the package has no other
BYTES_PER_SAMPLE: Final = 2
WAV_HEADER_BYTES: Final = 44
READ_BYTES: Final = 65_536
START_TIMEOUT_S: Final = 600.0  # the first start with a checkpoint builds graphs
STOP_TIMEOUT_S: Final = 15.0
POLL_S: Final = 0.1
NUM_LOG_LINES: Final = 20  # of a process that failed: enough to see why
PACKAGE_PROCESS: Final = "benchmarks.package_process"


class TargetError(Exception):
    """A process ended, did not become ready, or a server answered with another status than 200."""


class Target:
    """Synthesizes texts in a process of its own.

    Attributes:
        name: one of results.TARGETS.
        is_ours: whether it is this project's.
        is_server: whether several clients can ask it at the same time.
    """

    name: str
    is_ours: bool
    is_server: bool

    def __init__(self, name: str, process: Process) -> None:
        self.name = name
        self.is_ours = name in OURS
        self.is_server = name != PACKAGE
        self.process = process

    async def synthesize(self, text: str) -> Answer:
        """The whole text, in the fastest way."""
        raise NotImplementedError

    async def stream(self, text: str) -> Answer:
        """The whole text, each chunk as early as possible."""
        return await self.synthesize(text)

    async def first_audio_s(self, text: str) -> float:
        """Time to first audio; the rest need not be synthesized."""
        return (await self.stream(text)).first_audio_s

    def resident_bytes(self) -> int:
        """Resident memory of the process and its children."""
        process = psutil.Process(self.process.pid)
        total = 0
        for one in (process, *process.children(recursive=True)):
            with suppress(psutil.NoSuchProcess, ProcessLookupError, FileNotFoundError):
                total += resident_bytes(one.pid)
        return total


def resident_bytes(pid: int) -> int:
    """Resident memory of a process; on Linux, what it maps twice counts once, see proc(5)."""
    if not psutil.LINUX:
        return int(psutil.Process(pid).memory_info().rss)
    kib_by_mapping: dict[object, int] = {}
    mapping: object = None
    for line in Path(f"/proc/{pid}/smaps").read_text(encoding="utf-8").splitlines():
        first, *words = line.split()
        if not first.endswith(":"):
            _, offset, device, inode, *_ = words
            mapping = first if inode == "0" else (device, inode, offset)
        elif first == "Rss:":
            kib_by_mapping[mapping] = max(int(words[0]), kib_by_mapping.get(mapping, 0))
    return 1_024 * sum(kib_by_mapping.values())


class HttpTarget(Target):
    """A server that listens on `port`."""

    def __init__(self, name: str, process: Process, port: int) -> None:
        super().__init__(name, process)
        self.port = port

    async def synthesize(self, text: str) -> Answer:
        started_s = time.monotonic()
        arrivals = [arrival async for arrival in self.arrivals(text)]
        return Answer(started_s, arrivals, time.monotonic())

    async def first_audio_s(self, text: str) -> float:
        started_s = time.monotonic()
        async with aclosing(self.arrivals(text)) as arrivals:
            return (await anext(arrivals)).at_s - started_s

    async def arrivals(
        self, text: str, receive_buffer_bytes: int | None = None
    ) -> AsyncGenerator[Arrival, None]:
        """Audio as it comes. A WAV header is not audio."""
        num_header_bytes = 0 if self.is_ours else WAV_HEADER_BYTES
        message: dict[str, Any] = {"input": text}
        if self.is_ours:
            message |= {"response_format": "pcm", "sample_rate": SAMPLE_RATE}
        async with aclosing(post_speech(self.port, message, receive_buffer_bytes)) as pieces:
            async for piece in pieces:
                num_audio_bytes = max(0, len(piece) - num_header_bytes)
                num_header_bytes -= min(num_header_bytes, len(piece))
                if num_audio_bytes:
                    audio_s = num_audio_bytes / BYTES_PER_SAMPLE / SAMPLE_RATE
                    yield Arrival(time.monotonic(), audio_s)


class PackageTarget(Target):
    """The package, called by a worker process; see `package_process`."""

    def __init__(self, process: Process, log: Path) -> None:
        super().__init__(PACKAGE, process)
        self._log = log

    async def synthesize(self, text: str) -> Answer:
        return await self._ask({"text": text, "is_streamed": False})

    async def stream(self, text: str) -> Answer:
        return await self._ask({"text": text, "is_streamed": True})

    async def _ask(self, message: dict[str, Any]) -> Answer:
        started_s = time.monotonic()
        assert self.process.stdin is not None  # it was started with pipes
        self.process.stdin.write(msgspec.json.encode(message) + b"\n")
        arrivals = []
        while num_samples := await self.next_num_samples():
            arrivals.append(Arrival(time.monotonic(), num_samples / SAMPLE_RATE))
        return Answer(started_s, arrivals, time.monotonic())

    async def next_num_samples(self) -> int:
        """Of the next chunk; 0 after the last one, and when the model is loaded."""
        assert self.process.stdout is not None  # it was started with pipes
        line = await self.process.stdout.readline()
        if not line:
            raise _failure("The package ended", self._log)
        return int(line)


@asynccontextmanager
async def our_server(
    precision: str, checkpoint: Path, directory: Path
) -> AsyncIterator[HttpTarget]:
    """`soprano-api serve` with the backend onnx, without a cache or a limit on characters.

    Args:
        precision: one of OURS, also the target's name.
        checkpoint: its directory.
        directory: for logs and settings.
    """
    config = directory / "bench.toml"
    config.write_text("[speech]\nmax_chars = 10_000_000\n[cache]\nmax_bytes = 0\n")
    options = (
        *("--backend", "onnx", "--model", str(checkpoint), "--precision", precision),
        *("--config", str(config), "--log-level", "warning", "--host", HOST, "--port"),
    )
    arguments = ("app", "serve", *options)
    async with serving(precision, arguments, "/health/ready", directory) as server:
        yield server


@asynccontextmanager
async def package_server(checkpoint: Path, directory: Path) -> AsyncIterator[HttpTarget]:
    """The package's own HTTP server."""
    arguments = (PACKAGE_PROCESS, "server", str(checkpoint))
    async with serving(PACKAGE_SERVER, arguments, "/openapi.json", directory) as server:
        yield server


@asynccontextmanager
async def package_in_process(checkpoint: Path, directory: Path) -> AsyncIterator[PackageTarget]:
    """The package, called by a worker process."""
    log = directory / "package_worker.log"
    arguments = (PACKAGE_PROCESS, "worker", str(checkpoint))
    async with _python_process(*arguments, log=log, has_pipes=True) as process:
        package = PackageTarget(process, log)
        async with asyncio.timeout(START_TIMEOUT_S):
            await package.next_num_samples()
        yield package


@asynccontextmanager
async def serving(
    name: str, arguments: tuple[str, ...], ready_path: str, directory: Path
) -> AsyncIterator[HttpTarget]:
    """Start `arguments` with a free port as the last of them, and wait for `ready_path`."""
    with socket.socket() as listener:
        listener.bind((HOST, 0))
        port: int = listener.getsockname()[1]
    log = directory / f"{name.replace(' ', '_')}_{port}.log"
    async with _python_process(*arguments, str(port), log=log) as process:
        give_up_at = time.monotonic() + START_TIMEOUT_S
        while time.monotonic() < give_up_at:
            if process.returncode is not None:
                raise _failure("A server ended while it started", log)
            try:
                await get(port, ready_path)
            except (TargetError, OSError, h11.RemoteProtocolError):
                await asyncio.sleep(POLL_S)
            else:
                yield HttpTarget(name, process, port)
                return
        raise _failure("A server did not become ready", log)


@asynccontextmanager
async def _python_process(
    *arguments: str, log: Path, has_pipes: bool = False
) -> AsyncIterator[Process]:
    """Run `python -m ARGUMENTS` from the working copy until the block is left.

    Args:
        arguments: the module and its arguments.
        log: file for its output.
        has_pipes: its standard input and output are for the caller.
    """
    root = str(Path(__file__).parents[1])
    paths = filter(None, (root, os.environ.get("PYTHONPATH")))
    with log.open("wb") as file:
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", *arguments),
            stdin=PIPE if has_pipes else DEVNULL,
            stdout=PIPE if has_pipes else file,
            stderr=file,
            env={**os.environ, "PYTHONPATH": os.pathsep.join(paths)},
        )
    try:
        yield process
    finally:
        if process.returncode is None:
            process.terminate()
            try:
                async with asyncio.timeout(STOP_TIMEOUT_S):
                    await process.wait()
            except TimeoutError:
                process.kill()
                await process.wait()


def _failure(message: str, log: Path) -> TargetError:
    lines = log.read_text(errors="replace").splitlines()[-NUM_LOG_LINES:]
    return TargetError("\n".join((f"{message}:", *lines)))


async def get(port: int, path: str) -> bytes:
    """The body of a resource; raises TargetError for another status than 200."""
    async with aclosing(_exchange(port, "GET", path, b"", None)) as pieces:
        return b"".join([piece async for piece in pieces])


class BusyError(TargetError):
    """The server has no place for a request."""

    def __init__(self, message: str, retry_after_s: float) -> None:
        super().__init__(message)
        self.retry_after_s = retry_after_s


async def post_speech(
    port: int, message: dict[str, Any], receive_buffer_bytes: int | None = None
) -> AsyncGenerator[bytes, None]:
    """The body of the answer as it comes; `aclose` disconnects.

    A server that has no place is asked again when it says.

    Args:
        port: of the server.
        message: body of the request.
        receive_buffer_bytes: of the socket, so that a slow client soon blocks the server; None is
            the system's choice.
    """
    body = msgspec.json.encode(message)
    while True:
        pieces = _exchange(port, "POST", "/v1/audio/speech", body, receive_buffer_bytes)
        try:
            async with aclosing(pieces):
                async for piece in pieces:
                    yield piece
        except BusyError as busy:
            await asyncio.sleep(busy.retry_after_s)
        else:
            return


async def _exchange(
    port: int, method: str, path: str, body: bytes, receive_buffer_bytes: int | None
) -> AsyncGenerator[bytes, None]:
    """A request on a connection of its own. h11 alone costs the client less than httpx."""
    if receive_buffer_bytes is None:
        reader, writer = await asyncio.open_connection(HOST, port)
    else:
        client = socket.socket()
        client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_buffer_bytes)
        client.settimeout(0)
        await asyncio.get_running_loop().sock_connect(client, (HOST, port))
        reader, writer = await asyncio.open_connection(sock=client, limit=receive_buffer_bytes)
    connection = h11.Connection(h11.CLIENT)
    headers = [
        ("Host", HOST),
        ("Content-Type", "application/json"),
        ("Content-Length", str(len(body))),
        ("Connection", "close"),
    ]
    request = h11.Request(method=method, target=path, headers=headers)
    try:
        for part in (request, h11.Data(data=body), h11.EndOfMessage()):
            writer.write(connection.send(part) or b"")
        await writer.drain()
        while not isinstance(event := connection.next_event(), h11.EndOfMessage):
            if event is h11.NEED_DATA:
                connection.receive_data(await reader.read(READ_BYTES))
            elif isinstance(event, h11.Response) and event.status_code != 200:
                failure = f"{method} {path}: status {event.status_code}"
                if retry_after_s := dict(event.headers).get(b"retry-after"):
                    raise BusyError(failure, float(retry_after_s))
                raise TargetError(failure)
            elif isinstance(event, h11.Data):
                yield bytes(event.data)
    finally:
        writer.close()
        with suppress(OSError):
            await writer.wait_closed()
