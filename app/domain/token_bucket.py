"""A rate limit: so many at once, and as many again per minute, spread evenly."""

from typing import Final

MINUTE_NS: Final = 60_000_000_000


class TokenBucket:
    """Holds up to `per_minute` tokens, is full at first, and gains one every 60 / `per_minute` s.

    Counts in whole units, of which a token has as many as a minute has nanoseconds: each nanosecond
    then adds exactly `per_minute` of them, and nothing is ever rounded away.

    Args:
        per_minute: at least 1.
        now: seconds of the clock that `take` is asked with.
    """

    def __init__(self, per_minute: int, now: float) -> None:
        self._per_minute = per_minute
        self._capacity = per_minute * MINUTE_NS
        self._level = self._capacity
        self._seen_ns = round(now * 1e9)

    def take(self, now: float) -> float:
        """Take a token; 0, or if there is none, the seconds until there is one."""
        self._fill(round(now * 1e9))
        missing = MINUTE_NS - self._level
        if missing > 0:
            return -(-missing // self._per_minute) / 1e9
        self._level -= MINUTE_NS
        return 0.0

    def _fill(self, now_ns: int) -> None:
        gained = (now_ns - self._seen_ns) * self._per_minute
        self._level = min(self._capacity, self._level + gained)
        self._seen_ns = now_ns
