"""The port to time."""

from datetime import datetime
from typing import Protocol, runtime_checkable


@runtime_checkable  # a controller takes it by injection, which checks the instance
class Clock(Protocol):
    """Time, so that tests can own it."""

    def monotonic(self) -> float:
        """Seconds since some fixed point; never goes back."""

    def now(self) -> datetime:
        """The wall clock, in UTC."""

    async def sleep(self, duration_s: float) -> None:
        """Return after `duration_s` seconds."""
