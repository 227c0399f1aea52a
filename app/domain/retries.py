"""When a call may be made again, and after which pause. Pure: the time and the chance come in."""

import hashlib
from collections import OrderedDict, deque
from collections.abc import Callable
from typing import Final

import msgspec

MAX_SUSPECTS: Final = 1_000
"""Texts that are remembered for having killed an instance; the oldest go first."""


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


class PoisonPolicy(msgspec.Struct, frozen=True, kw_only=True):
    """When a text is refused for what it did to the engine.

    Attributes:
        num_kills: instances that died of it.
        window_s: seconds within which they died.
        refused_s: seconds for which it is then refused.
    """

    num_kills: int = 2
    window_s: float = 60.0
    refused_s: float = 600.0


def pause_s(policy: RetryPolicy, num_retries: int, random: Callable[[], float]) -> float:
    """Seconds before the next retry, after `num_retries` of them: any time up to the longest."""
    longest_s = min(policy.max_delay_s, policy.delay_s * 2.0 ** min(num_retries, 30))
    return random() * longest_s


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


class PoisonList:
    """Texts of which instances died, as hashes."""

    def __init__(self, policy: PoisonPolicy) -> None:
        self._policy = policy
        self._kills: OrderedDict[bytes, deque[float]] = OrderedDict()
        self._refused_until: OrderedDict[bytes, float] = OrderedDict()

    def is_refused(self, text: str, now: float) -> bool:
        """Whether the text is not to be tried now."""
        return bool(self._refused_until) and now < self._refused_until.get(_hash(text), now)

    def count_kill(self, text: str, now: float) -> None:
        """An instance died while it spoke the text."""
        key = _hash(text)
        kills = self._kills.setdefault(key, deque(maxlen=self._policy.num_kills))
        _forget_until(kills, now - self._policy.window_s)
        kills.append(now)
        if len(kills) == self._policy.num_kills:
            del self._kills[key]
            self._refused_until[key] = now + self._policy.refused_s
        for remembered in (self._kills, self._refused_until):
            if len(remembered) > MAX_SUSPECTS:
                remembered.popitem(last=False)


def _forget_until(times: deque[float], until: float) -> None:
    while times and times[0] < until:
        times.popleft()


def _hash(text: str) -> bytes:
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).digest()
