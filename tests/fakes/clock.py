"""A clock that stands still until a test moves it.

`advance` lets woken tasks run on the event loop; it cannot know of work in other threads.
"""

import asyncio
import heapq
from datetime import UTC, datetime, timedelta
from itertools import count
from typing import Final

START: Final = datetime(2026, 1, 1, tzinfo=UTC)
YIELDS_PER_WAKE: Final = 20
"""Turns of the loop given to woken tasks; one await of a coroutine chain may take several."""


class FakeClock:
    """A Clock whose time passes only in `advance`.

    Time is kept in whole nanoseconds, so three times 0.1 s are exactly 0.3 s.

    Attributes:
        slept_s: every duration that was asked of `sleep`, in order.
    """

    def __init__(self) -> None:
        self.slept_s: list[float] = []
        self._elapsed_ns = 0
        self._sleepers: list[tuple[int, int, asyncio.Future[None]]] = []
        self._arrivals = count()

    def monotonic(self) -> float:
        return self._elapsed_ns / 1e9

    def now(self) -> datetime:
        return START + timedelta(microseconds=self._elapsed_ns // 1000)

    async def sleep(self, duration_s: float) -> None:
        self.slept_s.append(duration_s)
        if duration_s <= 0:
            await asyncio.sleep(0)
            return
        wake = asyncio.get_running_loop().create_future()
        due_ns = self._elapsed_ns + _to_ns(duration_s)
        heapq.heappush(self._sleepers, (due_ns, next(self._arrivals), wake))
        await wake

    async def advance(self, duration_s: float) -> None:
        """Let `duration_s` pass; sleepers wake in order, each at its own time, and may sleep on."""
        end_ns = self._elapsed_ns + _to_ns(duration_s)
        await _let_tasks_run()
        while self._sleepers and self._sleepers[0][0] <= end_ns:
            self._elapsed_ns, _, wake = heapq.heappop(self._sleepers)
            if not wake.done():
                wake.set_result(None)
                await _let_tasks_run()
        self._elapsed_ns = end_ns
        await _let_tasks_run()

    @property
    def num_sleepers(self) -> int:
        """How many tasks sleep now; cancelled ones are not counted."""
        return sum(not wake.done() for _, _, wake in self._sleepers)


def _to_ns(duration_s: float) -> int:
    return round(duration_s * 1e9)


async def _let_tasks_run() -> None:
    for _ in range(YIELDS_PER_WAKE):
        await asyncio.sleep(0)
