"""What happened, as Prometheus metrics, in base units; no label can take any value it likes."""

from collections.abc import Callable, Iterable
from functools import partial
from itertools import product
from typing import Final, get_args

from prometheus_client import (
    CollectorRegistry,
    Counter,
    Gauge,
    Histogram,
    PlatformCollector,
    ProcessCollector,
    disable_created_metrics,
    generate_latest,
)

from app.domain import errors
from app.domain.admission import QueueLoad
from app.domain.audio import AudioFormat
from app.domain.resilience import BreakerState
from app.domain.speech import CacheStatus, ModelInfo, Outcome, SpeechReport
from app.ports.telemetry import RequestReport, StoreAction

METHODS: Final = frozenset(
    {"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "TRACE", "WEBSOCKET"}
)
OTHER: Final = "other"
"""Label of methods and addresses that do not exist: anybody can make up more of them."""

QUEUE_GAUGES: Final = {
    "num_queued": ("queue_requests", "Requests in the queue."),
    "num_queued_chars": ("queue_characters", "Characters of all requests in the queue."),
    "oldest_s": ("queue_oldest_seconds", "Waiting time of the oldest request in the queue."),
    "num_running": ("running_requests", "Requests that the model works on."),
    "max_running": (
        "max_running_requests",
        "Requests that the model can work on at the same time, as measured.",
    ),
    "num_open": (
        "open_requests",
        "Requests that have started and not ended, including paused ones.",
    ),
}
"""By the field of QueueLoad."""

BREAKER_LEVELS: Final = {BreakerState.CLOSED: 0, BreakerState.HALF_OPEN: 1, BreakerState.OPEN: 2}


class PrometheusMetrics:
    """SpeechObserver and RequestObserver that count, and the MetricsSource that tells."""

    content_type = "text/plain; version=0.0.4"

    def __init__(self) -> None:  # noqa: PLR0915 - a metric after the other
        # A third of all series, which nobody asks for.
        disable_created_metrics()  # type: ignore[no-untyped-call]
        self._registry = registry = CollectorRegistry()
        ProcessCollector(registry=registry)
        PlatformCollector(registry=registry)
        counter = partial(Counter, namespace="soprano", registry=registry)
        gauge = partial(Gauge, namespace="soprano", registry=registry)
        histogram = partial(Histogram, namespace="soprano", registry=registry)

        # Requests for speech.
        self._requests = counter("requests", "Finished requests for speech.", ["outcome", "format"])
        self._characters = counter("characters", "Characters of all requests for speech.")
        self._audio_s = counter("audio_seconds", "Playing time of all synthesized audio.")
        self._first_audio_s = histogram(
            "first_audio_seconds",
            "Time from a request to its first audio.",
            buckets=(0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1, 2, 5, 10, 30),
        )
        self._real_time_factor = histogram(
            "real_time_factor",
            "Synthesis time per playing time of a request; below 1 is faster than playback.",
            buckets=(0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 0.8, 1, 1.5, 2, 5),
        )
        self._stalled_s = histogram(
            "stalled_seconds",
            "Playback gaps of a request for a listener who plays at normal speed.",
            buckets=(0, 0.02, 0.05, 0.1, 0.2, 0.5, 1, 2, 5, 10),
        )
        self._stalls = counter("stalls", "Number of playback gaps.")
        self._refusals = counter(
            "refusals", "Requests for speech that were rejected because of load.", ["reason"]
        )
        self._queue_wait_s = histogram(
            "queue_wait_seconds",
            "Time from a request, or the first sentence of an utterance, to its start.",
            buckets=(0.01, 0.05, 0.1, 0.25, 0.5, 1, 2, 5, 10, 20),
        )
        self._queue_gauges = {
            field: gauge(name, text) for field, (name, text) in QUEUE_GAUGES.items()
        }

        # The model.
        self._sentences_running = gauge(
            "sentences_running", "Sentences that the model synthesizes now."
        )
        self._batch_sentences = histogram(
            "batch_sentences",
            "Concurrent sentences when a sentence starts, including it.",
            buckets=(1, 2, 4, 8, 16, 32, 64, 128),
        )
        self._sentences_failed = counter(
            "sentences_failed", "Attempts at a sentence that ran away or were truncated.", ["error"]
        )
        self._is_ready = gauge("model_ready", "1 once the model is ready.", ["model", "backend"])
        self._breaker_state = gauge(
            "breaker_state", "State of the circuit breaker: 0 closed, 1 half-open, 2 open."
        )
        self._breaker_transitions = counter(
            "breaker_transitions", "Transitions of the circuit breaker by new state.", ["to"]
        )
        self._retries = counter("retries", "Retries of sentences.")
        self._instance_deaths = counter(
            "instance_deaths", "Instances of the model that died.", ["reason"]
        )

        # Cache and store.
        self._cache_requests = counter(
            "cache_requests", "Requests for speech by cache result.", ["result"]
        )
        self._cache_bytes = gauge("cache_bytes", "Memory used by the cache.")
        self._store_failures = counter(
            "store_failures", "Failures of the store of finished audio.", ["action", "error"]
        )
        self._store_free_bytes = gauge(
            "store_free_bytes", "Free space where finished audio is stored."
        )
        self._files_removed = counter(
            "stored_files_removed",
            "Stored files that were deleted because of the limits of the store.",
        )

        # The server.
        self._http_requests = counter(
            "http_requests", "Finished HTTP requests and WebSockets.", ["method", "route", "status"]
        )
        self._http_request_s = histogram(
            "http_request_duration_seconds",
            "Duration of HTTP requests and WebSockets.",
            ["route"],
            buckets=(0.005, 0.02, 0.1, 0.5, 1, 2, 5, 10, 30, 60, 120),
        )
        self._sockets_open = gauge("sockets_open", "Open speech WebSockets.")
        self._build_info = gauge(
            "build_info",
            "Always 1; the labels name the version, backend and model.",
            ["version", "backend", "model"],
        )

        # The counters that alerts watch are there from the start: a rise from nothing is none.
        for outcome, audio_format in product(Outcome, AudioFormat):
            self._requests.labels(outcome.value, audio_format.value)
        for action, store_error in product(
            get_args(StoreAction), (errors.StoreError, errors.StoreFullError)
        ):
            self._store_failures.labels(action, store_error.code)
        failures = errors.RunawaySpeechError.code, errors.TruncatedSpeechError.code
        refusals = (
            errors.ServerOverloadedError.code,
            errors.QueueTimeoutError.code,
            errors.ModelLoadingError.code,
        )
        by_label: dict[Counter, Iterable[str]] = {
            self._sentences_failed: failures,
            self._refusals: refusals,
            self._cache_requests: CacheStatus,
            self._breaker_transitions: BreakerState,
            self._instance_deaths: get_args(errors.InstanceDeath),
        }
        for one, label in ((one, label) for one, labels in by_label.items() for label in labels):
            one.labels(label)

    def watch_instances(self, count_alive: Callable[[], int]) -> None:
        """Have the instances that live counted by `count_alive`, each time the page is made."""
        text = "Instances of the model that are alive."
        alive = Gauge("instances_alive", text, namespace="soprano", registry=self._registry)
        alive.set_function(count_alive)

    def describe_build(self, version: str, info: ModelInfo) -> None:
        """Have it told what runs: the version of this server, and a model that is to be loaded."""
        self._build_info.labels(version, info.backend, info.id).set(1)
        self._is_ready.labels(info.id, info.backend).set(0)

    def watch_store(self, count_free_bytes: Callable[[], float]) -> None:
        """Have the free space of the store told by `count_free_bytes`, each time the page is made.

        Called on the event loop, so it must return at once; NaN is unknown.
        """
        self._store_free_bytes.set_function(count_free_bytes)

    def watch_queue(self, ask: Callable[[], QueueLoad]) -> None:
        for field, gauge in self._queue_gauges.items():
            gauge.set_function(lambda field=field: getattr(ask(), field))  # type: ignore[misc]

    def watch_cache(self, count_bytes: Callable[[], int]) -> None:
        """Have the size of the cache told by `count_bytes`, each time the page is made."""
        self._cache_bytes.set_function(count_bytes)

    def model_loaded(self, info: ModelInfo, duration_s: float, speed: float | None) -> None:
        self._is_ready.labels(info.id, info.backend).set(1)

    def model_load_failed(self, info: ModelInfo, error: errors.SpeechError) -> None:
        self._is_ready.labels(info.id, info.backend).set(0)

    def sentence_begun(self, num_running: int) -> None:
        self._sentences_running.set(num_running)
        self._batch_sentences.observe(num_running)

    def sentence_ended(self, num_running: int) -> None:
        self._sentences_running.set(num_running)

    def sentence_failed(self, error: errors.SentenceError, attempt: int) -> None:
        self._sentences_failed.labels(error.code).inc()

    def instance_died(self, index: int, reason: errors.InstanceDeath) -> None:
        self._instance_deaths.labels(reason).inc()

    def speech_retried(self, error: errors.SpeechError, attempt: int) -> None:
        self._retries.inc()

    def breaker_changed(self, old: BreakerState, new: BreakerState, reason: str) -> None:
        self._breaker_state.set(BREAKER_LEVELS[new])
        self._breaker_transitions.labels(new.value).inc()

    def reading_failed(self, error: Exception) -> None:
        """The log has it."""

    def speech_ended(self, report: SpeechReport) -> None:
        self._requests.labels(report.outcome.value, report.format.value).inc()
        if report.cache is not None:
            self._cache_requests.labels(report.cache.value).inc()
        self._characters.inc(report.num_chars)
        self._audio_s.inc(report.audio_s)
        if report.outcome is Outcome.REFUSED:
            self._refusals.labels(report.error_code).inc()
        if report.queue_s is not None:
            self._queue_wait_s.observe(report.queue_s)
        if report.first_audio_s is not None:
            self._first_audio_s.observe(report.first_audio_s)
            if report.stalled_s is not None:
                self._stalled_s.observe(report.stalled_s)
        self._stalls.inc(report.num_stalls)
        if report.real_time_factor is not None:
            self._real_time_factor.observe(report.real_time_factor)

    def store_failed(self, action: StoreAction, error: errors.StoreError) -> None:
        self._store_failures.labels(action, error.code).inc()

    def store_cleaned(self, num_removed: int) -> None:
        self._files_removed.inc(num_removed)

    def request_ended(self, report: RequestReport) -> None:
        method = report.method if report.method in METHODS else OTHER
        route = report.route or OTHER
        status = f"{report.status // 100}xx" if report.status else "none"
        self._http_requests.labels(method, route, status).inc()
        self._http_request_s.labels(route).observe(report.duration_s)

    def refused_unread(self, error_code: str, num_requests: int) -> None:
        self._refusals.labels(error_code).inc(num_requests)

    def sockets_changed(self, num_open: int) -> None:
        self._sockets_open.set(num_open)

    def render(self) -> bytes:
        return generate_latest(self._registry)
