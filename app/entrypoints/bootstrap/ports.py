"""The composition root: from settings to everything the domain speaks through."""

import hashlib
import math
import random
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from functools import partial
from importlib.metadata import PackageNotFoundError, version
from importlib.util import find_spec
from pathlib import Path
from typing import Final

import msgspec
import structlog

from app.adapters.audio_store.files import FreeSpace
from app.adapters.audio_store.filesystem import FilesystemAudioStores
from app.adapters.audio_store.object_store import SCHEME, ObjectAudioStores
from app.adapters.audio_store.rules import StoreLimits
from app.adapters.clock import SystemClock
from app.adapters.encoding.encoders import StreamingEncoders
from app.adapters.observers.log import FanOut, StructuredLog
from app.adapters.observers.open_telemetry import build_tracing
from app.adapters.observers.prometheus import PrometheusMetrics
from app.adapters.reloaded_files import FixedKeys, InvalidLexiconError, LexiconFile, WatchedKeyFile
from app.adapters.speech.cache import CachedModel, MemoryCache
from app.adapters.speech.cache_levels import DiskCache, SharedSegments
from app.adapters.speech.filtered import FilteredModel
from app.adapters.speech.pool import PooledModel
from app.adapters.speech.resilient import ResilientModel
from app.adapters.speech.soprano.checkpoint.checkpoint import file_digests, file_states
from app.adapters.valkey import ValkeyCache, ValkeyClient, ValkeyLimits, build_client
from app.domain.api_keys import InvalidKeysError, KeyLimits, Keyring, parse_keys
from app.domain.resilience import ResiliencePolicy, TimeLimits
from app.entrypoints.backends import Choice
from app.entrypoints.bootstrap import instances
from app.entrypoints.services import Ports
from app.entrypoints.settings import (
    AuthSettings,
    ModelSettings,
    ResilienceSettings,
    Settings,
    StoreSettings,
)
from app.entrypoints.settings_loader import SettingsError
from app.ports.audio_store import AudioStores
from app.ports.clock import Clock
from app.ports.reloaded_files import KeySource, LexiconSource
from app.ports.telemetry import SpeechObserver

DISTRIBUTION: Final = "soprano-tts-api"

# Settings of the model that a backend ignores; a warning says so.
UNUSED_SETTINGS: Final = {
    "embedded": ("checkpoint", "precision"),
    "lmdeploy": ("precision",),
    "transformers": ("precision",),
}

SOUND_PACKAGES: Final = (
    "soprano-tts-api", "anyascii", "av", "hibari-tts", "lmdeploy", "numpy", "onnxruntime",
    "soprano-tts", "soxr", "torch", "transformers",
)  # fmt: skip
"""Another version of these may give other samples or bytes for the same request."""

_log = structlog.get_logger(__name__)


def build_ports(settings: Settings) -> Ports:
    """Choose a backend and construct every adapter; opens nothing.

    Raises ModelLoadError if the backend cannot run here, SettingsError if a setting cannot be used.
    """
    backends = ["auto", *instances.SOPRANO_BACKENDS, *instances.OTHER_BACKENDS]
    if settings.model.backend not in backends:
        raise SettingsError(
            f"model.backend must be one of {', '.join(backends)}, not {settings.model.backend!r}."
        )
    clock = SystemClock()
    keys = _build_keys(settings.auth, clock)
    metrics = PrometheusMetrics()
    tracing = None
    if settings.telemetry.traces:
        with _from_extra("telemetry", "telemetry.traces needs OpenTelemetry"):
            tracing = build_tracing(version(DISTRIBUTION), clock)
    observer = FanOut(StructuredLog(), metrics, *([tracing] if tracing else []))
    choice = instances.choose(settings.model)
    valkey = _build_valkey(settings.valkey.url, clock)
    _log_choice(choice, settings.model)
    pool, count_instances = _build_pool(choice.backend, settings, clock, observer)
    metrics.watch_instances(count_instances)
    resilient = ResilientModel(pool, clock, ResiliencePolicy(), observer, random.random, tracing)
    cache, directory = settings.cache, settings.cache.directory
    filtered = FilteredModel(resilient, settings.speech.loudness_lufs or None)
    model = CachedModel(
        filtered,
        MemoryCache(cache.max_bytes),
        DiskCache(Path(directory), cache.max_disk_bytes, clock)
        if directory and cache.max_bytes
        else None,
        lambda: identify_sound(choice.backend, settings, clock, filtered.gains),
        settings.model.temperature,
        SharedSegments(ValkeyCache(valkey), clock) if valkey else None,
    )
    metrics.describe_build(version(DISTRIBUTION), model.info)
    metrics.watch_cache(lambda: model.num_bytes)
    return Ports(
        choice=choice,
        model=model,
        cache=model,
        encoders=StreamingEncoders(),
        stores=_build_stores(settings.store, clock, metrics),
        keys=keys,
        clock=clock,
        observer=observer,
        requests=metrics,
        metrics=metrics,
        health=resilient.health,
        count_instances=count_instances,
        tracing=tracing,
        limits=ValkeyLimits(valkey, clock) if valkey else None,
        lexicon=build_lexicon(settings, clock),
    )


