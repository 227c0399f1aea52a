"""What is seen of a request while it is answered, and how long its caller waits for that."""

import asyncio
from collections.abc import Coroutine
from typing import Any, TypeVar

from app.domain.audio import AudioChunk, AudioFormat
from app.domain.errors import (
    InvalidRequestError,
    ModelLoadingError,
    QueueTimeoutError,
    RequestTimeoutError,
    ServerOverloadedError,
    SpeechError,
)
from app.domain.services.time_limit import within
from app.domain.services.transcript import Transcript
from app.domain.speech import Outcome, SpeechReport
from app.ports.clock import Clock
from app.ports.speech_observer import SpeechObserver

T = TypeVar("T")


class RequestWatch:
    """Keeps the report and the transcript of one request, and its time.

    Args:
        clock: measures, and waits for the deadline.
        observer: told at the end.
        audio_format: of the answer.
        deadline: see Caller.

    Attributes:
        report: how far it is.
        transcript: what has been said.
    """

    def __init__(
        self, clock: Clock, observer: SpeechObserver, audio_format: AudioFormat, deadline: float
    ) -> None:
        self._clock = clock
        self._observer = observer
        self._deadline = deadline
        self._started = self._waits_since = clock.monotonic()
        self._plays_until = self._asked_at = self._started
        self._has_expired = False
        self.report = SpeechReport(format=audio_format)
        self.transcript = Transcript()

    async def in_time(self, work: Coroutine[Any, Any, T]) -> T:
        """The result of `work`; raises RequestTimeoutError when the caller waits no longer."""
        left_s = max(0.0, self._deadline - self._clock.monotonic())
        try:
            return await within(self._clock, left_s, work, self._expire)
        except TimeoutError:
            raise RequestTimeoutError from None

    def _expire(self) -> None:
        self._has_expired = True

    def waits_from_now(self) -> None:
        """There is something to speak."""
        self._waits_since = self._clock.monotonic()

    def begun(self, num_segments: int) -> None:
        """Its turn has come; so many segments are known."""
        self.report.queue_s = self._clock.monotonic() - self._waits_since
        self.report.num_segments = num_segments

    def asked(self) -> None:
        """Whoever listens wants more, from now on."""
        self._asked_at = self._clock.monotonic()

    def sounded(self) -> None:
        """The model has made sound."""
        if self.report.first_audio_s is None:
            self.report.first_audio_s = self._clock.monotonic() - self._started

    def heard(self, chunk: AudioChunk) -> None:
        """A chunk has been spoken."""
        report, now = self.report, self._clock.monotonic()
        if report.first_audio_s is None:
            self.sounded()
        elif report.stalled_s is not None:
            stalled_s = now - max(self._plays_until, self._asked_at)
            report.stalled_s += max(0.0, stalled_s)
            report.num_stalls += stalled_s > 0
        self._plays_until = max(now, self._plays_until) + chunk.duration_s
        report.audio_s += chunk.duration_s
        report.num_input_tokens += chunk.num_input_tokens
        report.num_output_tokens += chunk.num_output_tokens

    def end(self, error: BaseException | None) -> None:
        """It is over, by this error if there was one; tells the observer."""
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
        case ServerOverloadedError() | QueueTimeoutError() | ModelLoadingError():
            return Outcome.REFUSED
        case asyncio.CancelledError() | GeneratorExit():
            return Outcome.CANCELLED
        case _:
            return Outcome.FAILED
