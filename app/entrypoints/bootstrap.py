"""The composition root: from settings to adapters. The only module that names them."""

import hashlib
import os
import platform
import random
import sys
from collections.abc import Callable
from functools import partial
from importlib.metadata import PackageNotFoundError, version
from importlib.util import find_spec
from pathlib import Path
from socket import socket
from typing import Final

import msgspec
import structlog
from platformdirs import user_cache_path

from app.adapters.audio_store.filesystem import StoreLimits, free_bytes
from app.adapters.audio_store.owners import FilesystemAudioStores
from app.adapters.clock.system import SystemClock
from app.adapters.decorators.caching import CachedModel
from app.adapters.decorators.counted import CountedModel
from app.adapters.decorators.kept_speech import KeptSpeech
from app.adapters.decorators.pooled import PooledModel
from app.adapters.decorators.resilient import ResilientModel
from app.adapters.decorators.speech_files import SpeechFiles
from app.adapters.decorators.time_limited import TimeLimitedModel
from app.adapters.decorators.time_stretched import TimeStretchedModel
from app.adapters.decorators.traced import TracedModel
from app.adapters.encoding.encoders import StreamingEncoders
from app.adapters.keys.fixed import FixedKeys
from app.adapters.keys.watched_file import WatchedKeyFile
from app.adapters.observers.fan_out import FanOut
from app.adapters.observers.open_telemetry import OpenTelemetry, build_tracing
from app.adapters.observers.prometheus import PrometheusMetrics
from app.adapters.observers.structured_log import StructuredLog
from app.adapters.speech.embedded_voice import EmbeddedVoice
from app.adapters.speech.soprano.checkpoint import Checkpoint, file_states, read_checkpoint
from app.adapters.speech.soprano.hub import DEFAULT_REPO, find_cached, locate
from app.adapters.speech.soprano.lmdeploy_model import LmdeployLanguageModel
from app.adapters.speech.soprano.model import SopranoModel
from app.adapters.speech.soprano.sampling import Sampling
from app.adapters.speech.soprano.speaker import SopranoSpeaker
from app.adapters.speech.soprano.torch_speaker import TorchSpeaker
from app.adapters.speech.soprano.transformers_model import TransformersLanguageModel
from app.adapters.speech.soprano_onnx.graph_cache import GraphCache
from app.adapters.speech.soprano_onnx.speaker import EngineLimits, OnnxSpeaker
from app.adapters.speech.worker.channel import Channel, open_channel
from app.adapters.speech.worker.messages import Begin, ToWorker
from app.adapters.speech.worker.model import WorkerModel
from app.adapters.speech.worker.process import start_worker
from app.adapters.speech.worker.server import ModelServer
from app.domain.access import InvalidKeysError, KeyLimits, Keyring, parse_keys
from app.domain.circuit_breaker import BreakerPolicy, BreakerState
from app.domain.errors import InstanceDeadError
from app.domain.resilience import ResiliencePolicy, TimeLimits
from app.domain.retries import PoisonPolicy, RetryPolicy
from app.entrypoints.backends import Choice, Surroundings, choose_backend
from app.entrypoints.services import Ports
from app.entrypoints.settings import (
    AuthSettings,
    CacheSettings,
    LogSettings,
    ModelSettings,
    ResilienceSettings,
    Settings,
    SettingsError,
    StoreSettings,
    TelemetrySettings,
    environment_without_settings,
)
from app.ports.audio_store import AudioStores
from app.ports.clock import Clock
from app.ports.key_source import KeySource
from app.ports.speech_model import SpeechModel
from app.ports.speech_observer import SentenceObserver, SpeechObserver
from app.ports.tracing import Tracing

CUDA_DEVICE_FILE: Final = Path("/dev/nvidiactl")
"""Made by the NVIDIA driver. Looking is cheap; asking torch would load it before we serve."""

DISTRIBUTION: Final = "soprano-tts-api"

WORKER_COMMAND: Final = (sys.executable, "-P", "-m", "app.entrypoints.worker")
"""Without the working directory on the module path, which may have an `app` of somebody else."""