@contextmanager
def _from_extra(extra: str, need: str) -> Iterator[None]:
    """Raise SettingsError with what to install, if what is built here cannot be imported."""
    try:
        yield
    except ImportError as error:
        advice = f"pip install '{DISTRIBUTION}[{extra}]'"
        raise SettingsError(f"{need}: {advice} ({error}).") from error


def _build_stores(store: StoreSettings, clock: Clock, metrics: PrometheusMetrics) -> AudioStores:
    limits = StoreLimits(store.max_files, store.max_bytes, store.max_age_s)
    if not store.directory.startswith(SCHEME):
        metrics.watch_store(FreeSpace(Path(store.directory)))
        return FilesystemAudioStores(Path(store.directory), limits, clock)
    metrics.watch_store(lambda: math.nan)  # a bucket has no end
    with _from_extra("s3", "A store on S3 needs obstore"):
        return ObjectAudioStores(store.directory, limits, clock)


def _build_valkey(url: str, clock: Clock) -> ValkeyClient | None:
    try:
        with _from_extra("valkey", "valkey.url needs the client of Valkey"):
            return build_client(url, clock) if url else None
    except ValueError as error:
        raise SettingsError(f"valkey.url cannot be used: {error}.") from error


def time_limits(settings: ResilienceSettings) -> TimeLimits:
    """Those of the section on a model's silence."""
    timeout_s = settings.chunk_timeout_s
    return TimeLimits(first_chunk_s=2 * timeout_s, chunk_gap_s=timeout_s)


def _log_choice(choice: Choice, settings: ModelSettings) -> None:
    for each in choice.skipped:
        _log.info("backend.skipped", backend=each.backend, reason=each.reason)
    _log.info("backend.chosen", backend=choice.backend, version=version(DISTRIBUTION))
    ignored = UNUSED_SETTINGS.get(choice.backend, ())
    default = ModelSettings()
    unused = [name for name in ignored if getattr(settings, name) != getattr(default, name)]
    if unused:
        _log.warning("backend.settings_unused", backend=choice.backend, settings=unused)


def identify_sound(
    backend: str, settings: Settings, clock: Clock, gains: Mapping[str, float] | None = None
) -> str:
    """All that decides the samples beside text and params, as a hash.

    Servers with the same settings and files have the same one if they share a Valkey. Without it, a
    checkpoint is recognized by its place and the times of its files, which are not read for that.

    `gains` are those of the voices in dB, known once the model is loaded.
    """
    versions: dict[str, str | None] = dict.fromkeys(SOUND_PACKAGES)
    for package in SOUND_PACKAGES:
        with suppress(PackageNotFoundError):
            versions[package] = version(package)
    model = {name: getattr(settings.model, name) for name in instances.SOUND_SETTINGS}
    files: object = None
    if backend in instances.SOPRANO_BACKENDS:
        directory = instances.locate_checkpoint(settings.model, clock)
        is_shared = settings.valkey.url != ""
        files = file_digests(directory) if is_shared else (str(directory), file_states(directory))
    rounded = {voice: round(gain, 2) for voice, gain in (gains or {}).items()}  # as it is applied
    parts = msgspec.json.encode((backend, model, rounded, versions, files))
    return hashlib.sha256(parts).hexdigest()


def _build_pool(
    backend: str, settings: Settings, clock: Clock, observer: SpeechObserver
) -> tuple[PooledModel, Callable[[], int]]:
    """The instances, and what counts those that can be asked."""
    limits, num_instances = time_limits(settings.resilience), settings.model.instances
    if settings.model.placement == "ray":
        if find_spec("ray") is None:
            advice = f"pip install '{DISTRIBUTION}[ray]'"
            raise SettingsError(f'model.placement = "ray" needs Ray Serve: {advice}.')
        replicas = instances.build_replicated(backend, settings, clock, observer)
        pool = PooledModel(lambda *_: replicas, 1, clock, observer, limits)
        return pool, lambda: replicas.num_replicas
    if settings.model.placement == "process":
        if sys.platform == "win32":
            raise SettingsError('model.placement = "process" is not possible on Windows.')
        isolated = partial(instances.build_isolated, backend, settings, clock, observer)
        pool = PooledModel(isolated, num_instances, clock, observer, limits, replaces_hung=True)
    else:
        build = partial(instances.build_instance, backend, settings.model, clock, observer)
        if backend == "embedded":
            num_instances = 1
        pool = PooledModel(lambda index, _: build(index), num_instances, clock, observer, limits)
    return pool, lambda: pool.num_alive


def _build_keys(settings: AuthSettings, clock: Clock) -> KeySource:
    limits = KeyLimits(settings.requests_per_minute, settings.max_concurrent)
    try:
        given = parse_keys(settings.keys, limits)
        if settings.keys_file:
            return WatchedKeyFile(Path(settings.keys_file), given, limits, clock)
        return FixedKeys(Keyring(given))
    except InvalidKeysError as error:
        raise SettingsError(f"The keys of [auth] cannot be used: {error}") from error


def build_lexicon(settings: Settings, clock: Clock | None = None) -> LexiconSource | None:
    """The pronunciations of the settings, if any; raises SettingsError."""
    if not settings.text.lexicon_file:
        return None
    try:
        return LexiconFile(Path(settings.text.lexicon_file), clock or SystemClock())
    except InvalidLexiconError as error:
        raise SettingsError(f"text.lexicon_file cannot be used: {error}") from error
