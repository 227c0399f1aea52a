"""Replicas of a model on Ray Serve, as one SpeechModel, and what runs on each replica.

Ray Serve chooses the replica, starts and stops replicas by load, and replaces one that dies or is
unwell. The application belongs to the cluster: a server takes the one that runs there, or deploys
it; it stops only a Ray that it has started itself.
"""

import asyncio
import logging
import os
import secrets
import signal
from collections.abc import AsyncGenerator, Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import aclosing, contextmanager, suppress
from contextvars import ContextVar
from functools import partial
from importlib import import_module
from itertools import count
from shutil import rmtree
from tempfile import mkdtemp
from typing import Any, Final, TypeVar

import msgspec
import structlog

from app.adapters.speech.worker.protocol import Failure, describe, restore
from app.domain.audio import AudioChunk
from app.domain.errors import (
    DeviceError,
    InstanceDeadError,
    ModelLoadError,
    ReplicaLostError,
    SentenceError,
    ServerOverloadedError,
    SynthesisError,
)
from app.domain.resilience import PROBE_TEXT
from app.domain.segment import TextSegment
from app.domain.services.time_limit import within
from app.domain.speech import SynthesisParams
from app.domain.text.front_end import segment_text
from app.ports.clock import Clock
from app.ports.speech_model import SpeechModel
from app.ports.telemetry import SentenceObserver

APPLICATION: Final = "soprano"  # on Ray Serve, also the name of its one deployment

POLL_S: Final = 1.0  # between two looks at the application
LOOK_LIMIT_S: Final = 5.0  # of a look; then Ray is out of reach
LOOKS_PER_MESSAGE: Final = 10  # while it is not ready

RETRY_AFTER_S: Final = 2.0  # what a caller is told when all replicas have their queues full

MAX_QUEUED_SENTENCES: Final = 1_000  # of one server; a safeguard, admission rejects before

# Without audio for any of its sentences a replica hangs; on a busy one some have audio.
MAX_SILENCE_S: Final = 30.0

# A replica that is asked and says nothing is replaced after three times these seconds at most; a
# busy one still answers, because its engine works in threads.
HEALTH_PERIOD_S: Final = 1.0
HEALTH_TIMEOUT_S: Final = 5.0

# Ray would take 30 % of the memory for large objects; a chunk of audio is a small one.
OBJECT_STORE_BYTES: Final = 80 * 2**20

ANY_RAY: Final = {
    "RAY_USAGE_STATS_ENABLED": "0",  # nothing is reported to its makers
    "RAY_ENABLE_AUTO_CONNECT": "0",  # what is called after the end must not start another one
}

# Variable of Ray: "0" has its parts listen on the loopback address, also on Linux.
ONLY_LOOPBACK: Final = "RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER"

# Of the Ray that a server starts for itself: only this machine can connect, with a token that
# nobody else has.
OWN_RAY: Final = {
    ONLY_LOOPBACK: "0",
    "RAY_AUTH_MODE": "token",
    "RAY_AUTH_TOKEN": secrets.token_hex(32),
}

# They have handlers of their own, and a warning for each request that is rejected.
LOGGERS: Final = ("ray", "ray.serve")

_log = structlog.get_logger(__name__)

T = TypeVar("T")


class FailedAttempt(msgspec.Struct, frozen=True):
    """What `SentenceObserver.sentence_failed` was told; the sentence goes on."""

    failure: Failure
    attempt: int


# What a sentence gives; nothing follows a Failure. Errors are data: not all can be pickled.
Item = AudioChunk | FailedAttempt | Failure

# Makes the model that an assignment describes; pickled by its name, so it belongs to a module.
BuildReplica = Callable[[bytes, SentenceObserver], tuple[SpeechModel, Clock]]

_FAILED: Final[ContextVar[list[Item]]] = ContextVar("failed")


