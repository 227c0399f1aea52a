"""Real servers for tests, on free ports of the loopback address."""

import asyncio
import atexit
import functools
import itertools
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path
from typing import Any

import httpx
import msgspec
from litestar import Litestar

from app.domain.services.lifecycle import Intake
from app.entrypoints.backends import Choice
from app.entrypoints.http.app import create_app
from app.entrypoints.http.server import SpeechServer
from app.entrypoints.services import Ports
from app.entrypoints.settings import ServerSettings, Settings
from app.ports.telemetry import Tracing
from tests.fakes.audio_encoder import FakeAudioEncoders
from tests.fakes.audio_store import FakeAudioStores
from tests.fakes.clock import FakeClock
from tests.fakes.key_source import FakeKeySource
from tests.fakes.metrics import FakeMetrics
from tests.fakes.request_observer import FakeRequestObserver
from tests.fakes.speech_cache import FakeSpeechCache
from tests.fakes.speech_model import FakeSpeechModel
from tests.fakes.speech_observer import FakeSpeechObserver

WITHOUT_CACHE = {"SOPRANO_CACHE__MAX_BYTES": "0"}
"""Environment of a server that speaks again what it is asked again."""

PATIENT = {"SOPRANO_ADMISSION__MAX_WAIT_S": "120"}
"""Environment of a server whose callers wait for their turn however busy the machine is."""

START_TIMEOUT_S = 30.0
STOP_TIMEOUT_S = 15.0
TICK_S, TICKS = 0.1, 20  # uvicorn's tick, and how often a server under test looks in it
EVENT_TIMEOUT_S = 15.0


class Fakes:
    """An application over fakes, and the fakes to look at."""

    def __init__(self, settings: Settings | None = None) -> None:
        self.settings = settings or Settings()
        self.model = FakeSpeechModel()
        self.cache = FakeSpeechCache()
        self.encoders = FakeAudioEncoders()
        self.clock = FakeClock()
        self.stores = FakeAudioStores(self.clock)
        self.observer = FakeSpeechObserver()
        self.requests = FakeRequestObserver()
        self.tracing: Tracing | None = None
        self.keys = FakeKeySource()
        self.metrics = FakeMetrics()
        self.chance = 0.0
        self.intake: Intake  # of the last application

    def ports(self) -> Ports:
        return Ports(
            choice=Choice("fake"),
            model=self.model,
            cache=self.cache,
            encoders=self.encoders,
            stores=self.stores,
            keys=self.keys,
            clock=self.clock,
            observer=self.observer,
            requests=self.requests,
            tracing=self.tracing,
            metrics=self.metrics,
            random=lambda: self.chance,
        )

    def app(self, **changed: Any) -> Litestar:
        """With other adapters in place of some fakes, by the names of `Ports`."""
        ports = msgspec.structs.replace(self.ports(), **changed)
        app = create_app(ports, self.settings)
        self.intake = app.state.services.intake
        return app


