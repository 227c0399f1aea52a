"""What a failure says about the engine, and what is done about it. Pure."""

from typing import Final

import msgspec

from app.domain.circuit_breaker import BreakerPolicy, BreakerState, CallOutcome
from app.domain.errors import (
    DeviceError,
    EngineBusyError,
    InstanceDeadError,
    InstanceLostError,
    InvalidRequestError,
    NoInstanceError,
    SentenceError,
    SpeechTimeoutError,
)
from app.domain.retries import RetryPolicy

PROBE_TEXT: Final = "Ready."
"""What a model has to speak to show that it can."""


class TimeLimits(msgspec.Struct, frozen=True, kw_only=True):
    """How long an engine may be silent, in seconds from when its sound is asked for and due.

    Attributes:
        first_chunk_s: before the first chunk of a sentence.
        chunk_gap_s: before each further one.
    """

    first_chunk_s: float = 10.0
    chunk_gap_s: float = 5.0


class ResiliencePolicy(msgspec.Struct, frozen=True, kw_only=True):
    """All numbers of it."""

    breaker: BreakerPolicy = BreakerPolicy()
    retry: RetryPolicy = RetryPolicy()


class EngineHealth(msgspec.Struct, frozen=True):
    """How an engine is: the state of its breaker, and for how many seconds it refuses calls."""

    breaker: BreakerState = BreakerState.CLOSED
    open_for_s: float = 0.0


def outcome_of(error: BaseException) -> CallOutcome:
    """What a call that ended in `error` says about the engine.

    A sentence that ran away or was cut off is a success: the engine worked, and said so itself.
    One that had to wait for others too long says nothing: the engine was not given the time for it.
    Neither does one that was lost with others: an instance that dies has failed once, not so often.
    Whatever is no Exception (cancellation, a closed generator, an interrupt) is the caller's.
    """
    is_callers = isinstance(error, InvalidRequestError) or not isinstance(error, Exception)
    if is_callers or isinstance(error, EngineBusyError | InstanceLostError):
        return CallOutcome.IGNORED
    return CallOutcome.SUCCESS if isinstance(error, SentenceError) else CallOutcome.FAILURE


def outcome_of_silence(text: str) -> CallOutcome:
    """What it says that `text` was spoken without one chunk.

    A model may find nothing to say in symbols or foreign letters, but not in a Latin letter or a
    digit.
    """
    is_sayable = any(char.isascii() and char.isalnum() for char in text)
    return CallOutcome.FAILURE if is_sayable else CallOutcome.IGNORED


def may_help_to_retry(error: Exception) -> bool:
    """Whether another instance may do what this one did not.

    Not so where memory was too small for the sentence, where the samples were invalid (the same
    text gives the same samples), where no instance is left, and where all have too much to do.
    """
    if isinstance(error, DeviceError | NoInstanceError | EngineBusyError):
        return False
    return isinstance(error, InstanceDeadError | SpeechTimeoutError)
