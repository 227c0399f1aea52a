"""Synthesizes the segments of one text ahead of its listener, so that they follow without a gap.

Knows how much of a text may be synthesized before it is asked for, and by when each segment is due;
which of several texts goes first is the model's to decide.
"""

import asyncio
from collections import deque
from collections.abc import AsyncGenerator, Callable, Iterable
from contextlib import aclosing
from functools import partial
from typing import Final

import msgspec

from app.domain.audio import AudioChunk, PlaybackClock, silence
from app.domain.errors import EXPANDED_INPUT, InputTooLongError
from app.domain.segment import TextSegment, count_chars
from app.domain.services.admission import Slot
from app.domain.speech import SpeechReport, SynthesisParams
from app.domain.text.splitting import MAX_LIVE_CHARS, cut_whole_sentences
from app.ports.clock import Clock
from app.ports.speech_model import SpeechModel

CHARS_PER_S: Final = 15.0  # of English speech, about: 150 words a minute of 5 letters and a space


class PrefetchLimits(msgspec.Struct, frozen=True):
    """How far ahead of its listener a text is synthesized."""

    max_segments: int = 10  # synthesized at the same time, the one that is sent included
    max_buffered_s: float = 60.0  # playing time beyond which no further segment is begun


class Prefetcher:
    """The segments of one text: those that wait, and those that are being synthesized. Use it once.

    The caller that takes the chunks adds each of them to `playback`.
    """

    def __init__(
        self,
        model: SpeechModel,
        clock: Clock,
        limits: PrefetchLimits,
        slot: Slot,
        playback: PlaybackClock,
    ) -> None:
        self._model = model
        self._clock = clock
        self._limits = limits
        self._slot = slot
        self._playback = playback
        self._waiting: deque[TextSegment] = deque()
        self._running: deque[_SegmentTask] = deque()
        self._params: SynthesisParams | None = None
        self._has_changed = asyncio.Event()
        self._is_finished = False
        self._error: Exception | None = None
        self.num_pushed = 0  # segments that have come so far

    @property
    def num_waiting_chars(self) -> int:
        """Characters that are spoken in the segments that are not begun."""
        return count_chars(self._waiting)

    @property
    def num_waiting_written_chars(self) -> int:
        """Characters in which the user wrote the segments that are not begun."""
        return sum(len(segment.source) for segment in self._waiting)

    def push(self, segments: Iterable[TextSegment]) -> None:
        """Add segments, which are numbered on from those before."""
        for segment in segments:
            self._waiting.append(msgspec.structs.replace(segment, index=self.num_pushed))
            self.num_pushed += 1
        self._has_changed.set()
        if self._params is not None:
            self._begin(self._params)

    def finish(self, error: Exception | None = None) -> None:
        """Take no more segments; `chunks` raises `error` behind the last one."""
        self._is_finished = True
        self._error = self._error or error
        self._has_changed.set()

    async def wait_for_segment(self) -> bool:
        """Whether there is a segment that is not begun; waits until there is, or none will come."""
        while not self._waiting and not self._is_finished:
            await self.next_change()
        return bool(self._waiting)

    async def next_change(self) -> None:
        """Return at the next `push` or `finish`, or when a waiting segment is begun."""
        self._has_changed.clear()
        await self._has_changed.wait()

    async def chunks(
        self, params: SynthesisParams
    ) -> AsyncGenerator[tuple[TextSegment, AudioChunk | None], None]:
        """Each chunk with its segment, and None at the segment's end; all in order.

        Further segments are begun only while more is asked for, or when they come. `aclose` stops
        the work. A segment that fails raises its error when its turn to be sent has come.
        """
        self._params = params
        try:
            while True:
                self._begin(params)
                if self._running:
                    running = self._running[0]
                    chunk = await running.next()
                    if chunk is None:
                        self._running.popleft()
                    yield running.segment, chunk
                elif self._is_finished:
                    if self._error is not None:
                        raise self._error
                    return
                else:
                    await self.next_change()
        finally:
            self._params = None
            tasks = [running.task for running in self._running]
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

    def _begin(self, params: SynthesisParams) -> None:
        """Begin as many of the waiting segments as the limits allow."""
        while self._waiting:
            # playing time of the begun segments that is not handed out, made or estimated
            buffered_s = sum(running.buffered_s for running in self._running)
            is_full = len(self._running) >= self._limits.max_segments
            if self._running and (is_full or buffered_s >= self._limits.max_buffered_s):
                return
            # when a listener who plays everything without a pause will need the next segment
            due_at = max(self._clock.monotonic(), self._playback.ends_at) + buffered_s
            segment = self._waiting.popleft()
            self._slot.segment_began()
            running = _SegmentTask(
                self._model, segment, params, due_at, partial(self._note, self._clock.monotonic())
            )
            running.task.add_done_callback(lambda _: self._slot.segment_ended())
            self._running.append(running)
            self._has_changed.set()

    def _note(self, began_at: float, chunk: AudioChunk) -> None:
        self._slot.audio_made(chunk.duration_s, self._clock.monotonic() - began_at)


