"""A segment that is being spoken once, for all who asked for it meanwhile.

Nobody waits for anybody else: each follower has a queue of its own. The work stops when the last
one leaves.
"""

import asyncio
from collections.abc import AsyncGenerator, Callable
from contextlib import aclosing

import msgspec

from app.adapters.decorators.kept_speech import ENTRY_BYTES, Chunks, KeptSpeech, chunk_bytes
from app.domain.audio import AudioChunk


class SharedSpeech:
    """One generation and its followers; must be followed at once, or it is never stopped.

    Args:
        chunks: of the segment, as they are made.
        memory: has room for them, so that others can join late.
        on_whole: gets all chunks once they are made, unless there was no room for them, or there
            are none: what is silent once may be a failure, and must not stay so.

    Attributes:
        can_be_joined: nothing is missing for a follower that comes now.
    """

    def __init__(
        self,
        chunks: AsyncGenerator[AudioChunk, None],
        memory: KeptSpeech,
        on_whole: Callable[[Chunks], None],
    ) -> None:
        self._memory = memory
        self._on_whole = on_whole
        self._followers: set[asyncio.Queue[AudioChunk | None]] = set()
        self._made: list[AudioChunk] = []
        self._num_reserved = ENTRY_BYTES
        self.can_be_joined = memory.reserve(ENTRY_BYTES)
        self._task = asyncio.create_task(self._run(chunks))
        self._task.add_done_callback(_mark_as_seen)

    def when_over(self, tell: Callable[[], None]) -> None:
        """Call `tell` soon after the work has ended, however it ended."""
        self._task.add_done_callback(lambda _: tell())

    async def follow(self) -> AsyncGenerator[AudioChunk, None]:
        """All chunks from the first on; raises what the model raised."""
        queue: asyncio.Queue[AudioChunk | None] = asyncio.Queue()
        for chunk in self._made:
            queue.put_nowait(chunk)
        self._followers.add(queue)
        try:
            while (next_chunk := await queue.get()) is not None:
                yield next_chunk
            self._task.result()
        finally:
            self._followers.discard(queue)
            if not self._followers and not self._task.done():
                await self._stop()

    async def _run(self, chunks: AsyncGenerator[AudioChunk, None]) -> None:
        try:
            async with aclosing(chunks):
                async for chunk in chunks:
                    self._hand_out(compact(chunk))
            if self.can_be_joined and self._made:
                self.can_be_joined = False
                self._on_whole(tuple(self._made))
        finally:
            self._give_up_room()
            for queue in self._followers:
                queue.put_nowait(None)

    def _hand_out(self, chunk: AudioChunk) -> None:
        if self.can_be_joined:
            self._retain(chunk)
        for queue in self._followers:
            queue.put_nowait(chunk)

    def _retain(self, chunk: AudioChunk) -> None:
        num_bytes = chunk_bytes(chunk)
        if self._memory.reserve(num_bytes):
            self._num_reserved += num_bytes
            self._made.append(chunk)
        else:
            self._give_up_room()

    def _give_up_room(self) -> None:
        """What was made stays with those who follow already; nobody else can join."""
        self._made.clear()
        if self.can_be_joined:
            self.can_be_joined = False
            self._memory.release(self._num_reserved)

    async def _stop(self) -> None:
        self._give_up_room()
        self._task.cancel()
        await asyncio.gather(self._task, return_exceptions=True)


def _mark_as_seen(task: asyncio.Task[None]) -> None:
    """A failure is nobody's if the last follower left before it came to its end."""
    if not task.cancelled():
        task.exception()


def compact(chunk: AudioChunk) -> AudioChunk:
    """The same chunk; its samples are not a view, which would keep all that it looks at."""
    if chunk.samples.base is None:
        return chunk
    return msgspec.structs.replace(chunk, samples=chunk.samples.copy())
