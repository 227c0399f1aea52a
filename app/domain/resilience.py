"""What a failure says about the engine, and what is done about it. Pure."""

from collections import deque
from collections.abc import Callable
from enum import StrEnum
from math import inf
from typing import Final

import msgspec

from app.domain.errors import (
    DeviceError,
    EngineBusyError,
    InstanceDeadError,
    InstanceLostError,
    InstanceSilentError,
    InvalidRequestError,
    NoInstanceError,
    ReplicaLostError,
    SentenceError,
    SpeechTimeoutError,
)

# What a caller is told to wait while the one call that is let through is on its way.
PROBE_WAIT_S: Final = 1.0
MAX_DOUBLINGS: Final = 30  # of the time that a circuit is open
# An open circuit makes the server unready only after so long: an instance that is started again
# needs a few seconds, and nobody gains if a load balancer moves away for those.
UNREADY_AFTER_S: Final = 10.0


class BreakerState(StrEnum):
    """CLOSED lets calls through, OPEN refuses them, HALF_OPEN lets one through to see."""

    CLOSED = "closed"
    OPEN = "open"
    HALF_OPEN = "half_open"


class CallOutcome(StrEnum):
    """How a call ended, as far as the engine is concerned; IGNORED says nothing about it."""

    SUCCESS = "success"
    FAILURE = "failure"
    IGNORED = "ignored"


class BreakerPolicy(msgspec.Struct, frozen=True, kw_only=True):
    """When a breaker opens, and for how long."""

    window_size: int = 20  # last outcomes that are looked at
    window_s: float = 30.0  # seconds after which an outcome is too old to be one of them
    min_outcomes: int = 5  # that there must be; more than the window holds are as many as it holds
    failure_ratio: float = 0.5  # of failures among them at which it opens
    open_s: float = 5.0  # for which it is open at first, twice as long after each failed probe
    max_open_s: float = 60.0  # most of these, before chance is added
    jitter: float = 0.2  # part of that time by which chance makes it longer or shorter, in [0, 1)
    calm_s: float = 60.0  # seconds of being closed after which it opens for `open_s` again


class Permit(msgspec.Struct, frozen=True):
    """Leave to call; `generation` says in which state of the breaker it was given."""

    generation: int
    is_probe: bool = False


class CircuitBreaker:
    """The breaker of one engine. Times are seconds of one clock, and never go back.

    `on_change` is told the old state, the new one and the reason in words.
    """

    def __init__(
        self,
        policy: BreakerPolicy,
        random: Callable[[], float],
        on_change: Callable[[BreakerState, BreakerState, str], None] = lambda *_: None,
    ) -> None:
        self._policy = policy
        self._random = random
        self._on_change = on_change
        self._outcomes: deque[tuple[float, CallOutcome]] = deque(maxlen=policy.window_size)
        self._generation = self._num_failed_probes = 0
        self._has_probe = False
        self._closed_at = -inf
        self._open_since = self._open_until = 0.0
        # as of the last call; that an open time has passed shows when somebody asks
        self.state = BreakerState.CLOSED

    def acquire(self, now: float) -> Permit | None:
        """Ask to call; None is no leave, see `wait_s`.

        Each permit must come back to `record`, once the call has ended.
        """
        if self.state is BreakerState.CLOSED:
            return Permit(self._generation)
        if self.state is BreakerState.OPEN and now >= self._open_until:
            self._enter(BreakerState.HALF_OPEN, "it is time for a probe")
        if self.state is BreakerState.HALF_OPEN and not self._has_probe:
            self._has_probe = True
            return Permit(self._generation, is_probe=True)
        return None

    def record(self, permit: Permit, outcome: CallOutcome, now: float) -> None:
        """How the call ended. Of a permit from before the last change of state, nothing counts."""
        if permit.generation != self._generation:
            return
        if permit.is_probe:
            self._has_probe = False
            if outcome is CallOutcome.SUCCESS:
                self._closed_at = now
                self._enter(BreakerState.CLOSED, "the probe succeeded")
            elif outcome is CallOutcome.FAILURE:
                self._num_failed_probes += 1
                self._open(now, "the probe failed")
        elif self.state is BreakerState.CLOSED and outcome is not CallOutcome.IGNORED:
            self._outcomes.append((now, outcome))
            self._open_if_too_many_failed(now)

    def wait_s(self, now: float) -> float:
        """Seconds until a call may be let through; 0 if one would be now."""
        if self.state is BreakerState.HALF_OPEN:
            return PROBE_WAIT_S
        return max(0.0, self._open_until - now) if self.state is BreakerState.OPEN else 0.0

    def open_for_s(self, now: float) -> float:
        """Seconds since it last let calls through, failed probes included; 0 while it does."""
        return 0.0 if self.state is BreakerState.CLOSED else now - self._open_since

    def _open_if_too_many_failed(self, now: float) -> None:
        while now - self._outcomes[0][0] > self._policy.window_s:
            self._outcomes.popleft()
        num_failed = sum(outcome is CallOutcome.FAILURE for _, outcome in self._outcomes)
        num_all = len(self._outcomes)
        is_enough = num_all >= min(self._policy.min_outcomes, self._policy.window_size)
        if is_enough and num_failed / num_all >= self._policy.failure_ratio:
            if now - self._closed_at >= self._policy.calm_s:
                self._num_failed_probes = 0
            self._open_since = now
            self._open(now, f"{num_failed} of the last {num_all} calls failed")

    def _open(self, now: float, reason: str) -> None:
        policy = self._policy
        doubled = policy.open_s * 2.0 ** min(self._num_failed_probes, MAX_DOUBLINGS)
        chance = 1 + policy.jitter * (2 * self._random() - 1)
        self._open_until = now + min(doubled, policy.max_open_s) * chance
        self._enter(BreakerState.OPEN, reason)

    def _enter(self, state: BreakerState, reason: str) -> None:
        old, self.state = self.state, state
        self._generation += 1
        self._has_probe = False
        self._outcomes.clear()
        if old is not state:
            self._on_change(old, state, reason)