class Replica:
    """One replica: loads its model before it is asked for anything, and warms it up.

    As the model's SentenceObserver it keeps failures for the stream of the sentence.
    """

    async def __init__(  # type: ignore[misc] # Ray Serve awaits it
        self, build: BuildReplica, assignment: bytes
    ) -> None:
        if os.environ.get(ONLY_LOOPBACK) == "0":  # noqa: TID251 - a switch of Ray
            _listen_on_loopback()
        self._assignment = assignment
        self._model, self._clock = build(assignment, self)
        self._num_running = 0
        self._audio_at = 0.0  # when there was any for the last time, or when work began
        self._is_dead = False
        await self._model.load()
        probe = segment_text(PROBE_TEXT, self._model.split)[0]
        async for _ in self.synthesize(probe, SynthesisParams(self._model.info.voices[0]), 0.0):
            pass

    def sentence_failed(self, error: SentenceError, attempt: int) -> None:
        _FAILED.get([]).append(FailedAttempt(describe(error), attempt))

    async def synthesize(
        self, segment: TextSegment, params: SynthesisParams, due_in_s: float
    ) -> AsyncGenerator[Item, None]:
        """What `SpeechModel.synthesize` gives; clocks of machines differ, so due is relative."""
        failed: list[Item] = []
        _FAILED.set(failed)
        due_at = self._clock.monotonic() + due_in_s
        if not self._num_running:
            self._audio_at = self._clock.monotonic()
        self._num_running += 1
        try:
            async with aclosing(self._model.synthesize(segment, params, due_at)) as chunks:
                async for chunk in chunks:
                    self._audio_at = self._clock.monotonic()
                    while failed:
                        yield failed.pop(0)
                    yield chunk
        except Exception as error:  # noqa: BLE001 - the server is told
            self._is_dead = self._is_dead or isinstance(error, InstanceDeadError)
            failed.append(describe(error))
        finally:
            self._num_running -= 1
        for failure in failed:
            yield failure

    def check_health(self) -> None:
        """Called by Ray Serve, which replaces the replica if it raises."""
        is_silent = self._clock.monotonic() - self._audio_at > MAX_SILENCE_S
        if self._is_dead or (self._num_running and is_silent):
            raise InstanceDeadError

    def describe(self) -> bytes:
        """What the replica is."""
        return self._assignment


def _listen_on_loopback() -> None:
    """Have the port for other deployments open to this machine only.

    What arrives there is unpickled without a token; Ray's switch leaves this one port out.
    """
    replica: Any = import_module("ray.serve._private.replica")
    open_port = replica.add_port_to_grpc_server
    replica.add_port_to_grpc_server = lambda server, address: open_port(
        server, address.replace("[::]", "127.0.0.1")
    )


class ReplicaOptions(msgspec.Struct, frozen=True, kw_only=True):
    """How many replicas there are, and what each may take."""

    min_replicas: int
    max_replicas: int  # the same for a fixed number
    target_ongoing_requests: float  # sentences per replica that Ray Serve aims at
    max_ongoing_requests: int  # sentences per replica; more are queued in the server
    num_cpus: float  # booked per replica
    num_gpus: float
    shutdown_s: float  # given to running sentences of a replica that is stopped


def bind_replicas(build: BuildReplica, assignment: bytes, options: ReplicaOptions) -> Any:
    """The application, as `ray.serve.run` and a Serve config take it."""
    from ray import serve

    deployment: Any = serve.deployment(
        Replica,
        name=APPLICATION,
        autoscaling_config={
            "min_replicas": options.min_replicas,
            "max_replicas": options.max_replicas,
            "target_ongoing_requests": options.target_ongoing_requests,
            "upscale_delay_s": 3.0,
            "downscale_delay_s": 60.0,
            "metrics_interval_s": 1.0,
            "look_back_period_s": 3.0,
        },
        max_ongoing_requests=options.max_ongoing_requests,
        max_queued_requests=MAX_QUEUED_SENTENCES,
        ray_actor_options={"num_cpus": options.num_cpus, "num_gpus": options.num_gpus},
        health_check_period_s=HEALTH_PERIOD_S,
        health_check_timeout_s=HEALTH_TIMEOUT_S,
        graceful_shutdown_timeout_s=options.shutdown_s,
        graceful_shutdown_wait_loop_s=0.2,
    )
    return deployment.bind(build, assignment)


