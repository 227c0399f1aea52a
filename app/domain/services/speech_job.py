"""One request for speech, from its arrival to its end: how it is answered, and what is told of it.

Counts and times everything about the request; the service that answers it says what happens.
"""

import asyncio
from collections.abc import Awaitable
from typing import TypeVar

from app.domain.admission import Caller
from app.domain.audio import AudioChunk, AudioEncoding, PlaybackClock
from app.domain.captions import Caption
from app.domain.errors import InvalidRequestError, RefusedError, RequestTimeoutError, SpeechError
from app.domain.segment import TextSegment
from app.domain.services.admission import Slot
from app.domain.services.time_limit import within
from app.domain.speech import Outcome, SpeechOptions, SpeechReport, SynthesisParams
from app.ports.audio_encoder import AudioEncoder
from app.ports.clock import Clock
from app.ports.telemetry import SpeechObserver

T = TypeVar("T")


class SpeechJob:
    """A request and its life."""

    params: SynthesisParams  # how every segment is synthesized; set once the names are resolved
    encoding: AudioEncoding  # of the answer; set with `params`
    is_light: bool  # encoding takes so little that the event loop does it; set with `params`
    encoder: AudioEncoder  # of the answer; set when audio is about to be made

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
        # of the segments that are whole, in order; each begins where the one before ended
        self.captions: list[Caption] = []
        # the segment that has begun and is not whole
        self.current_segment: TextSegment | None = None
        self._clock = clock
        self._observer = observer
        self._deadline = caller.deadline
        self._started = self._waits_since = self._asked_at = clock.monotonic()
        # of a listener who plays the answer as it comes
        self.playback = PlaybackClock(self._started)
        self._num_samples = 0
        self._has_expired = False
        self._has_ended = False

    async def in_time(self, work: Awaitable[T]) -> T:
        """The result of `work`; raises RequestTimeoutError at the caller's deadline."""

        def expire() -> None:
            self._has_expired = True

        left_s = max(0.0, self._deadline - self._clock.monotonic())
        try:
            return await within(self._clock, left_s, work, expire)
        except TimeoutError:
            raise RequestTimeoutError from None

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
            error = RequestTimeoutError()
        self.report.total_s = self._clock.monotonic() - self._started
        self.report.outcome = _outcome(error)
        self.report.error_code = error.code if isinstance(error, SpeechError) else None
        self._observer.speech_ended(self.report)


def _outcome(error: BaseException | None) -> Outcome:
    match error:
        case None:
            return Outcome.COMPLETED
        case InvalidRequestError():
            return Outcome.REJECTED
        case RefusedError():
            return Outcome.REFUSED
        case asyncio.CancelledError() | GeneratorExit():
            return Outcome.CANCELLED
        case _:
            return Outcome.FAILED