class _SegmentTask:
    """A segment that is being synthesized, and its chunks that are not handed out yet."""

    def __init__(
        self,
        model: SpeechModel,
        segment: TextSegment,
        params: SynthesisParams,
        due_at: float,
        on_chunk: Callable[[AudioChunk], None],  # that the model has made
    ) -> None:
        self.segment = segment
        self._on_chunk = on_chunk
        self._estimate_s = segment.pause_s or len(segment.text) / CHARS_PER_S / params.speed
        self.made_s = 0.0  # playing time that is made
        self._taken_s = 0.0
        self._is_whole = False
        self._chunks: asyncio.Queue[AudioChunk | None] = asyncio.Queue()
        self.task = asyncio.create_task(self._synthesize(model, params, due_at))

    @property
    def buffered_s(self) -> float:
        """Playing time that is made, or expected, and not handed out."""
        total_s = self.made_s if self._is_whole else max(self.made_s, self._estimate_s)
        return total_s - self._taken_s

    async def next(self) -> AudioChunk | None:
        """The next chunk; None at the end. Raises what the model raised."""
        chunk = await self._chunks.get()
        if chunk is None:
            await self.task
        else:
            self._taken_s += chunk.duration_s
        return chunk

    async def _synthesize(self, model: SpeechModel, params: SynthesisParams, due_at: float) -> None:
        try:
            if self.segment.pause_s:
                self._put(silence(self.segment.pause_s, model.info.sample_rate))
                return
            async with aclosing(model.synthesize(self.segment, params, due_at)) as chunks:
                async for chunk in chunks:
                    self._put(chunk)
                    self._on_chunk(chunk)
        finally:
            self._is_whole = True
            self._chunks.put_nowait(None)

    def _put(self, chunk: AudioChunk) -> None:
        self.made_s += chunk.duration_s
        self._chunks.put_nowait(chunk)


class LiveText:
    """Takes the pieces of one text. Calls must not overlap.

    At most `max_chars` may wait to be spoken, in code points as they are written, and
    `max_spoken_chars` as they are spoken; then `write` waits. Fewer than `min_chars` wait for the
    next sentence: a voice may garble what is very short.
    """

    def __init__(
        self,
        split: Callable[[str, bool], list[TextSegment]],  # of a text, that begins a line or not
        prefetcher: Prefetcher,
        max_chars: int,
        max_spoken_chars: int,
        report: SpeechReport,
        *,
        min_chars: int = 0,
    ) -> None:
        self._split = split
        self._prefetcher = prefetcher
        self._max_chars = max_chars
        self._max_spoken_chars = max_spoken_chars
        self._report = report
        self._min_chars = min_chars
        self._rest = ""
        self._begins_line = True  # the rest, and not in the middle of one

    async def write(self, piece: str) -> None:
        """Take the next characters once there is room; raises InputTooLongError if never."""
        prefetcher = self._prefetcher
        num_chars = len(self._rest) + len(piece)
        # What has no end yet has few characters, unless it is not spoken at all.
        if len(piece) > self._max_chars or num_chars > self._max_chars + MAX_LIVE_CHARS:
            raise InputTooLongError(num_chars, self._max_chars)
        whole, rest = cut_whole_sentences(self._rest + piece)
        if len(whole.strip()) < self._min_chars:
            whole, rest = "", whole + rest
        segments = await self._segments_of(whole)
        num_spoken = count_chars(segments)
        if num_spoken > self._max_spoken_chars:
            raise InputTooLongError(num_spoken, self._max_spoken_chars, EXPANDED_INPUT)
        while prefetcher.num_waiting_chars and (
            prefetcher.num_waiting_written_chars + num_chars > self._max_chars
            or prefetcher.num_waiting_chars + num_spoken > self._max_spoken_chars
        ):
            await prefetcher.next_change()
        self._report.num_chars += len(piece)
        self._rest = rest
        self._push(whole, segments)

    async def flush(self) -> None:
        """Speak what is there, whole or not. If that raises InputTooLongError, the speech fails."""
        rest, self._rest = self._rest, ""
        try:
            self._push(rest, await self._segments_of(rest))
        except InputTooLongError as error:
            self._prefetcher.finish(error)
            raise

    async def finish(self, refusal: InputTooLongError | None = None) -> None:
        """`flush`, after which no more comes; without any text the speech fails with `refusal`."""
        try:
            await self.flush()
        finally:
            self._prefetcher.finish(None if self._report.num_chars else refusal)

    def abandon(self) -> None:
        """No more will come, and what is not whole is not spoken."""
        self._prefetcher.finish()

    def _push(self, text: str, segments: list[TextSegment]) -> None:
        """Have all of `text` spoken, and remember whether what follows begins a line."""
        if line := text.rstrip(" \t"):
            self._begins_line = line.endswith(("\n", "\r"))
        self._prefetcher.push(segments)

    async def _segments_of(self, text: str) -> list[TextSegment]:
        return await asyncio.to_thread(self._split, text, self._begins_line) if text else []
