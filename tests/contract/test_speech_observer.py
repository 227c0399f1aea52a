"""What every SpeechObserver keeps."""

from collections.abc import Callable

import pytest

from app.adapters.observers.log import FanOut, StructuredLog
from app.adapters.observers.prometheus import PrometheusMetrics
from app.domain.audio import AudioFormat
from app.domain.errors import (
    InstanceDeadError,
    ModelLoadError,
    RunawaySpeechError,
    StoreError,
    StoreFullError,
)
from app.domain.resilience import BreakerState
from app.domain.speech import Outcome, SpeechReport
from app.ports.telemetry import SpeechObserver
from tests.fakes.speech_model import FAKE_INFO
from tests.fakes.speech_observer import FakeSpeechObserver
from tests.spans import in_memory_tracing

OBSERVERS: dict[str, Callable[[], SpeechObserver]] = {
    "fake": FakeSpeechObserver,
    "log": StructuredLog,
    "metrics": PrometheusMetrics,
    "traces": lambda: in_memory_tracing()[0],
    "several": lambda: FanOut(FakeSpeechObserver(), PrometheusMetrics()),
}


@pytest.mark.parametrize("make", OBSERVERS.values(), ids=OBSERVERS.keys())
@pytest.mark.parametrize("outcome", list(Outcome))
def test_it_takes_whatever_happens_without_raising(
    make: Callable[[], SpeechObserver], outcome: Outcome
) -> None:
    observer = make()
    report = SpeechReport(num_chars=0, format=AudioFormat.MP3, outcome=outcome)
    results = [
        observer.model_loaded(FAKE_INFO, 0.0, 5.0),  # type: ignore[func-returns-value]
        observer.model_load_failed(FAKE_INFO, ModelLoadError("no")),  # type: ignore[func-returns-value]
        observer.sentence_begun(1),  # type: ignore[func-returns-value]
        observer.sentence_ended(0),  # type: ignore[func-returns-value]
        observer.sentence_failed(RunawaySpeechError(), 0),  # type: ignore[func-returns-value]
        observer.speech_ended(report),  # type: ignore[func-returns-value]
    ]
    assert results == [None] * 6


@pytest.mark.parametrize("make", OBSERVERS.values(), ids=OBSERVERS.keys())
def test_it_takes_whatever_happens_to_the_store_without_raising(
    make: Callable[[], SpeechObserver],
) -> None:
    observer = make()
    observer.store_failed("open", StoreError("no disk"))
    observer.store_failed("save", StoreFullError("no room"))
    observer.store_failed("clean_up", StoreError("no disk"))
    observer.store_cleaned(3)


@pytest.mark.parametrize("make", OBSERVERS.values(), ids=OBSERVERS.keys())
@pytest.mark.parametrize("new", list(BreakerState))
def test_it_takes_whatever_happens_to_the_breaker_without_raising(
    make: Callable[[], SpeechObserver], new: BreakerState
) -> None:
    observer = make()
    observer.breaker_changed(BreakerState.CLOSED, new, "tested")
    observer.speech_retried(InstanceDeadError(), 1)


@pytest.mark.parametrize("make", OBSERVERS.values(), ids=OBSERVERS.keys())
def test_it_takes_deaths_without_raising(make: Callable[[], SpeechObserver]) -> None:
    make().instance_died(0, "failed")
    make().instance_died(63, "hung")
