"""Speaks the segments of one text ahead of its listener, so that they follow without a gap.

Knows how much of a text may be spoken before it is asked for, and by when each segment is needed;
who goes first among several texts is the model's to decide.
"""

import asyncio
from collections import deque
from collections.abc import AsyncGenerator, Callable
from contextlib import aclosing
from typing import Final

import msgspec

from app.domain.audio import AudioChunk, silence
from app.domain.errors import SynthesisError
from app.domain.resilience import may_help_to_retry
from app.domain.segment import TextSegment
from app.domain.services.admission import Slot
from app.domain.services.segment_feed import SegmentFeed
from app.domain.speech import SynthesisParams
from app.ports.clock import Clock
from app.ports.speech_model import SpeechModel

CHARS_PER_S: Final = 15.0
"""Of English speech, about: 150 words a minute of 5 letters and a space."""


class LookAheadLimits(msgspec.Struct, frozen=True):
    """How far ahead of its listener a text is spoken.

    Attributes:
        max_segments: spoken at the same time, the one that is heard included.
        max_unread_s: playing time, in seconds, beyond which no further segment is begun.
    """

    max_segments: int = 10
    max_unread_s: float = 60.0


class LookAhead:
    """One text on its way; use it once.

    Args:
        model: that speaks.
        clock: of the times by when sound is needed.
        limits: on what is spoken ahead.
        params: of all segments.
        slot: is told when the model has something to do for the text.
        on_sound: given where the answer is sent whole; called at each chunk that is made. A segment
            is then handed on once all of it is made, so that until then it can be made again.
    """

    def __init__(
        self,
        model: SpeechModel,
        clock: Clock,
        limits: LookAheadLimits,
        params: SynthesisParams,
        slot: Slot,
        on_sound: Callable[[], None] | None = None,
    ) -> None:
        self._model = model
        self._clock = clock
        self._limits = limits
        self._delivery = params
        self._slot = slot
        self._on_sound = on_sound
        self._running: deque[_Running] = deque()
        self._playback_ends_at: float | None = None

    async def speak(
        self, feed: SegmentFeed
    ) -> AsyncGenerator[tuple[TextSegment, AudioChunk | None], None]:
        """Each chunk with its segment, and None at the segment's end; all in order.

        Further segments are begun only while the listener asks for more, or when they come.
        `aclose` stops the work. A segment that fails raises its error when it would have been
        heard.
        """
        feed.on_push = lambda: self._begin(feed)
        try:
            while True:
                self._begin(feed)
                if self._running:
                    yield await self._next()
                elif feed.is_over:
                    return
                else:
                    await feed.wait()
        finally:
            feed.on_push = None
            await self._stop()

    async def _next(self) -> tuple[TextSegment, AudioChunk | None]:
        first = self._running[0]
        chunk = await first.next()
        if chunk is None:
            self._running.popleft()
        else:
            self._heard(chunk)
        return first.segment, chunk

    def _begin(self, feed: SegmentFeed) -> None:
        """Begin what may be begun."""
        while feed.has_next and self._has_room():
            segment = feed.take()
            running = _Running(segment, self._estimate_s(segment), self._slot, self._on_sound)
            running.begin(self._model, self._delivery, self._due_at())
            self._running.append(running)

    def _has_room(self) -> bool:
        if not self._running:
            return True
        is_full = len(self._running) >= self._limits.max_segments
        return not is_full and self._unread_s() < self._limits.max_unread_s

    def _estimate_s(self, segment: TextSegment) -> float:
        return segment.pause_s or len(segment.text) / CHARS_PER_S / self._delivery.speed

    def _unread_s(self) -> float:
        """Playing time that is or will be made by the segments begun, and is not handed out."""
        return sum(running.unread_s for running in self._running)

    def _due_at(self) -> float:
        """When a listener who plays all at its own pace will need the next segment."""
        now = self._clock.monotonic()
        if self._playback_ends_at is None:
            return now + self._unread_s()
        return max(now, self._playback_ends_at) + self._unread_s()

    def _heard(self, chunk: AudioChunk) -> None:
        now = self._clock.monotonic()
        starts_at = max(now, self._playback_ends_at or now)
        self._playback_ends_at = starts_at + chunk.duration_s

    async def _stop(self) -> None:
        for running in self._running:
            running.task.cancel()
        tasks = [running.task for running in self._running]
        await asyncio.gather(*tasks, return_exceptions=True)


class _Running:
    """A segment that is being spoken, and its chunks that nobody has taken yet.

    What is lost half-made, with an instance of the model that dies or hangs, before anybody has
    taken of it, is made again, once. What has no sound yet is the model's to repeat, or not.
    """

    def __init__(
        self,
        segment: TextSegment,
        estimate_s: float,
        slot: Slot,
        on_sound: Callable[[], None] | None,
    ) -> None:
        self.segment = segment
        self._slot = slot
        self._on_sound = on_sound
        self.task: asyncio.Task[None]
        self._estimate_s = estimate_s
        self._made_s = 0.0
        self._taken_s = 0.0
        self._is_whole = False
        self._chunks: asyncio.Queue[AudioChunk | None] = asyncio.Queue()

    @property
    def unread_s(self) -> float:
        """Playing time made or to come, and not taken."""
        total_s = self._made_s if self._is_whole else max(self._made_s, self._estimate_s)
        return total_s - self._taken_s

    def begin(self, model: SpeechModel, params: SynthesisParams, due_at: float) -> None:
        self._slot.segment_began()
        self.task = asyncio.create_task(self._speak(model, params, due_at))
        self.task.add_done_callback(lambda _: self._slot.segment_ended())

    async def _speak(self, model: SpeechModel, params: SynthesisParams, due_at: float) -> None:
        try:
            try:
                await self._make(model, params, due_at)
            except SynthesisError as error:
                if not self._made_s or self._taken_s or not may_help_to_retry(error):
                    raise
                self._forget()
                await self._make(model, params, due_at)
        finally:
            self._is_whole = True
            self._chunks.put_nowait(None)

    async def _make(self, model: SpeechModel, params: SynthesisParams, due_at: float) -> None:
        if self.segment.pause_s:
            self._made_s = self.segment.pause_s
            self._chunks.put_nowait(silence(self._made_s, model.info.sample_rate))
            return
        async with aclosing(model.synthesize(self.segment, params, due_at)) as chunks:
            async for chunk in chunks:
                self._made_s += chunk.duration_s
                if self._on_sound is not None:
                    self._on_sound()
                self._chunks.put_nowait(chunk)

    def _forget(self) -> None:
        """Drop what was made, of which nobody has taken anything."""
        self._made_s = 0.0
        while not self._chunks.empty():
            self._chunks.get_nowait()

    async def next(self) -> AudioChunk | None:
        """The next chunk; None at the end. Raises what the model raised."""
        if self._on_sound is not None:
            await self.task  # a whole answer takes all of it, or nothing
        chunk = await self._chunks.get()
        if chunk is None:
            await self.task
        else:
            self._taken_s += chunk.duration_s
        return chunk
