"""Segments on their way from whoever writes a text to whoever speaks it."""

import asyncio
from collections import deque
from collections.abc import Callable, Iterable

import msgspec

from app.domain.segment import TextSegment


class SegmentFeed:
    """A queue of segments that may still grow; belongs to one event loop.

    Attributes:
        on_push: called when there is something new to take.
        num_pushed: segments so far.
    """

    def __init__(self) -> None:
        self._waiting: deque[TextSegment] = deque()
        self._has_changed = asyncio.Event()
        self._is_finished = False
        self.on_push: Callable[[], None] | None = None
        self.num_pushed = 0

    @property
    def has_next(self) -> bool:
        """Whether a segment can be taken."""
        return bool(self._waiting)

    @property
    def is_over(self) -> bool:
        """Whether all have been taken and none will come."""
        return self._is_finished and not self._waiting

    @property
    def num_waiting_chars(self) -> int:
        """Characters of the segments that nobody has taken yet."""
        return sum(len(segment.text) for segment in self._waiting)

    def push(self, segments: Iterable[TextSegment]) -> None:
        """Add segments; they are numbered on."""
        for segment in segments:
            self._waiting.append(msgspec.structs.replace(segment, index=self.num_pushed))
            self.num_pushed += 1
        self._has_changed.set()
        if self.on_push is not None:
            self.on_push()

    def finish(self) -> None:
        """No more will come."""
        self._is_finished = True
        self._has_changed.set()

    def take(self) -> TextSegment:
        """The next one; there must be one."""
        return self._waiting.popleft()

    async def wait(self) -> None:
        """Return at the next `push` or `finish`."""
        self._has_changed.clear()
        await self._has_changed.wait()
