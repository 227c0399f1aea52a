"""One request for speech: its life, and its answer on its way out, part by part.

The stream counts and times everything about the request; the service that answers it says what
happens. It is stored at the same time if that was asked for.
"""

import asyncio
from collections.abc import AsyncGenerator, Awaitable, Callable
from typing import TypeVar

from app.domain import errors
from app.domain.admission import Caller
from app.domain.audio import AudioChunk, AudioEncoding, PlaybackClock
from app.domain.segment import Caption, TextSegment
from app.domain.services.admission import Slot
from app.domain.services.audio_library import Recording
from app.domain.services.prefetch import LiveText
from app.domain.services.time_limit import within
from app.domain.speech import Outcome, SpeechOptions, SpeechReport, SynthesisParams
from app.ports.audio_encoder import AudioEncoder
from app.ports.audio_store import StoredAudio
from app.ports.clock import Clock
from app.ports.telemetry import SpeechObserver

T = TypeVar("T")


# Bytes of the file, a caption once the bytes before it have said a segment, or, as the last part,
# what became of the file that was to be stored: it is there, or the store failed.
Part = bytes | Caption | StoredAudio | errors.StoreError


class SpeechStream:
    """A request and its life, and the parts of its answer. Iterate once, then `aclose`.

    Made by `SpeechService`. None of the bytes are empty. A codec may hold back the last bytes of a
    segment until more come. Raises SpeechError when it breaks off.
    """

    params: SynthesisParams  # how every segment is synthesized; set once the names are resolved
    encoding: AudioEncoding  # of the answer; set with `params`
    is_light: bool  # encoding takes so little that the event loop does it; set with `params`
    encoder: AudioEncoder  # of the answer; set when audio is about to be made
    parts: AsyncGenerator[Part, None]  # are made here; set when the text is known
    text: LiveText  # takes a text that is still being written; else not set

    def __init__(
        self,
        options: SpeechOptions,
        caller: Caller,
        slot: Slot,
        clock: Clock,
        observer: SpeechObserver,
    ) -> None:
        self.options = options
        self.slot = slot
        self.report = SpeechReport(format=options.format)  # how far it is
        self.captions: list[Caption] = []  # of the segments that are whole, in order
        self.current_segment: TextSegment | None = None  # has begun and is not whole
        self._clock = clock
        self._observer = observer
        self._deadline = caller.deadline
        self._started = self._waits_since = self._asked_at = clock.monotonic()
        self.playback = PlaybackClock(self._started)  # of one who plays the answer as it comes
        self._num_samples = 0
        self._has_expired = False
        self._has_ended = False
        self._first: Part | None = None
        # stores the bytes that are still to come; `stored` is then the last part
        self.recording: Recording | None = None
        self.stored: StoredAudio | errors.StoreError | None = None  # what became of the file

    def __enter__(self) -> None:
        """What fails within ends the stream."""

    def __exit__(self, _: object, error: BaseException | None, traceback: object) -> None:
        if error is not None:
            self.end(error)

    async def in_time(self, work: Awaitable[T]) -> T:
        """The result of `work`; raises RequestTimeoutError at the caller's deadline."""

        def expire() -> None:
            self._has_expired = True

        left_s = max(0.0, self._deadline - self._clock.monotonic())
        try:
            return await within(self._clock, left_s, work, expire)
        except TimeoutError:
            raise errors.RequestTimeoutError from None

    def on_text(self) -> None:
        """There is text to synthesize: its time in the queue counts from now."""
        self._waits_since = self._clock.monotonic()

    def on_begin(self, num_segments: int) -> None:
        """Its turn has come, with so many segments known."""
        self.report.queue_s = self._clock.monotonic() - self._waits_since
        self.report.num_segments = num_segments

    def on_demand(self) -> None:
        """The listener wants more from now on."""
        self._asked_at = self._clock.monotonic()

    def on_chunk(self, segment: TextSegment | None, chunk: AudioChunk) -> None:
        """A chunk is handed out, of a segment or of none."""
        report, now = self.report, self._clock.monotonic()
        if report.first_audio_s is None:
            report.first_audio_s = now - self._started
        elif report.stalled_s is not None:
            stalled_s = now - max(self.playback.ends_at, self._asked_at)
            report.stalled_s += max(0.0, stalled_s)
            report.num_stalls += stalled_s > 0
        self.playback.on_chunk(chunk, now)
        self._num_samples += chunk.num_samples
        self._sample_rate = chunk.sample_rate
        self.current_segment = segment
        report.audio_s += chunk.duration_s
        report.num_input_tokens += chunk.num_input_tokens
        report.num_output_tokens += chunk.num_output_tokens

    def on_segment_end(self, segment: TextSegment) -> Caption | None:
        """A segment is whole; its caption, or None if it is silent."""
        self.report.num_segments_spoken += 1
        if self.current_segment is None:
            return None
        self.current_segment = None
        start_s = self.captions[-1].end_s if self.captions else 0.0
        end_s = self._num_samples / self._sample_rate
        self.captions.append(Caption(segment.index, start_s, end_s, segment.source, segment.text))
        return self.captions[-1]

    def end(self, error: BaseException | None) -> None:
        """It is over, by this error if there was one. The first call counts; tells the observer."""
        if self._has_ended:
            return
        self._has_ended = True
        self.slot.leave()
        if self._has_expired:
            error = errors.RequestTimeoutError()
        self.report.total_s = self._clock.monotonic() - self._started
        match error:
            case None:
                self.report.outcome = Outcome.COMPLETED
            case errors.InvalidRequestError():
                self.report.outcome = Outcome.REJECTED
            case errors.RefusedError():
                self.report.outcome = Outcome.REFUSED
            case asyncio.CancelledError() | GeneratorExit():
                self.report.outcome = Outcome.CANCELLED
            case _:
                self.report.outcome = Outcome.FAILED
        self.report.error_code = error.code if isinstance(error, errors.SpeechError) else None
        self._observer.speech_ended(self.report)

    async def prime(self) -> None:
        """Make the first part before anything is sent. Raises SpeechError, and is closed then."""
        try:
            self._first = await self.in_time(anext(self.parts, None))
        except BaseException:
            await self.aclose()
            raise

    def __aiter__(self) -> "SpeechStream":
        return self

    async def __anext__(self) -> Part:
        part, self._first = self._first, None
        if part is None:
            part = await anext(self.parts, None)
        if part is not None:
            if self.recording is not None and isinstance(part, bytes):
                await self.recording.write(part)
            return part
        if self.recording is None or self.stored is not None:
            raise StopAsyncIteration
        try:
            self.stored = await self.recording.finish(head=self.head(), captions=self.captions)
        except errors.StoreError as error:
            self.stored = error
        return self.stored

    async def save(self, write: Callable[[bytes], Awaitable[None]]) -> None:
        """Write the whole file, whose first bytes `head()` replaces then; raises SpeechError."""

        async def write_all() -> None:
            async for part in self:
                if isinstance(part, bytes):
                    await write(part)

        await self.in_time(write_all())

    def head(self) -> bytes:
        """See AudioEncoder.head; for callers that write the bytes to a file."""
        return self.encoder.head()

    async def aclose(self) -> None:
        """Stop the work if it is not done."""
        await self.parts.aclose()
        self.end(GeneratorExit())  # a generator that was never begun has not said so
        if self.recording is not None:
            await self.recording.aclose()
