"""A model whose silence is limited: whoever waits is told in time.

What hangs may also not stop when it is told to. It is then stopped in the background, so that
nobody waits for that.
"""

import asyncio
from collections.abc import AsyncGenerator
from math import inf
from typing import Final

from app.adapters.decorators.around import AroundModel
from app.domain.audio import AudioChunk
from app.domain.errors import EngineBusyError, SpeechTimeoutError
from app.domain.resilience import TimeLimits
from app.domain.segment import TextSegment
from app.domain.speech import SynthesisParams
from app.ports.clock import Clock
from app.ports.speech_model import SpeechModel

WARM_UP_LIMIT_S: Final = 120.0
"""For the very first chunk at least; on a GPU much may have to be compiled for it."""

BUSY_TIMES: Final = 12.0
"""How many times as long a sentence may wait while the model gives sound to others. Late sound is
better than none; but one sentence may also hang alone."""

Chunks = AsyncGenerator[AudioChunk, None]


class TimeLimitedModel(AroundModel):
    """SpeechModel around one that may hang; gives chunks with samples alone.

    A sentence may be asked for long before its sound is needed, and the model may speak others
    first. So the time counts from when a chunk is asked for, from when it is due, or from the
    model's latest sound for anybody, whichever is last; due is a chunk when all sound before it has
    been played.

    Args:
        model: one instance, which gives sound to all or to nobody.
        clock: measures and waits.
        limits: on its silence.
    """

    def __init__(self, model: SpeechModel, clock: Clock, limits: TimeLimits) -> None:
        super().__init__(model)
        self._clock = clock
        self._limits = limits
        self._last_sound_at = -inf
        self._stopping: set[asyncio.Task[None]] = set()

    async def close(self) -> None:
        """Close the model; what does not stop is waited for no longer."""
        for task in self._stopping:
            task.cancel()
        await asyncio.gather(*self._stopping, return_exceptions=True)
        await super().close()

    async def synthesize(
        self, segment: TextSegment, params: SynthesisParams, due_at: float = 0.0
    ) -> Chunks:
        """See SpeechModel.

        Raises:
            EngineBusyError: the next chunk did not come in time, though others got theirs.
            SpeechTimeoutError: nothing came in time, for anybody.
        """
        chunks = self._model.synthesize(segment, params, due_at)
        limit_s = self._limits.first_chunk_s
        if self._last_sound_at == -inf:
            limit_s = max(limit_s, WARM_UP_LIMIT_S)
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
        reading = asyncio.create_task(_read(chunks))
        watching = asyncio.create_task(self._watch(due_at, limit_s))
        try:
            await asyncio.wait({reading, watching}, return_when=asyncio.FIRST_COMPLETED)
        except asyncio.CancelledError:
            reading.cancel()
            await asyncio.gather(reading, return_exceptions=True)
            raise
        finally:
            watching.cancel()
        if reading.done():
            return reading.result()
        self._stop_soon(reading, chunks)
        raise watching.result()

    async def _watch(self, due_at: float, limit_s: float) -> SpeechTimeoutError:
        """Return when a chunk that is asked for now is late."""
        wanted_at = max(due_at, self._clock.monotonic())
        ends_at = wanted_at + BUSY_TIMES * limit_s
        while True:
            late_at = max(wanted_at, self._last_sound_at) + limit_s
            now = self._clock.monotonic()
            if now >= late_at:
                return SpeechTimeoutError(limit_s)
            if now >= ends_at:
                return EngineBusyError(ends_at - wanted_at)
            await self._clock.sleep(min(late_at, ends_at) - now)

    def _stop_soon(self, reading: asyncio.Task[AudioChunk | None], chunks: Chunks) -> None:
        task = asyncio.create_task(_stop(reading, chunks), name="stop-silent-speech")
        self._stopping.add(task)
        task.add_done_callback(self._stopping.discard)


async def _read(chunks: Chunks) -> AudioChunk | None:
    """The next chunk with samples; others are no sign of life."""
    async for chunk in chunks:
        if chunk.num_samples:
            return chunk
    return None


async def _stop(reading: asyncio.Task[AudioChunk | None], chunks: Chunks) -> None:
    reading.cancel()
    await asyncio.wait({reading})  # ends at once when this is cancelled, unlike `gather`
    if not reading.cancelled():
        reading.exception()  # nobody else will look at it
    await chunks.aclose()