class QuickServer(SpeechServer):
    """Does not keep the test waiting when it stops; its ticks are as long as uvicorn's."""

    async def main_loop(self) -> None:
        for tick in itertools.count():
            is_due = self.should_exit or tick % TICKS == 0
            if is_due and await self.on_tick(tick // TICKS):
                return
            await asyncio.sleep(TICK_S / TICKS)

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        if self.server_state.connections:
            await super().shutdown(sockets)
        else:  # without uvicorn's pause in which connections may end
            for server in self.servers:
                server.close()
            await self.lifespan.shutdown()


@asynccontextmanager
async def serving(app: Litestar) -> AsyncIterator[str]:
    """Serve `app` on this event loop; gives its base URL."""
    async with serving_until_stopped(app, ServerSettings()) as server:
        yield url_of(server)


@asynccontextmanager
async def serving_until_stopped(
    app: Litestar, settings: ServerSettings
) -> AsyncIterator[SpeechServer]:
    """Serve `app`; what runs at the end of the block is cut."""
    server = QuickServer(app, msgspec.structs.replace(settings, port=0))
    task = asyncio.create_task(server._serve())
    try:
        while not server.started:
            assert not task.done(), "the server did not start"
            await asyncio.sleep(0.005)
        yield server
    finally:
        stop(server)
        stop(server)
        await asyncio.wait_for(task, STOP_TIMEOUT_S)


def url_of(server: SpeechServer) -> str:
    port = server.servers[0].sockets[0].getsockname()[1]
    return f"http://127.0.0.1:{port}"


def stop(server: SpeechServer) -> None:
    """What a stop signal does."""
    server.handle_exit(signal.SIGTERM, None)


class ServerProcess:
    """A server in a process of its own."""

    def __init__(self, process: subprocess.Popen[bytes], port: int, log_path: Path) -> None:
        self._process = process
        self.url = f"http://127.0.0.1:{port}"
        self.port = port
        self.pid = process.pid
        self.log_path = log_path

    def is_running(self) -> bool:
        """Whether the process has not ended yet."""
        return self._process.poll() is None

    def exit_code(self) -> int:
        """Of the process, once it has ended."""
        return self._process.wait(STOP_TIMEOUT_S)

    def log_events(self, **fields: object) -> list[dict[str, Any]]:
        """The log events so far that have these fields; every line is one."""
        lines = self.log_path.read_text().split("\n")[:-1]  # the last one may be on its way
        return [event for event in map(json.loads, lines) if fields.items() <= event.items()]

    def wait_for_events(self, num_events: int = 1, **fields: object) -> list[dict[str, Any]]:
        """The same, once there are so many: an answer may arrive before its event is written."""
        deadline = time.monotonic() + EVENT_TIMEOUT_S
        while len(events := self.log_events(**fields)) < num_events:
            assert time.monotonic() < deadline, f"{len(events)} of {num_events}: {fields}"
            time.sleep(0.02)
        return events


def clean_environment(extra: Mapping[str, str] | None = None) -> dict[str, str]:
    """The environment without settings of the person who runs the tests."""
    own = {name: value for name, value in os.environ.items() if not name.startswith("SOPRANO_")}
    directories = {
        "SOPRANO_MODEL__GRAPH_DIRECTORY": str(graph_directory()),
        "SOPRANO_STORE__DIRECTORY": str(store_directory()),
    }
    return {**own, **directories, **(extra or {})}


@functools.cache
def graph_directory() -> Path:
    """Where servers under test keep their graphs, until the tests are over."""
    path = Path(tempfile.mkdtemp(prefix="soprano-graphs-"))
    atexit.register(shutil.rmtree, path, ignore_errors=True)
    return path


@functools.cache
def store_directory() -> Path:
    """Where servers under test keep audio, unless a test says otherwise."""
    path = Path(tempfile.mkdtemp(prefix="soprano-store-"))
    atexit.register(shutil.rmtree, path, ignore_errors=True)
    return path


@contextmanager
def server_process(
    log_path: Path,
    *arguments: str,
    environ: Mapping[str, str] | None = None,
    entry: str = "app",
    launcher: Sequence[str] = (),
) -> Iterator[ServerProcess]:
    """Run `soprano-api serve`; it is alive, maybe still loading, when this returns.

    Args:
        log_path: file of its log.
        arguments: of the command.
        environ: more of the environment.
        entry: module that is run, another one where the server is to have other adapters.
        launcher: command in front of it, which sets limits or changes the user.
    """
    port = free_port()
    with log_path.open("w") as log:
        process = subprocess.Popen(
            [
                *launcher,
                *[sys.executable, "-m", entry, "serve", "--port", str(port), *arguments],
            ],
            stdout=log,
            stderr=subprocess.STDOUT,
            env=clean_environment(environ),
        )
    try:
        server = ServerProcess(process, port, log_path)
        wait_for_status(f"{server.url}/health/live", process)
        yield server
        assert process.poll() in (None, 0), "the server died"
    finally:
        process.terminate()
        try:
            process.wait(STOP_TIMEOUT_S)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def wait_for_status(url: str, process: subprocess.Popen[bytes] | None = None) -> None:
    """Return once `url` answers 200."""
    deadline = time.monotonic() + START_TIMEOUT_S
    while time.monotonic() < deadline:
        assert process is None or process.poll() is None, "the server died"
        try:
            if httpx.get(url, timeout=5).status_code == 200:
                return
        except httpx.TransportError:
            pass
        time.sleep(0.05)
    raise TimeoutError(url)


def free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        port: int = listener.getsockname()[1]
        return port


def run_console(
    *arguments: str,
    cwd: Path | None = None,
    stdin: bytes = b"",
    environ: Mapping[str, str] | None = None,
    timeout_s: float = 120,
) -> subprocess.CompletedProcess[bytes]:
    """Run `soprano-api` with `arguments` to its end."""
    paths = [(environ or {}).get("PYTHONPATH", ""), str(Path(__file__).parents[1])]
    path = {"PYTHONPATH": os.pathsep.join(filter(None, paths))}
    return subprocess.run(
        [sys.executable, "-m", "app", *arguments],
        cwd=cwd,
        env=clean_environment({**(environ or {}), **path}),
        input=stdin,
        capture_output=True,
        timeout=timeout_s,
        check=False,
    )
