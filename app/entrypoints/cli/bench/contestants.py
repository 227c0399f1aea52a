"""Who is measured: our server, the package's server and the package itself, a process each."""

import asyncio
import socket
from asyncio.subprocess import Process
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import aclosing, asynccontextmanager
from pathlib import Path
from typing import Any, Final, Protocol

import h11
import msgspec

from app.entrypoints.cli.bench import http_client
from app.entrypoints.cli.bench.figures import OURS_FP32, OURS_INT8, PACKAGE, PACKAGE_SERVER
from app.entrypoints.cli.bench.processes import ProcessError, python_process, resident_bytes
from app.entrypoints.cli.bench.recording import Arrival, Recording
from app.ports.clock import Clock

SAMPLE_RATE: Final = 32_000
"""Hz, of the model card. Ours are asked for it; the package has no other."""

BYTES_PER_SAMPLE: Final = 2
WAV_HEAD_BYTES: Final = 44

START_TIMEOUT_S: Final = 600.0
"""The first start on a checkpoint builds graphs."""

POLL_S: Final = 0.1

WORKER: Final = "app.entrypoints.cli.bench.package_worker"
SERVER: Final = "app.entrypoints.cli.bench.package_server"


class Surroundings(msgspec.Struct, frozen=True, eq=False):
    """What all contestants share.

    Attributes:
        checkpoint: that they speak with.
        directory: for their logs and settings.
        clock: of all times.
    """

    checkpoint: Path
    directory: Path
    clock: Clock


class Contestant(Protocol):
    """Speaks texts in a process of its own.

    Attributes:
        name: one of CONTESTANTS.
        is_ours: whether it is this project's.
        is_server: whether it can be asked by several at once.
    """

    name: str
    is_ours: bool
    is_server: bool

    async def speak(self, text: str) -> Recording:
        """The whole text, the fastest way."""
        ...

    async def stream(self, text: str) -> Recording:
        """The whole text, each piece as soon as it can be had."""
        ...

    async def first_audio_s(self, text: str) -> float:
        """Time to first audio; the rest need not be spoken."""
        ...

    def resident_bytes(self) -> int:
        """Resident memory of its process tree, now."""
        ...


class ServerContestant:
    """A server that speaks HTTP.

    Args:
        name: one of CONTESTANTS.
        process: of the server.
        port: where it listens.
        clock: of all times.
    """

    is_server = True

    def __init__(self, name: str, process: Process, port: int, clock: Clock) -> None:
        self.name = name
        self.is_ours = name != PACKAGE_SERVER
        self._process = process
        self._port = port
        self._clock = clock

    async def speak(self, text: str) -> Recording:
        started_s = self._clock.monotonic()
        arrivals = [arrival async for arrival in self.listen(text)]
        return Recording(started_s, arrivals, self._clock.monotonic())

    async def stream(self, text: str) -> Recording:
        return await self.speak(text)

    async def first_audio_s(self, text: str) -> float:
        started_s = self._clock.monotonic()
        async with aclosing(self.listen(text)) as arrivals:
            return (await anext(arrivals)).at_s - started_s

    async def listen(
        self, text: str, receive_buffer_bytes: int | None = None
    ) -> AsyncGenerator[Arrival, None]:
        """Arrivals as they come. A WAV head is no audio."""
        num_head_bytes = 0 if self.is_ours else WAV_HEAD_BYTES
        pieces = http_client.speak(self._port, self._message(text), receive_buffer_bytes)
        async with aclosing(pieces):
            async for piece in pieces:
                num_audio_bytes = max(0, len(piece) - num_head_bytes)
                num_head_bytes -= min(num_head_bytes, len(piece))
                if num_audio_bytes:
                    audio_s = num_audio_bytes / BYTES_PER_SAMPLE / SAMPLE_RATE
                    yield Arrival(self._clock.monotonic(), audio_s)

    def _message(self, text: str) -> dict[str, Any]:
        if not self.is_ours:
            return {"input": text}
        return {"input": text, "response_format": "pcm", "sample_rate": SAMPLE_RATE}

    def resident_bytes(self) -> int:
        return resident_bytes(self._process.pid)