PROBE_TEXT: Final = "Ready."  # what a model has to speak to show that it can


class TimeLimits(msgspec.Struct, frozen=True, kw_only=True):
    """How long an engine may be silent, in seconds from when its sound is asked for and due."""

    first_chunk_s: float = 10.0  # before the first chunk of a sentence
    chunk_gap_s: float = 5.0  # before each further one


class ResiliencePolicy(msgspec.Struct, frozen=True, kw_only=True):
    """All numbers of it."""

    breaker: BreakerPolicy = BreakerPolicy()
    max_retries: int = 1  # of one sentence
    # Before a retry, in seconds; chance takes up to half of it away: instances that die together
    # become known one after another within some milliseconds, 50 on a busy machine, and a retry
    # must not meet the next of them.
    retry_pause_s: float = 0.3


class EngineHealth(msgspec.Struct, frozen=True):
    """How an engine is: the state of its breaker, and for how many seconds it refuses calls."""

    breaker: BreakerState = BreakerState.CLOSED
    open_for_s: float = 0.0

    def trouble(self) -> str | None:
        """Why its circuit is open now, however short the time, or None."""
        if self.breaker is BreakerState.CLOSED:
            return None
        since_s = f"{self.open_for_s:.0f} s"
        return f"The speech model failed repeatedly; its circuit has been open for {since_s}."

    def why_not(self) -> str | None:
        """Why it is not well enough to be sent requests, or None."""
        return self.trouble() if self.open_for_s > UNREADY_AFTER_S else None


def outcome_of(error: BaseException) -> CallOutcome:
    """What a call that ended in `error` says about the engine.

    A sentence that ran away or was cut off is a success: the engine worked, and said so itself.
    One that had to wait for others too long says nothing: the engine was not given the time for it.
    Neither does one that was lost with others, on an instance that dies or hangs, which has failed
    once, or on a replica of a cluster, which replaces it. Whatever is no Exception (cancellation, a
    closed generator, an interrupt) is the caller's.
    """
    is_callers = isinstance(error, InvalidRequestError) or not isinstance(error, Exception)
    says_nothing = EngineBusyError | InstanceLostError | InstanceSilentError | ReplicaLostError
    if is_callers or isinstance(error, says_nothing):
        return CallOutcome.IGNORED
    return CallOutcome.SUCCESS if isinstance(error, SentenceError) else CallOutcome.FAILURE


def outcome_of_silence(text: str) -> CallOutcome:
    """What it says that `text` was spoken without one chunk.

    There may be nothing to say in symbols or foreign letters, but not in a Latin letter or digit.
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
    return isinstance(error, InstanceDeadError | ReplicaLostError | SpeechTimeoutError)
