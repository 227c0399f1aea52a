"""Requests as traces of OpenTelemetry, sent as its environment variables (OTEL_*) say.

The package is an extra, so it is imported where it is used. No process-wide provider is set: two
servers in one process are followed apart.
"""

import asyncio
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Final

from app.domain.errors import SentenceError, SpeechError, StoreError
from app.domain.services.time_limit import within
from app.domain.speech import Outcome, SpeechReport
from app.ports.clock import Clock
from app.ports.telemetry import Attributes, StoreAction

if TYPE_CHECKING:
    from opentelemetry import trace
    from opentelemetry.sdk.trace import TracerProvider

SERVICE: Final = "soprano-tts-api"  # name of the service, unless OTEL_SERVICE_NAME has another

SOCKET_SCHEMES: Final = ("ws", "wss")

_NS_PER_S: Final = 1_000_000_000

CLOSE_S: Final = 2.0  # given to a collector at the end to take what is left; then that is lost


def build_tracing(version: str, clock: Clock) -> "OpenTelemetry":
    """Sends spans by OTLP over HTTP, in batches, from a thread. Raises ImportError."""
    from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
    from opentelemetry.sdk.resources import SERVICE_NAME, SERVICE_VERSION, Resource
    from opentelemetry.sdk.trace import TracerProvider
    from opentelemetry.sdk.trace.export import BatchSpanProcessor

    resource = Resource.create()
    own = {SERVICE_VERSION: version}
    if str(resource.attributes[SERVICE_NAME]).startswith("unknown_service"):
        own[SERVICE_NAME] = SERVICE
    provider = TracerProvider(resource=resource.merge(Resource(own)), shutdown_on_exit=False)
    exporter = OTLPSpanExporter()
    provider.add_span_processor(BatchSpanProcessor(exporter))
    return OpenTelemetry(provider, version, clock, exporter.shutdown)


class OpenTelemetry:
    """Tracing, and the SpeechObserver that says in the span of a request what was spoken.

    `give_up` makes a provider that is being closed not wait for a collector any longer.
    """

    def __init__(
        self,
        provider: "TracerProvider",
        version: str,
        clock: Clock,
        give_up: Callable[[], None] = lambda: None,
    ) -> None:
        self._provider = provider
        self._give_up = give_up
        self._tracer = provider.get_tracer(SERVICE, version)
        self._clock = clock

    @contextmanager
    def follow(
        self, name: str, headers: Mapping[str, str], attributes: Attributes
    ) -> Iterator["OpenSpan"]:
        from opentelemetry import context, propagate, trace

        parent = propagate.extract(headers)
        span = self._tracer.start_span(name, parent, trace.SpanKind.SERVER, attributes)
        token = context.attach(trace.set_span_in_context(span, parent))
        try:
            yield OpenSpan(span)
        finally:
            context.detach(token)

    def begin(self, name: str, attributes: Attributes) -> "OpenSpan":
        return OpenSpan(self._tracer.start_span(name, attributes=attributes))

    async def close(self) -> None:
        closing = asyncio.ensure_future(asyncio.to_thread(self._provider.shutdown))
        try:
            await within(self._clock, CLOSE_S, asyncio.wait({closing}))
        except TimeoutError:
            await asyncio.to_thread(self._give_up)
        await asyncio.gather(closing, return_exceptions=True)

    def speech_ended(self, report: SpeechReport) -> None:
        from opentelemetry import trace

        ended_ns = int(self._clock.now().timestamp() * _NS_PER_S)
        started_ns = ended_ns - int(report.total_s * _NS_PER_S)
        request = trace.get_current_span()
        # Not that of a socket, which has many, and not of nothing.
        known: Mapping[str, Any] = getattr(request, "attributes", None) or {}
        is_own = request.is_recording() and known.get("url.scheme") not in SOCKET_SCHEMES
        span = request if is_own else self._tracer.start_span("speech", start_time=started_ns)
        described = {
            "soprano.format": report.format.value,
            "soprano.voice": report.voice,
            "soprano.characters": report.num_chars,
            "soprano.sentences": report.num_segments,
            "soprano.cache": report.cache.value if report.cache else None,
            "soprano.outcome": report.outcome.value,
            "soprano.audio_s": report.audio_s,
            "soprano.first_audio_s": report.first_audio_s,
            "soprano.stalled_s": report.stalled_s,
        }
        known = {name: value for name, value in described.items() if value is not None}
        span.set_attributes(known)
        if report.outcome is Outcome.FAILED:
            _set_error(span, report.error_code or "internal_error")
        if report.queue_s is not None:
            within = trace.set_span_in_context(span)
            queue = self._tracer.start_span("speech.queue", within, start_time=started_ns)
            queue.end(started_ns + int(report.queue_s * _NS_PER_S))
        if report.first_audio_s is not None:
            heard_ns = started_ns + int(report.first_audio_s * _NS_PER_S)
            span.add_event("speech.first_audio", timestamp=heard_ns)
        if not is_own:
            span.end(ended_ns)

    def sentence_failed(self, error: SentenceError, attempt: int) -> None:
        _add_event("speech.sentence_failed", {"error.type": error.code, "soprano.attempt": attempt})

    def speech_retried(self, error: SpeechError, attempt: int) -> None:
        _add_event("speech.retried", {"error.type": error.code, "soprano.attempt": attempt})

    def store_failed(self, action: StoreAction, error: StoreError) -> None:
        _add_event("store.failed", {"error.type": error.code, "soprano.action": action})

    def reading_failed(self, *_: object) -> None:
        """Not told, like all that belongs to no request."""

    model_loaded = model_load_failed = sentence_begun = sentence_ended = reading_failed
    instance_died = breaker_changed = store_cleaned = reading_failed


class OpenSpan:
    """Span of OpenTelemetry."""

    def __init__(self, span: "trace.Span") -> None:
        self._span = span
        self.trace_id = f"{span.get_span_context().trace_id:032x}"
        self.rename, self.add_event = span.update_name, span.add_event

    def end(self, attributes: Attributes, error: str | None = None) -> None:
        self._span.set_attributes(attributes)
        if error is not None:
            _set_error(self._span, error)
        self._span.end()


def _set_error(span: "trace.Span", code: str) -> None:
    from opentelemetry.trace import Status, StatusCode

    span.set_attribute("error.type", code)
    span.set_status(Status(StatusCode.ERROR))


def _add_event(name: str, attributes: Attributes) -> None:
    from opentelemetry import trace

    trace.get_current_span().add_event(name, attributes)
