"""A few at a time, and among those that wait whoever is due first."""

import asyncio
import heapq
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from itertools import count


class Turns:
    """Turns for work that cannot all be done at once.

    Args:
        num_at_once: turns that may be taken at the same time.
    """

    def __init__(self, num_at_once: int) -> None:
        self._num_free = num_at_once
        self._waiting: list[tuple[float, int, asyncio.Future[None]]] = []
        self._arrivals = count()

    @asynccontextmanager
    async def take(self, due_at: float) -> AsyncIterator[None]:
        """Wait for a turn; it ends with the block. Equal times are served as they came."""
        await self._begin(due_at)
        try:
            yield
        finally:
            self._end()

    async def _begin(self, due_at: float) -> None:
        if self._num_free:
            self._num_free -= 1
            return
        given = asyncio.get_running_loop().create_future()
        heapq.heappush(self._waiting, (due_at, next(self._arrivals), given))
        try:
            await given
        except asyncio.CancelledError:
            if given.done() and not given.cancelled():
                self._end()  # it was given in the same moment
            raise

    def _end(self) -> None:
        while self._waiting:
            *_, given = heapq.heappop(self._waiting)
            if not given.done():
                given.set_result(None)
                return
        self._num_free += 1
