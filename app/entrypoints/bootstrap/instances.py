"""From settings to one instance of a model, in this process or in one of its own."""

import os
import platform
import sys
from collections.abc import Callable
from functools import partial
from importlib.util import find_spec
from pathlib import Path
from socket import socket
from typing import Any, Final

import msgspec
from platformdirs import user_cache_path

import app
from app.adapters.clock import SystemClock
from app.adapters.speech.embedded_voice import EmbeddedVoice
from app.adapters.speech.ray_serve import Application, RayModel, ReplicaOptions, bind_replicas
from app.adapters.speech.soprano.checkpoint.checkpoint import Checkpoint, read_checkpoint
from app.adapters.speech.soprano.checkpoint.hub import DEFAULT_REPO, find_cached, locate
from app.adapters.speech.soprano.engine import Engine, Sampling
from app.adapters.speech.soprano.model import SopranoModel
from app.adapters.speech.soprano.onnx.engine import OnnxEngine
from app.adapters.speech.soprano.onnx.graph_cache import GraphCache
from app.adapters.speech.soprano.onnx.sessions import open_sessions
from app.adapters.speech.soprano.torch.engine import load_torch_engine
from app.adapters.speech.soprano.torch.lmdeploy import load_lmdeploy
from app.adapters.speech.soprano.torch.transformers import load_transformers
from app.adapters.speech.worker.client import WorkerModel, start_worker
from app.adapters.speech.worker.protocol import Channel, Init, ToWorker, open_channel
from app.adapters.speech.worker.server import ModelServer
from app.domain.errors import InstanceDeadError, ModelLoadError
from app.entrypoints.backends import Choice, Surroundings, choose_backend
from app.entrypoints.log import configure_logging
from app.entrypoints.memory import tune_allocation
from app.entrypoints.settings import LogSettings, ModelSettings, Settings
from app.entrypoints.settings_loader import environment_without_settings
from app.ports.clock import Clock
from app.ports.speech_model import SpeechModel
from app.ports.telemetry import SentenceObserver, SpeechObserver

# Made by the NVIDIA driver. Looking is cheap; asking torch would load it before we serve.
CUDA_DEVICE_FILE: Final = Path("/dev/nvidiactl")

WORKER_COMMAND: Final = (sys.executable, "-P", "-m", "app.entrypoints.worker")
"""Without the working directory on the module path, which may have an `app` of somebody else."""

SOUND_SETTINGS: Final = ("device", "precision", "revision", "temperature")
"""Settings of the model that may give other samples; files are identified by themselves."""

MAX_GRAPH_BYTES: Final = 4_000_000_000  # 860 MB in fp32 and 400 MB in int8


def look_around(settings: ModelSettings) -> Surroundings:
    """What is there: devices, packages, weights. Loads none of them."""
    may_use_gpu = settings.device != "cpu"
    cached = settings.checkpoint or find_cached(DEFAULT_REPO, settings.revision or None)
    return Surroundings(
        has_cuda=CUDA_DEVICE_FILE.exists() and may_use_gpu,
        has_mps=sys.platform == "darwin" and platform.machine() == "arm64" and may_use_gpu,
        has_soprano=all(map(find_spec, ("torch", "transformers", "soprano"))),
        has_lmdeploy=find_spec("lmdeploy") is not None and find_spec("soprano") is not None,
        has_weights=bool(cached),
    )


def choose(settings: ModelSettings) -> Choice:
    """The backend; raises ModelLoadError. What a cluster can run does not show here."""
    if settings.placement != "ray" or settings.backend == "auto":
        return choose_backend(settings.backend, look_around(settings))
    return Choice(settings.backend)


def build_instance(
    backend: str, settings: ModelSettings, clock: Clock, observer: SentenceObserver, index: int
) -> SpeechModel:
    """The instance of that index, from 0 on; not loaded."""
    if backend in OTHER_BACKENDS:
        return OTHER_BACKENDS[backend](settings)
    return SopranoModel(
        model_id=Path(settings.checkpoint or DEFAULT_REPO).name,
        backend=backend,
        find_checkpoint=lambda: read_checkpoint(locate_checkpoint(settings, clock)),
        load_engine=partial(_load_engine, backend, settings, clock, index),
        sampling=Sampling(temperature=settings.temperature),
        num_streams=min(SOPRANO_BACKENDS[backend], settings.max_batch_size),
        observer=observer,
    )


def locate_checkpoint(settings: ModelSettings, clock: Clock) -> Path:
    """The directory of the files, fetched first if they were named; raises ModelLoadError."""
    checkpoint, revision = settings.checkpoint or DEFAULT_REPO, settings.revision or None
    return locate(checkpoint, revision, may_download=bool(settings.checkpoint), clock=clock)


def build_graph_cache(settings: ModelSettings, clock: Clock) -> GraphCache:
    """Where the backend onnx keeps its graphs."""
    default = user_cache_path("soprano-api", appauthor=False) / "graphs"
    return GraphCache(Path(settings.graph_directory or default), MAX_GRAPH_BYTES, clock)


def _load_engine(
    backend: str, settings: ModelSettings, clock: Clock, index: int, checkpoint: Checkpoint
) -> Engine:
    if backend == "onnx":  # whose instances share the processor
        cache, max_sentences = build_graph_cache(settings, clock), settings.max_batch_size
        precision, num_threads = settings.precision, settings.num_threads
        sessions = open_sessions(checkpoint, precision, max_sentences, num_threads, cache)
        engine = OnnxEngine(sessions, clock)
        engine.start()
        return engine
    load = load_lmdeploy if backend == "lmdeploy" else load_transformers
    return load_torch_engine(checkpoint, settings.device, index, load)


