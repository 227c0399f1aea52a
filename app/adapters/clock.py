"""The machine's own clock. The one module that may ask it."""

import asyncio
import time
from datetime import UTC, datetime


class SystemClock:
    """A Clock on the operating system."""

    def monotonic(self) -> float:
        return time.monotonic()

    def now(self) -> datetime:
        return datetime.now(UTC)

    async def sleep(self, duration_s: float) -> None:
        await asyncio.sleep(duration_s)
