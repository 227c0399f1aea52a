import asyncio
import threading

import pytest
from opentelemetry.sdk.trace import ReadableSpan, SpanProcessor, TracerProvider
from opentelemetry.trace import SpanKind, StatusCode

from app.adapters.observers.open_telemetry import CLOSE_S, OpenTelemetry, build_tracing
from app.domain.audio import AudioFormat
from app.domain.errors import InstanceDeadError, RunawaySpeechError, StoreError
from app.domain.speech import CacheStatus, Outcome, SpeechReport
from tests.fakes.clock import START, FakeClock
from tests.spans import in_memory_tracing

TRACE_ID = "0af7651916cd43dd8448eb211c80319c"
PARENT_ID = "b7ad6b7169203331"
TRACEPARENT = f"00-{TRACE_ID}-{PARENT_ID}-01"
HTTP = {"url.scheme": "http"}
SOCKET = {"url.scheme": "ws"}


def report(outcome: Outcome = Outcome.COMPLETED, error_code: str | None = None) -> SpeechReport:
    return SpeechReport(
        format=AudioFormat.OPUS,
        num_chars=12,
        num_segments=2,
        voice="bee",
        cache=CacheStatus.MISS,
        audio_s=2.0,
        queue_s=0.1,
        first_audio_s=0.25,
        total_s=0.5,
        outcome=outcome,
        error_code=error_code,
    )


def by_name(spans: tuple[ReadableSpan, ...]) -> dict[str, ReadableSpan]:
    return {span.name: span for span in spans}


def seconds_after_start(time_ns: int | None) -> float:
    assert time_ns is not None
    return time_ns / 1e9 - START.timestamp()


def test_a_request_continues_the_trace_of_its_caller() -> None:
    tracing, exporter = in_memory_tracing()
    with tracing.follow("POST", {"traceparent": TRACEPARENT}, HTTP) as request:
        tracing.begin("speech.sentence", {}).end({})
        assert request.trace_id == TRACE_ID
    request.rename("POST /v1/audio/speech")
    request.end({"http.response.status_code": 200})
    spans = by_name(exporter.get_finished_spans())
    server, sentence = spans["POST /v1/audio/speech"], spans["speech.sentence"]
    assert server.kind is SpanKind.SERVER
    assert server.parent is not None
    assert f"{server.parent.span_id:016x}" == PARENT_ID
    assert sentence.parent is not None
    assert sentence.parent.span_id == server.context.span_id
    assert server.status.status_code is StatusCode.UNSET


def test_a_request_that_nobody_follows_upstream_is_not_followed_here() -> None:
    tracing, exporter = in_memory_tracing()
    headers = {"traceparent": f"00-{TRACE_ID}-{PARENT_ID}-00"}
    with tracing.follow("POST", headers, HTTP) as request:
        tracing.begin("speech.sentence", {}).end({})
        tracing.speech_ended(report())
    request.end({})
    assert request.trace_id == TRACE_ID
    assert exporter.get_finished_spans() == ()


def test_what_was_spoken_is_told_in_the_span_of_its_request() -> None:
    tracing, exporter = in_memory_tracing()
    with tracing.follow("POST", {}, HTTP) as request:
        tracing.speech_ended(report())
    request.end({})
    spans = by_name(exporter.get_finished_spans())
    assert set(spans) == {"POST", "speech.queue"}
    assert spans["POST"].attributes == {
        "url.scheme": "http",
        "soprano.format": "opus",
        "soprano.voice": "bee",
        "soprano.characters": 12,
        "soprano.sentences": 2,
        "soprano.cache": "miss",
        "soprano.outcome": "completed",
        "soprano.audio_s": 2.0,
        "soprano.first_audio_s": 0.25,
        "soprano.stalled_s": 0.0,
    }
    (first_audio,) = spans["POST"].events
    assert first_audio.name == "speech.first_audio"
    assert seconds_after_start(first_audio.timestamp) == pytest.approx(-0.25, abs=1e-6)
    queue = spans["speech.queue"]
    assert queue.parent is not None
    assert queue.parent.span_id == spans["POST"].context.span_id
    assert seconds_after_start(queue.start_time) == pytest.approx(-0.5, abs=1e-6)
    assert seconds_after_start(queue.end_time) == pytest.approx(-0.4, abs=1e-6)