class PackageContestant:
    """The package in a process that is spoken to line by line, see `package_worker`."""

    name = PACKAGE
    is_ours = False
    is_server = False

    def __init__(self, process: Process, log: Path, clock: Clock) -> None:
        self._process = process
        self._log = log
        self._clock = clock

    async def wait_until_ready(self) -> None:
        """Return when the model is loaded."""
        async with asyncio.timeout(START_TIMEOUT_S):
            await self._next_num_samples()

    async def speak(self, text: str) -> Recording:
        return await self._record({"text": text, "is_streamed": False})

    async def stream(self, text: str) -> Recording:
        return await self._record({"text": text, "is_streamed": True})

    async def first_audio_s(self, text: str) -> float:
        return (await self.stream(text)).first_audio_s

    async def _record(self, message: dict[str, Any]) -> Recording:
        started_s = self._clock.monotonic()
        assert self._process.stdin is not None  # noqa: S101 - it was started with pipes
        self._process.stdin.write(msgspec.json.encode(message) + b"\n")
        arrivals = []
        while num_samples := await self._next_num_samples():
            arrivals.append(Arrival(self._clock.monotonic(), num_samples / SAMPLE_RATE))
        return Recording(started_s, arrivals, self._clock.monotonic())

    async def _next_num_samples(self) -> int:
        assert self._process.stdout is not None  # noqa: S101 - it was started with pipes
        line = await self._process.stdout.readline()
        if not line:
            raise ProcessError(f"The {self.name} ended", self._log)
        return int(line)

    def resident_bytes(self) -> int:
        return resident_bytes(self._process.pid)


@asynccontextmanager
async def our_server(precision: str, surroundings: Surroundings) -> AsyncIterator[ServerContestant]:
    """`soprano-api serve` with the backend onnx, which speaks a text of any length, and anew."""
    settings = surroundings.directory / "bench.toml"
    settings.write_text("[speech]\nmax_chars = 10_000_000\n[cache]\nmax_bytes = 0\n")
    name = {"int8": OURS_INT8, "fp32": OURS_FP32}[precision]
    flags = {
        "--backend": "onnx",
        "--model": str(surroundings.checkpoint),
        "--precision": precision,
        "--config": str(settings),
        "--log-level": "warning",
        "--host": http_client.HOST,
    }
    arguments = ("app", "serve", *(word for flag in flags.items() for word in flag), "--port")
    async with _server(name, arguments, "/health/ready", surroundings) as server:
        yield server


@asynccontextmanager
async def package_server(surroundings: Surroundings) -> AsyncIterator[ServerContestant]:
    """The package's own HTTP server."""
    arguments = (SERVER, str(surroundings.checkpoint))
    async with _server(PACKAGE_SERVER, arguments, "/openapi.json", surroundings) as server:
        yield server


@asynccontextmanager
async def package_in_process(surroundings: Surroundings) -> AsyncIterator[PackageContestant]:
    """The package, called by a worker."""
    log = surroundings.directory / "package_worker.log"
    arguments = (WORKER, str(surroundings.checkpoint))
    async with python_process(*arguments, log=log, has_pipes=True) as process:
        package = PackageContestant(process, log, surroundings.clock)
        await package.wait_until_ready()
        yield package


@asynccontextmanager
async def _server(
    name: str, arguments: tuple[str, ...], ready_path: str, surroundings: Surroundings
) -> AsyncIterator[ServerContestant]:
    """Start `arguments` with a free port as the last of them, and wait for `ready_path`."""
    port = _free_port()
    log = surroundings.directory / f"{name.replace(' ', '_')}_{port}.log"
    async with python_process(*arguments, str(port), log=log) as process:
        await _wait_until_ready(process, port, ready_path, surroundings.clock, log)
        yield ServerContestant(name, process, port, surroundings.clock)


async def _wait_until_ready(
    process: Process, port: int, ready_path: str, clock: Clock, log: Path
) -> None:
    give_up_at = clock.monotonic() + START_TIMEOUT_S
    while clock.monotonic() < give_up_at:
        if process.returncode is not None:
            raise ProcessError("A server ended while it started", log)
        try:
            await http_client.get(port, ready_path)
        except (http_client.AnswerError, OSError, h11.RemoteProtocolError):
            await clock.sleep(POLL_S)
        else:
            return
    raise ProcessError("A server did not become ready", log)


def _free_port() -> int:
    with socket.socket() as listener:
        listener.bind((http_client.HOST, 0))
        port: int = listener.getsockname()[1]
        return port