SOPRANO_PACKAGES: Final = ("torch", "transformers", "soprano")

NUM_STREAMS: Final = {"onnx": 16, "transformers": 4, "lmdeploy": 32}
"""Texts that an instance of a backend can speak at once, see ModelInfo."""

SOUND_PACKAGES: Final = (
    "soprano-tts-api", "anyascii", "av", "hibari-tts", "lmdeploy", "numpy", "onnxruntime",
    "soprano-tts", "soxr", "torch", "transformers",
)  # fmt: skip
"""Another version of these may give other samples or bytes for the same request."""

_log = structlog.get_logger(__name__)


def build_ports(settings: Settings) -> Ports:
    """Choose a backend and construct every adapter; opens nothing.

    Raises:
        ModelLoadError: the backend asked for cannot run here.
        SettingsError: the keys cannot be used, or an extra is missing that a setting needs.
    """
    clock = SystemClock()
    keys = _build_keys(settings.auth, clock)
    metrics = PrometheusMetrics()
    tracing = _build_tracing(settings.telemetry, clock)
    observer = FanOut(StructuredLog(), metrics, *([tracing] if tracing else []))
    choice = choose_backend(settings.model.backend, look_around(settings.model))
    _log_choice(choice)
    instances = _build_model(choice.backend, settings, clock, observer)
    if isinstance(instances, PooledModel):
        metrics.watch_instances(lambda: instances.num_alive)
    resilient = ResilientModel(
        _watched(instances, observer, tracing),
        clock,
        resilience_policy(settings.resilience),
        observer,
        random.random,
    )
    model = _build_cached(TimeStretchedModel(resilient), choice.backend, settings, clock)
    metrics.describe_build(version(DISTRIBUTION), model.info)
    metrics.watch_cache(lambda: model.num_bytes)
    metrics.watch_store(partial(free_bytes, Path(settings.store.directory)))
    return Ports(
        choice=choice,
        model=model,
        cache=model,
        encoders=StreamingEncoders(),
        stores=_build_stores(settings.store, clock),
        keys=keys,
        clock=clock,
        observer=observer,
        requests=metrics,
        metrics=metrics,
        health=resilient.health,
        tracing=tracing,
    )


def _build_tracing(settings: TelemetrySettings, clock: Clock) -> OpenTelemetry | None:
    if not settings.traces:
        return None
    try:
        return build_tracing(version(DISTRIBUTION), clock)
    except ImportError as error:
        advice = f"pip install '{DISTRIBUTION}[telemetry]'"
        raise SettingsError(f"telemetry.traces needs OpenTelemetry: {advice} ({error}).") from error


def _watched(model: SpeechModel, observer: SpeechObserver, tracing: Tracing | None) -> SpeechModel:
    counted = CountedModel(model, observer)
    return counted if tracing is None else TracedModel(counted, tracing)


def resilience_policy(settings: ResilienceSettings) -> ResiliencePolicy:
    """The section as the domain has it."""
    return ResiliencePolicy(
        mode=BreakerState(settings.breaker),
        breaker=BreakerPolicy(
            window_size=settings.window_size,
            window_s=settings.window_s,
            min_outcomes=settings.min_outcomes,
            failure_ratio=settings.failure_ratio,
            open_s=settings.open_s,
            max_open_s=settings.max_open_s,
            jitter=settings.open_jitter,
            calm_s=settings.calm_s,
        ),
        retry=RetryPolicy(
            max_retries=settings.max_retries,
            delay_s=settings.retry_delay_s,
            max_delay_s=settings.max_retry_delay_s,
            budget_ratio=settings.retry_budget_ratio,
            budget_floor=settings.retry_budget_floor,
            budget_window_s=settings.retry_budget_window_s,
        ),
        poison=PoisonPolicy(
            num_kills=settings.poison_kills,
            window_s=settings.poison_window_s,
            refused_s=settings.poison_s,
        ),
    )


def time_limits(settings: ResilienceSettings) -> TimeLimits:
    """Those of the section on a model's silence."""
    return TimeLimits(first_chunk_s=settings.first_chunk_s, chunk_gap_s=settings.chunk_gap_s)


