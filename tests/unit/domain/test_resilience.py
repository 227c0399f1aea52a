import asyncio

import pytest

from app.domain.errors import (
    DeviceError,
    EngineBusyError,
    EngineUnavailableError,
    InstanceDeadError,
    InstanceLostError,
    InstanceSilentError,
    InvalidAudioError,
    InvalidSpeedError,
    ModelLoadError,
    NoInstanceError,
    RunawaySpeechError,
    SpeechTimeoutError,
    SynthesisError,
    TruncatedSpeechError,
)
from app.domain.resilience import (
    CallOutcome,
    may_help_to_retry,
    outcome_of,
    outcome_of_silence,
)

SUCCESS, FAILURE, IGNORED = CallOutcome.SUCCESS, CallOutcome.FAILURE, CallOutcome.IGNORED


@pytest.mark.parametrize(
    ("error", "outcome", "is_retried"),
    [
        (SynthesisError(), FAILURE, False),
        (InvalidAudioError("NaN"), FAILURE, False),
        (SpeechTimeoutError(10), FAILURE, True),
        (EngineBusyError(10), IGNORED, False),
        (InstanceDeadError(), FAILURE, True),
        (InstanceLostError(), IGNORED, True),
        (InstanceSilentError(5.0), IGNORED, True),
        (DeviceError(), FAILURE, False),
        (NoInstanceError(), FAILURE, False),
        (ModelLoadError("no"), FAILURE, False),
        (MemoryError(), FAILURE, False),
        (ValueError(), FAILURE, False),
        (RunawaySpeechError(), SUCCESS, False),
        (TruncatedSpeechError(), SUCCESS, False),
        (InvalidSpeedError(9, 1, 2), IGNORED, False),
    ],
    ids=lambda value: type(value).__name__ if isinstance(value, Exception) else str(value),
)
def test_each_failure_counts_as_what_it_says_about_the_engine(
    error: Exception, outcome: CallOutcome, *, is_retried: bool
) -> None:
    assert outcome_of(error) is outcome
    assert may_help_to_retry(error) is is_retried


def test_a_refusal_is_never_repeated() -> None:
    assert not may_help_to_retry(EngineUnavailableError(5))


@pytest.mark.parametrize("error", [asyncio.CancelledError(), GeneratorExit(), KeyboardInterrupt()])
def test_whoever_leaves_says_nothing_about_the_engine(error: BaseException) -> None:
    assert outcome_of(error) is IGNORED


@pytest.mark.parametrize(
    ("text", "outcome"),
    [("Hi.", FAILURE), ("7", FAILURE), ("...", IGNORED), ("你好", IGNORED), ("😀", IGNORED)],
)
def test_silence_is_a_failure_where_there_was_something_to_say(
    text: str, outcome: CallOutcome
) -> None:
    assert outcome_of_silence(text) is outcome