@pytest.mark.parametrize(
    ("code", "told"), [("speech_timeout", "speech_timeout"), (None, "internal_error")]
)
def test_a_failed_speech_is_an_error_though_the_status_was_sent(
    code: str | None, told: str
) -> None:
    tracing, exporter = in_memory_tracing()
    with tracing.follow("POST", {}, HTTP) as request:
        tracing.speech_ended(report(Outcome.FAILED, code))
    request.end({"http.response.status_code": 200})
    span = by_name(exporter.get_finished_spans())["POST"]
    assert span.status.status_code is StatusCode.ERROR
    assert span.attributes is not None
    assert span.attributes["error.type"] == told


def test_a_socket_has_a_span_for_each_of_its_utterances() -> None:
    tracing, exporter = in_memory_tracing()
    with tracing.follow("GET", {}, SOCKET) as socket:
        tracing.speech_ended(report())
        tracing.speech_ended(report(Outcome.CANCELLED))
    socket.end({})
    spans = exporter.get_finished_spans()
    utterances = [span for span in spans if span.name == "speech"]
    outcomes = [(span.attributes or {})["soprano.outcome"] for span in utterances]
    assert outcomes == ["completed", "cancelled"]
    server = by_name(spans)["GET"]
    assert server.attributes == SOCKET
    assert all(span.parent == server.context for span in utterances)
    assert seconds_after_start(utterances[0].start_time) == pytest.approx(-0.5, abs=1e-6)


def test_speech_of_no_request_is_a_trace_of_its_own() -> None:
    tracing, exporter = in_memory_tracing()
    tracing.speech_ended(report())
    assert by_name(exporter.get_finished_spans())["speech"].parent is None


def test_what_went_wrong_on_the_way_is_an_event() -> None:
    tracing, exporter = in_memory_tracing()
    with tracing.follow("POST", {}, HTTP) as request:
        tracing.sentence_failed(RunawaySpeechError(), 0)
        tracing.speech_retried(InstanceDeadError(), 1)
        tracing.store_failed("save", StoreError("/secret/path"))
    request.end({})
    (span,) = exporter.get_finished_spans()
    names = [event.name for event in span.events]
    assert names == ["speech.sentence_failed", "speech.retried", "store.failed"]
    assert "secret" not in span.to_json()


@pytest.mark.parametrize(("variable", "name"), [(None, "soprano-tts-api"), ("tts-7", "tts-7")])
async def test_the_service_has_a_name_unless_the_environment_has_another(
    monkeypatch: pytest.MonkeyPatch, variable: str | None, name: str
) -> None:
    monkeypatch.delenv("OTEL_SERVICE_NAME", raising=False)
    if variable is not None:
        monkeypatch.setenv("OTEL_SERVICE_NAME", variable)
    tracing = build_tracing("1.2.3", FakeClock())
    resource = tracing._provider.resource
    await tracing.close()
    assert resource.attributes["service.name"] == name
    assert resource.attributes["service.version"] == "1.2.3"


class SlowToSend(SpanProcessor):
    """A collector that does not answer: closing waits until it is given up."""

    def __init__(self) -> None:
        self.is_given_up = threading.Event()

    def shutdown(self) -> None:
        assert self.is_given_up.wait(30)


async def test_a_collector_that_does_not_answer_is_given_up_at_the_end() -> None:
    slow, clock = SlowToSend(), FakeClock()
    provider = TracerProvider(shutdown_on_exit=False)
    provider.add_span_processor(slow)
    tracing = OpenTelemetry(provider, "1.2.3", clock, slow.is_given_up.set)
    closing = asyncio.create_task(tracing.close())
    while not clock.num_sleepers:
        await asyncio.sleep(0)
    await clock.advance(CLOSE_S - 0.1)
    assert not slow.is_given_up.is_set()
    await clock.advance(0.1)
    await closing