def build_clock() -> Clock:
    """The machine's clock."""
    return SystemClock()


def look_around(settings: ModelSettings) -> Surroundings:
    """What is there: devices, packages, weights. Loads none of them."""
    may_use_gpu = settings.device != "cpu"
    has_weights = bool(settings.checkpoint) or (
        find_cached(DEFAULT_REPO, settings.revision or None) is not None
    )
    return Surroundings(
        has_cuda=CUDA_DEVICE_FILE.exists() and may_use_gpu,
        has_mps=sys.platform == "darwin" and platform.machine() == "arm64" and may_use_gpu,
        has_soprano=all(find_spec(name) for name in SOPRANO_PACKAGES),
        has_lmdeploy=find_spec("lmdeploy") is not None and find_spec("soprano") is not None,
        has_weights=has_weights,
    )


def _log_choice(choice: Choice) -> None:
    for step in choice.steps_down:
        _log.info("backend.skipped", backend=step.backend, reason=step.reason)
    _log.info("backend.chosen", backend=choice.backend, version=version(DISTRIBUTION))


def _build_cached(
    model: SpeechModel, backend: str, settings: Settings, clock: Clock
) -> CachedModel:
    return CachedModel(
        model,
        KeptSpeech(settings.cache.max_bytes),
        _build_speech_files(settings.cache, clock),
        partial(_identify, backend, settings.model, clock),
        settings.model.temperature,
    )


def _build_speech_files(settings: CacheSettings, clock: Clock) -> SpeechFiles | None:
    if not settings.directory or not settings.max_bytes:
        return None
    return SpeechFiles(Path(settings.directory), settings.max_disk_bytes, clock)


def _identify(backend: str, settings: ModelSettings, clock: Clock) -> str:
    """All that decides the samples beside text and delivery, as a hash; the model is loaded."""
    versions = {name: _find_version(name) for name in SOUND_PACKAGES}
    files = [] if backend == "embedded" else file_states(_locate(settings, clock))
    parts = msgspec.json.encode((backend, settings, versions, files))
    return hashlib.sha256(parts).hexdigest()


def _find_version(distribution: str) -> str | None:
    try:
        return version(distribution)
    except PackageNotFoundError:
        return None


class Assignment(msgspec.Struct, frozen=True):
    """What a worker is to be. Nothing of it is secret.

    Attributes:
        backend: as chosen.
        index: of the instance, from 0 on.
        model: of all instances.
        log: likewise.
    """

    backend: str
    index: int
    model: ModelSettings
    log: LogSettings


async def open_worker(end: socket) -> tuple[Assignment, ModelServer]:
    """What the worker at this end of a socket is to be, and what serves its model there.

    Raises:
        ConnectionError: nobody is at the other end.
    """
    channel: Channel[ToWorker] = await open_channel(end, ToWorker)
    match await channel.receive():
        case (Begin(assignment=assignment), _):
            decoded = msgspec.json.decode(assignment, type=Assignment)
            return decoded, ModelServer(channel, SystemClock())
        case _:
            raise ConnectionError


def build_assigned(assignment: Assignment, observer: SentenceObserver) -> SpeechModel:
    """The model of a worker."""
    return _build_instance(
        assignment.backend, assignment.model, SystemClock(), observer, assignment.index
    )


def _build_model(
    backend: str, settings: Settings, clock: Clock, observer: SpeechObserver
) -> SpeechModel:
    num_instances = settings.model.instances
    limited = partial(TimeLimitedModel, clock=clock, limits=time_limits(settings.resilience))
    if settings.model.isolation == "process":
        if sys.platform == "win32":
            raise SettingsError("model.isolation = 'process' is not possible on Windows.")
        isolated = partial(_build_isolated, backend, settings, clock, observer)
        return PooledModel(
            lambda index, on_death: limited(isolated(index, on_death)),
            num_instances,
            clock,
            observer,
            replaces_hung=True,
        )
    build = partial(_build_instance, backend, settings.model, clock, observer)
    if backend == "embedded":
        return limited(build(0))
    return PooledModel(lambda index, _: limited(build(index)), num_instances, clock, observer)