SOPRANO_BACKENDS: Final = {"onnx": 16, "transformers": 4, "lmdeploy": 32}
"""Those that run Soprano, with the texts that an instance can speak at once, see ModelInfo."""

OTHER_BACKENDS: Final[dict[str, Callable[[ModelSettings], SpeechModel]]] = {
    "embedded": lambda settings: EmbeddedVoice(settings.num_threads)
}


class Assignment(msgspec.Struct, frozen=True):
    """What a worker is to be. Nothing of it is secret."""

    backend: str
    index: int  # of the instance, from 0 on
    model: ModelSettings
    log: LogSettings


def build_isolated(
    backend: str,
    settings: Settings,
    clock: Clock,
    observer: SpeechObserver,
    index: int,
    on_death: Callable[[InstanceDeadError], None],
) -> SpeechModel:
    """The instance of that index, to be loaded by a process; `on_death` is told if it dies."""
    assignment = msgspec.json.encode(Assignment(backend, index, settings.model, settings.log))
    start = partial(start_worker, WORKER_COMMAND, worker_environment(), assignment, index)
    outline = build_instance(backend, settings.model, clock, observer, index)
    return WorkerModel(outline, start, clock, observer, on_death)


def worker_environment() -> dict[str, str]:
    """Ours without our settings; this package is found first."""
    environment = environment_without_settings()
    paths = [str(Path(app.__path__[0]).parent), environment.get("PYTHONPATH", "")]
    return {**environment, "PYTHONPATH": os.pathsep.join(filter(None, paths))}


async def open_worker(end: socket) -> tuple[Assignment, ModelServer]:
    """What the worker at this end of a socket is to be, and what serves its model there.

    Raises ConnectionError if nobody is at the other end.
    """
    channel: Channel[ToWorker] = await open_channel(end, ToWorker)
    match await channel.receive():
        case Init(assignment=assignment):
            decoded = msgspec.json.decode(assignment, type=Assignment)
            return decoded, ModelServer(channel, SystemClock())
        case _:
            raise ConnectionError


def build_assigned(assignment: Assignment, observer: SentenceObserver) -> SpeechModel:
    """The model of a worker."""
    settings, index = assignment.model, assignment.index
    return build_instance(assignment.backend, settings, SystemClock(), observer, index)


def build_replicated(
    backend: str, settings: Settings, clock: Clock, observer: SentenceObserver
) -> RayModel:
    """The replicas on Ray Serve; nothing is started."""
    arguments = application_arguments(backend, settings)
    application = Application(
        address=settings.ray.address,
        environment=worker_environment(),
        max_replicas=arguments.options.max_replicas,
        bind=lambda: build_application(msgspec.to_builtins(arguments)),
        check=partial(check_assignment, arguments.assignment),
    )
    outline = build_instance(backend, arguments.assignment.model, clock, observer, 0)
    return RayModel(outline, application, clock, observer)


class ApplicationArguments(msgspec.Struct, frozen=True):
    """What the application on Ray Serve is made from."""

    assignment: Assignment
    options: ReplicaOptions


def application_arguments(backend: str, settings: Settings) -> ApplicationArguments:
    """Those of the settings; a replica has as many threads as it books cores."""
    model, ray = settings.model, settings.ray
    model = msgspec.structs.replace(model, num_threads=model.num_threads or 1)
    options = ReplicaOptions(
        min_replicas=model.instances,
        max_replicas=max(model.instances, ray.max_replicas),
        target_ongoing_requests=ray.target_ongoing_requests,
        max_ongoing_requests=model.max_batch_size,
        num_cpus=model.num_threads,
        num_gpus=int(backend == "lmdeploy" or model.device.startswith("cuda")),
        shutdown_s=float(settings.server.shutdown_s),
    )
    return ApplicationArguments(Assignment(backend, 0, model, settings.log), options)


def check_assignment(ours: Assignment, theirs: bytes) -> None:
    """Raise ModelLoadError if a replica would sound different from what our settings say."""
    running = msgspec.json.decode(theirs, type=Assignment)
    differ = [
        name
        for name in ("checkpoint", *SOUND_SETTINGS)
        if getattr(ours.model, name) != getattr(running.model, name)
    ]
    if ours.backend != running.backend:
        differ.append("backend")
    if differ:
        raise ModelLoadError(
            f"The replicas on Ray Serve have other settings of [model] ({', '.join(differ)}):"
            " `soprano-api deploy ray --apply` applies those of the server."
        )


def build_application(arguments: dict[str, Any]) -> Any:
    """The application; Ray Serve calls it with the arguments of a Serve config."""
    decoded = msgspec.convert(arguments, ApplicationArguments)
    return bind_replicas(build_replica, msgspec.json.encode(decoded.assignment), decoded.options)


def build_replica(assignment: bytes, observer: SentenceObserver) -> tuple[SpeechModel, Clock]:
    """The model of a replica, in a process of Ray."""
    decoded = msgspec.json.decode(assignment, type=Assignment)
    configure_logging(decoded.log)
    tune_allocation()
    return build_assigned(decoded, observer), SystemClock()
