"""Reads the chunks of a model that may hang: whoever waits is told in time.

What hangs may also not stop when it is told to. It is then stopped in the background, so that
nobody waits for that.
"""

import asyncio
from collections.abc import AsyncGenerator
from math import inf

from app.domain.audio import AudioChunk
from app.domain.errors import EngineBusyError, SpeechTimeoutError
from app.domain.resilience import TimeLimits
from app.ports.clock import Clock

Chunks = AsyncGenerator[AudioChunk, None]


class TimeLimiter:
    """Limits on the silence of a model.

    A sentence may be asked for long before its sound is needed, and the model may speak others
    first. So the time counts from when a chunk is asked for or when it is due, whichever is later;
    due is a chunk when all sound before it has been played. A model that gave sound to others in
    the last half of that time is busy; else it hangs.
    """

    def __init__(self, clock: Clock, limits: TimeLimits) -> None:
        self._clock = clock
        self._limits = limits
        self._last_sound_at = -inf
        self._stopping: set[asyncio.Task[None]] = set()

    async def read(self, chunks: Chunks, due_at: float) -> Chunks:
        """The same chunks; `due_at` is the time of the first one, as in SpeechModel.

        Raises:
            EngineBusyError: the next one did not come in time, but others did.
            SpeechTimeoutError: nothing came in time.
        """
        limit_s = self._limits.first_chunk_s
        try:
            while (chunk := await self._next(chunks, due_at, limit_s)) is not None:
                self._last_sound_at = self._clock.monotonic()
                due_at = max(due_at, self._last_sound_at) + chunk.duration_s
                limit_s = self._limits.chunk_gap_s
                yield chunk
        except SpeechTimeoutError:
            raise  # the chunks are being stopped
        except BaseException:
            await chunks.aclose()
            raise

    async def _next(self, chunks: Chunks, due_at: float, limit_s: float) -> AudioChunk | None:
        until_due_s = max(0.0, due_at - self._clock.monotonic())
        reading = asyncio.create_task(_read(chunks))
        timer = asyncio.create_task(self._sleep(until_due_s + limit_s))
        try:
            await asyncio.wait({reading, timer}, return_when=asyncio.FIRST_COMPLETED)
        except asyncio.CancelledError:
            reading.cancel()
            await asyncio.gather(reading, return_exceptions=True)
            raise
        finally:
            timer.cancel()
        if reading.done():
            return reading.result()
        self._stop_soon(reading, chunks)
        silent_for_s = self._clock.monotonic() - self._last_sound_at
        raise (EngineBusyError if silent_for_s <= limit_s / 2 else SpeechTimeoutError)(limit_s)

    async def _sleep(self, duration_s: float) -> None:
        await self._clock.sleep(duration_s)

    def _stop_soon(self, reading: asyncio.Task[AudioChunk | None], chunks: Chunks) -> None:
        task = asyncio.create_task(_stop(reading, chunks), name="stop-silent-speech")
        self._stopping.add(task)
        task.add_done_callback(self._stopping.discard)

    async def close(self) -> None:
        """Wait no longer for what does not stop."""
        for task in self._stopping:
            task.cancel()
        await asyncio.gather(*self._stopping, return_exceptions=True)


async def _read(chunks: Chunks) -> AudioChunk | None:
    return await anext(chunks, None)


async def _stop(reading: asyncio.Task[AudioChunk | None], chunks: Chunks) -> None:
    reading.cancel()
    await asyncio.wait({reading})  # ends at once when this is cancelled, unlike `gather`
    if not reading.cancelled():
        reading.exception()  # nobody else will look at it
    await chunks.aclose()