def _build_isolated(
    backend: str,
    settings: Settings,
    clock: Clock,
    observer: SpeechObserver,
    index: int,
    on_death: Callable[[InstanceDeadError], None],
) -> SpeechModel:
    assignment = Assignment(backend, index, settings.model, settings.log)
    start = partial(
        start_worker,
        WORKER_COMMAND,
        worker_environment(),
        msgspec.json.encode(assignment),
        index,
    )
    outline = _build_instance(backend, settings.model, clock, observer, index)
    return WorkerModel(outline, start, clock, observer, on_death)


def worker_environment() -> dict[str, str]:
    """Ours without our settings; this package is found first."""
    environment = environment_without_settings()
    paths = [str(Path(__file__).parents[2]), environment.get("PYTHONPATH", "")]
    return {**environment, "PYTHONPATH": os.pathsep.join(filter(None, paths))}


def _build_instance(
    backend: str, settings: ModelSettings, clock: Clock, observer: SentenceObserver, index: int
) -> SpeechModel:
    if backend == "embedded":
        return EmbeddedVoice(settings.num_threads)
    return _build_soprano(backend, settings, clock, observer, index)


def _build_soprano(
    backend: str, settings: ModelSettings, clock: Clock, observer: SentenceObserver, index: int
) -> SpeechModel:
    def build_speaker(checkpoint: Checkpoint) -> SopranoSpeaker:
        if backend == "onnx":
            return OnnxSpeaker(
                checkpoint,
                settings.precision,
                EngineLimits(settings.max_sentences, settings.num_threads),
                build_graph_cache(settings, clock),
                clock,
            )
        build = _build_lmdeploy if backend == "lmdeploy" else TransformersLanguageModel
        return TorchSpeaker(checkpoint, settings.device, index, build)

    return SopranoModel(
        model_id=Path(settings.checkpoint or DEFAULT_REPO).name,
        backend=backend,
        find_checkpoint=partial(_find_checkpoint, settings, clock),
        build_speaker=build_speaker,
        sampling=Sampling(
            temperature=settings.temperature,
            top_p=settings.top_p,
            repetition_penalty=settings.repetition_penalty,
            seed=settings.seed,
        ),
        max_regenerations=settings.max_regenerations,
        num_streams=min(NUM_STREAMS[backend], settings.max_sentences),
        observer=observer,
    )


def _build_lmdeploy(directory: Path, _device: str) -> LmdeployLanguageModel:
    return LmdeployLanguageModel(directory)


def build_graph_cache(settings: ModelSettings, clock: Clock) -> GraphCache:
    """Where the backend onnx keeps its graphs."""
    directory = (
        settings.graph_directory or user_cache_path("soprano-api", appauthor=False) / "graphs"
    )
    return GraphCache(Path(directory), settings.max_graph_bytes, clock)


def _find_checkpoint(settings: ModelSettings, clock: Clock) -> Checkpoint:
    return read_checkpoint(_locate(settings, clock))


def _locate(settings: ModelSettings, clock: Clock) -> Path:
    return locate(
        settings.checkpoint or DEFAULT_REPO,
        settings.revision or None,
        may_download=bool(settings.checkpoint),
        clock=clock,
    )


def _build_keys(settings: AuthSettings, clock: Clock) -> KeySource:
    limits = KeyLimits(settings.requests_per_minute, settings.max_concurrent)
    try:
        given = parse_keys(settings.keys, limits)
        if settings.keys_file:
            return WatchedKeyFile(Path(settings.keys_file), given, limits, clock)
        return FixedKeys(Keyring(given))
    except InvalidKeysError as error:
        raise SettingsError(f"The keys of [auth] cannot be used: {error}") from error


def _build_stores(settings: StoreSettings, clock: Clock) -> AudioStores:
    limits = StoreLimits(
        max_files=settings.max_files,
        max_bytes=settings.max_bytes,
        max_age_s=settings.max_age_s,
    )
    return FilesystemAudioStores(Path(settings.directory), limits, clock)