def apply_serve_config(config: Mapping[str, Any], dashboard: str) -> None:
    """Send a Serve config to the dashboard of a cluster at a URL; raises OSError."""
    try:
        from ray.dashboard.modules.serve.sdk import ServeSubmissionClient

        ServeSubmissionClient(dashboard).deploy_applications(dict(config))
    except ImportError as error:
        raise OSError(
            f"Ray Serve is not installed: pip install 'soprano-tts-api[ray]' ({error})."
        ) from error
    except RuntimeError as error:  # it did not accept it
        raise OSError(str(error)) from error


class Application(msgspec.Struct, frozen=True, kw_only=True):
    """What a server expects on Ray Serve, and where Ray is."""

    address: str  # as `ray.init` takes it; empty starts one on this machine
    environment: Mapping[str, str]  # of the Ray that is started
    max_replicas: int
    bind: Callable[[], Any]  # makes it, if the cluster has none
    check: Callable[[bytes], None]  # raises ModelLoadError for an assignment of another model


class RayModel:
    """SpeechModel over the replicas.

    `outline` is the same model, never loaded: it has its info and splits texts. `observer` is told
    of failed attempts in the context of the listener.
    """

    def __init__(
        self,
        outline: SpeechModel,
        application: Application,
        clock: Clock,
        observer: SentenceObserver,
    ) -> None:
        num_streams = outline.info.num_streams * application.max_replicas
        self.info = msgspec.structs.replace(outline.info, num_streams=num_streams)
        self.split = outline.split
        self._application = application
        self._clock = clock
        self._observer = observer
        self._handle: Any = None
        # One for all that blocks: nothing asks Ray after it was shut down.
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="ray")
        self._is_connected = False  # or is about to be
        self._session = ""  # directory of a Ray that was started here
        self._watching: asyncio.Task[None] | None = None
        self.num_replicas = 0  # that can be asked, as of the last look

    async def load(self) -> None:
        self._is_connected = True
        try:
            await self._in_thread(self._connect)
            # Ray's native code has a handler that ends the process; Python's is put back.
            signal.signal(signal.SIGTERM, signal.getsignal(signal.SIGTERM))
            await self._until_it_runs()
            handle = await self._in_thread(_find_application)
            self._application.check(await handle.options(stream=False).describe.remote())
        except ModelLoadError:
            raise
        except Exception as error:
            reason = await self._in_thread(partial(_last_line, str(error)))
            raise ModelLoadError(f"Ray Serve cannot run the model: {reason}") from error
        self._handle = handle
        self._watching = asyncio.create_task(self._watch(), name="watch-replicas")

    async def close(self) -> None:
        if self._watching is not None:
            self._watching.cancel()
            await asyncio.gather(self._watching, return_exceptions=True)
        handle, self._handle = self._handle, None
        if self._is_connected:
            self._is_connected = False
            await self._in_thread(partial(self._disconnect, handle))

    async def synthesize(
        self, segment: TextSegment, params: SynthesisParams, due_at: float = 0.0
    ) -> AsyncGenerator[AudioChunk, None]:
        """Raises ReplicaLostError if the replica dies, ServerOverloadedError if too many wait."""
        from ray.exceptions import RayError
        from ray.serve.exceptions import BackPressureError, RayServeException

        if self._handle is None:
            raise ReplicaLostError
        due_in_s = due_at - self._clock.monotonic()
        items = self._handle.synthesize.remote(segment, params, due_in_s)
        try:
            async for item in items:
                chunk = self._chunk_of(item)
                if chunk is not None:
                    yield chunk
        except BackPressureError as error:
            raise ServerOverloadedError(RETRY_AFTER_S) from error
        except (RayError, RayServeException) as error:
            raise ReplicaLostError from error
        finally:
            with suppress(RayError, RayServeException):  # of a rejected one it raises that again
                items.cancel()

    def _chunk_of(self, item: Item) -> AudioChunk | None:
        """The audio in an item, if any; raises the failure in it."""
        match item:
            case AudioChunk():
                return item
            case FailedAttempt():
                error = restore(item.failure)
                if isinstance(error, SentenceError):
                    self._observer.sentence_failed(error, item.attempt)
                return None
            case Failure():
                error = restore(item)
                if isinstance(error, DeviceError):  # another replica would have the same trouble
                    raise SynthesisError(str(error))
                raise ReplicaLostError if isinstance(error, InstanceDeadError) else error

    async def _in_thread(self, work: Callable[[], T]) -> T:
        return await asyncio.get_running_loop().run_in_executor(self._thread, work)

    def _connect(self) -> None:
        address = self._application.address
        for name, value in ANY_RAY.items():
            os.environ.setdefault(name, value)  # noqa: TID251 - Ray reads it when it is imported
        if not address:
            os.environ.update(OWN_RAY)  # noqa: TID251
        import ray
        from ray import serve

        for name in LOGGERS:
            logger = logging.getLogger(name)
            logger.handlers.clear()
            logger.propagate = True
            logger.setLevel(logging.ERROR)
        options: dict[str, Any] = {
            "namespace": "serve",
            "log_to_driver": False,
            "configure_logging": False,
        }
        if address:
            ray.init(address=address, **options)
        else:
            self._session = mkdtemp(prefix="soprano-ray-")
            with _environment({**self._application.environment, **ANY_RAY, **OWN_RAY}):
                ray.init(
                    address="local",
                    include_dashboard=False,
                    object_store_memory=OBJECT_STORE_BYTES,
                    _temp_dir=self._session,
                    **options,
                )
        serve.start(proxy_location="Disabled")

    def _disconnect(self, handle: Any) -> None:
        import ray

        if handle is not None:
            handle.shutdown()
        ray.shutdown()  # also ends a Ray that was started here
        if self._session:
            rmtree(self._session, ignore_errors=True)

    async def _until_it_runs(self) -> None:
        """Return when the application can be asked; deploy it, if there is none that works."""
        is_deployed = False
        for num_looks in count(1):
            application = (await self._in_thread(_applications)).get(APPLICATION)
            match application and application.status.value:
                case "RUNNING" | "UNHEALTHY":  # which replaces replicas
                    return
                case "DEPLOYING" | "DELETING":
                    if num_looks % LOOKS_PER_MESSAGE == 0:
                        reason = await self._in_thread(partial(_last_line, ""))
                        _log.info("ray.waiting", reason=reason)
                case _ if is_deployed:
                    raise RuntimeError("it did not start")  # the message of the replica is better
                case _:
                    await self._in_thread(partial(_deploy, self._application.bind))
                    is_deployed = True
            await self._clock.sleep(POLL_S)

    async def _watch(self) -> None:
        is_lost = False
        while True:
            looking = asyncio.ensure_future(self._in_thread(_count_replicas))
            try:
                self.num_replicas = await within(self._clock, LOOK_LIMIT_S, asyncio.shield(looking))
                is_lost = False
            except Exception as error:  # noqa: BLE001 - whatever Ray has for it
                self.num_replicas = 0
                if not is_lost:
                    _log.warning("ray.unreachable", reason=str(error) or "no answer in time")
                is_lost = True
                await asyncio.wait({looking})
            await self._clock.sleep(POLL_S)


@contextmanager
def _environment(variables: Mapping[str, str]) -> Iterator[None]:
    """Have only these: what is started meanwhile keeps them, and our settings are secrets."""
    before = dict(os.environ)  # noqa: TID251
    os.environ.clear()  # noqa: TID251
    os.environ.update(variables)  # noqa: TID251
    try:
        yield
    finally:
        os.environ.update(before)  # noqa: TID251


def _deploy(bind: Callable[[], Any]) -> None:
    from ray import serve

    target = serve.RunTarget(bind(), name=APPLICATION, route_prefix=None)
    serve.run_many([target], wait_for_applications_running=False)


def _find_application() -> Any:
    from ray import serve

    return serve.get_app_handle(APPLICATION).options(stream=True)


def _last_line(message: str) -> str:
    """Of a traceback, which names the error; that of a replica says more than `message`."""
    with suppress(Exception):
        message = _applications()[APPLICATION].deployments[APPLICATION].message or message
    return message.strip().rpartition("\n")[2].strip()


def _applications() -> dict[str, Any]:
    from ray import serve

    return dict(serve.status().applications)


def _count_replicas() -> int:
    states = _applications()[APPLICATION].deployments[APPLICATION].replica_states
    return int(states.get("RUNNING", 0))
