import pytest
from structlog.testing import capture_logs

from app.adapters.observers.log import StructuredLog
from app.domain.audio import AudioFormat
from app.domain.errors import InstanceDeadError, ModelLoadError, StoreError
from app.domain.resilience import BreakerState
from app.domain.speech import CacheStatus, Outcome, SpeechReport
from app.ports.telemetry import StoreAction
from tests.fakes.speech_model import FAKE_INFO


def test_one_event_per_request_says_what_became_of_it() -> None:
    report = SpeechReport(
        num_chars=12,
        format=AudioFormat.OPUS,
        voice="bee",
        num_segments=2,
        cache=CacheStatus.PARTIAL,
        audio_s=2.0,
        queue_s=0.002,
        first_audio_s=0.05,
        total_s=0.5,
        outcome=Outcome.COMPLETED,
    )
    with capture_logs() as events:
        StructuredLog().speech_ended(report)
    assert events == [
        {
            "event": "speech.ended",
            "log_level": "info",
            "outcome": "completed",
            "error": None,
            "num_chars": 12,
            "num_segments": 2,
            "cache": "partial",
            "voice": "bee",
            "format": "opus",
            "audio_s": 2.0,
            "stalled_s": 0.0,
            "queue_s": 0.002,
            "first_audio_s": 0.05,
            "total_s": 0.5,
            "real_time_factor": 0.25,
        }
    ]


def test_a_failure_is_an_error_with_its_code() -> None:
    report = SpeechReport(
        num_chars=1, format=AudioFormat.MP3, outcome=Outcome.FAILED, error_code="synthesis_failed"
    )
    with capture_logs() as events:
        StructuredLog().speech_ended(report)
    assert (events[0]["log_level"], events[0]["error"]) == ("error", "synthesis_failed")


def test_loading_is_an_event_whichever_way_it_ends() -> None:
    with capture_logs() as events:
        StructuredLog().model_loaded(FAKE_INFO, 1.5, 5.04)
        StructuredLog().model_load_failed(FAKE_INFO, ModelLoadError("no weights"))
    assert [event["event"] for event in events] == ["model.loaded", "model.load_failed"]
    assert (events[0]["duration_s"], events[0]["speed"]) == (1.5, 5.0)
    assert events[1]["reason"] == "no weights"


def test_each_change_of_the_breaker_is_one_event_and_its_opening_an_error() -> None:
    with capture_logs() as events:
        StructuredLog().breaker_changed(BreakerState.CLOSED, BreakerState.OPEN, "5 of 5 failed")
        StructuredLog().breaker_changed(BreakerState.OPEN, BreakerState.HALF_OPEN, "time")
    assert [(event["log_level"], event["new"]) for event in events] == [
        ("error", "open"),
        ("info", "half_open"),
    ]
    assert events[0]["event"] == "breaker.changed"
    assert events[0]["reason"] == "5 of 5 failed"


def test_a_retry_is_a_warning() -> None:
    with capture_logs() as events:
        StructuredLog().speech_retried(InstanceDeadError(), 1)
    assert events == [
        {
            "event": "speech.retried",
            "log_level": "warning",
            "error": "engine_unavailable",
            "attempt": 1,
        }
    ]


@pytest.mark.parametrize(
    ("action", "event"),
    [("open", "store.unavailable"), ("save", "store.failed"), ("clean_up", "store.failed")],
)
def test_a_failure_of_the_store_is_an_error_that_names_the_place(
    action: StoreAction, event: str
) -> None:
    error = StoreError("The store of finished audio failed: No such file or directory.")
    error.__cause__ = FileNotFoundError(2, "No such file or directory", "/srv/speech")
    with capture_logs() as events:
        StructuredLog().store_failed(action, error)
    assert (events[0]["event"], events[0]["log_level"]) == (event, "error")
    assert events[0]["error"] == "store_failed"
    assert "/srv/speech" not in events[0]["reason"]
    assert "/srv/speech" in events[0]["cause"]


def test_a_death_is_an_error() -> None:
    with capture_logs() as events:
        StructuredLog().instance_died(1, "silent")
    assert events == [
        {
            "event": "model.instance_died",
            "log_level": "error",
            "instance": 1,
            "reason": "silent",
        }
    ]
