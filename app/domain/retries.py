"""When a call may be made again, and after which pause. Pure: the time and the chance come in."""

from collections import deque
from collections.abc import Callable

import msgspec


class RetryPolicy(msgspec.Struct, frozen=True, kw_only=True):
    """How often and how soon.

    Attributes:
        max_retries: of one call.
        delay_s: longest pause before the first retry, in seconds; twice as long before each next.
        max_delay_s: most of these.
        budget_ratio: retries per call, over all calls of the last `budget_window_s` seconds.
        budget_floor: retries that are allowed in that time however few calls there were.
        budget_window_s: see there.
    """

    max_retries: int = 1
    delay_s: float = 0.05
    max_delay_s: float = 1.0
    budget_ratio: float = 0.1
    budget_floor: int = 3
    budget_window_s: float = 60.0


def pause_s(policy: RetryPolicy, num_retries: int, random: Callable[[], float]) -> float:
    """Seconds before the next retry, after `num_retries` of them.

    From half of the longest pause up to all of it, by chance: instances that die together become
    known one after another within some milliseconds, and a retry must not meet the next of them.
    """
    longest_s = min(policy.max_delay_s, policy.delay_s * 2.0 ** min(num_retries, 30))
    return (1.0 + random()) / 2 * longest_s


class RetryBudget:
    """Keeps retries few, so that they never multiply the load of an engine that fails."""

    def __init__(self, policy: RetryPolicy) -> None:
        self._policy = policy
        self._calls: deque[float] = deque()
        self._retries: deque[float] = deque()

    def count_call(self, now: float) -> None:
        """A call has come."""
        _forget_until(self._calls, now - self._policy.budget_window_s)
        self._calls.append(now)

    def take(self, now: float) -> bool:
        """Whether there may be a retry; if so, it is counted."""
        for times in (self._calls, self._retries):
            _forget_until(times, now - self._policy.budget_window_s)
        allowed = max(self._policy.budget_floor, self._policy.budget_ratio * len(self._calls))
        if len(self._retries) + 1 > allowed:
            return False
        self._retries.append(now)
        return True


def _forget_until(times: deque[float], until: float) -> None:
    while times and times[0] < until:
        times.popleft()
