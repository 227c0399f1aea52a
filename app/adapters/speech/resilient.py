"""The resilience decorator: a circuit breaker, the only place that retries, and what is counted.

Each attempt is counted by the breaker, so a retried sentence counts twice; what the breaker rejects
is not retried. Once a chunk has left, nothing is retried: the listener would get it twice. So the
chunks of a sentence that is not due yet are held until it is, or until the sentence is whole.
"""

import asyncio
from collections.abc import AsyncGenerator, Callable
from contextlib import aclosing, suppress
from itertools import count
from typing import Final, NoReturn

import msgspec
import structlog

from app.domain.audio import AudioChunk
from app.domain.errors import EngineUnavailableError, NoInstanceError, SpeechError, SynthesisError
from app.domain.resilience import (
    PROBE_TEXT,
    BreakerState,
    CallOutcome,
    CircuitBreaker,
    EngineHealth,
    Permit,
    ResiliencePolicy,
    may_help_to_retry,
    outcome_of,
    outcome_of_silence,
)
from app.domain.segment import TextSegment
from app.domain.speech import SynthesisParams
from app.domain.text.front_end import segment_text
from app.ports.clock import Clock
from app.ports.speech_model import SpeechModel
from app.ports.telemetry import Span, SpeechObserver, Tracing

# For so long after a call found no instance (and had waited for one), further such calls say
# nothing about the engine: all that waited fail at once, and a large model on a busy machine needs
# the time.
RESTART_S: Final = 15.0

# Chunks leave this long before they are due. Longer than the gap between two chunks, 0.1 to 0.5 s:
# held chunks leave when the next one comes.
HOLD_MARGIN_S: Final = 1.0

_log = structlog.get_logger(__name__)


class ResilientModel:
    """SpeechModel around one that may fail; it raises SpeechTimeoutError itself when it is silent.

    `random` gives numbers in [0, 1). `tracing` gets a span for each attempt; one that several
    requests share is of the first.
    """

    def __init__(
        self,
        model: SpeechModel,
        clock: Clock,
        policy: ResiliencePolicy,
        observer: SpeechObserver,
        random: Callable[[], float],
        tracing: Tracing | None = None,
    ) -> None:
        self.info, self.split = model.info, model.split
        self._model = model
        self._clock = clock
        self._policy = policy
        self._observer = observer
        self._random = random
        self._tracing = tracing
        self._num_running = 0
        self._has_opened = asyncio.Event()
        self._absent_since: float | None = None
        self._probing: asyncio.Task[None] | None = None
        self.breaker = CircuitBreaker(policy.breaker, random, self._breaker_changed)

    def health(self) -> EngineHealth:
        """How the model is now."""
        now = self._clock.monotonic()
        return EngineHealth(self.breaker.state, self.breaker.open_for_s(now))

    async def load(self) -> None:
        await self._model.load()
        probe = segment_text(PROBE_TEXT, self._model.split)[0]
        self._probing = asyncio.create_task(self._probe_while_open(probe), name="probe-model")

    async def close(self) -> None:
        if self._probing is not None:
            self._probing.cancel()
            await asyncio.gather(self._probing, return_exceptions=True)
        await self._model.close()

    async def synthesize(
        self, segment: TextSegment, params: SynthesisParams, due_at: float = 0.0
    ) -> AsyncGenerator[AudioChunk, None]:
        for num_retries in count():
            attempt = self._begin(segment, due_at)
            held: list[AudioChunk] = []
            is_committed = False
            try:
                chunks = self._model.synthesize(segment, params, attempt.due_at)
                async with aclosing(chunks):
                    async for chunk in chunks:
                        self._on_chunk(attempt, chunk)
                        held.append(chunk)
                        # Whether the listener cannot wait for the rest of the sentence.
                        is_due = self._clock.monotonic() >= due_at - HOLD_MARGIN_S
                        is_committed = is_committed or (is_due and not params.is_whole)
                        while is_committed and held:
                            yield held.pop(0)
            except BaseException as error:  # noqa: BLE001 - counted, and raised below
                self._end(attempt, error)
                if (
                    is_committed
                    or num_retries >= self._policy.max_retries
                    or not isinstance(error, SynthesisError)
                    or not may_help_to_retry(error)
                ):
                    _raise(error)
                self._observer.speech_retried(error, num_retries + 1)
            else:
                self._end(attempt, None)
                for chunk in held:
                    yield chunk
                return
            await self._clock.sleep((1 + self._random()) / 2 * self._policy.retry_pause_s)

    def _begin(self, segment: TextSegment, due_at: float) -> "_Attempt":
        """Raises EngineUnavailableError while the circuit is open."""
        now = self._clock.monotonic()
        permit = self.breaker.acquire(now)
        if permit is None:
            raise EngineUnavailableError(self.breaker.wait_s(now))
        if permit.is_probe:  # all requests wait for its result, so it is due now
            due_at = min(due_at, now)
        self._num_running += 1
        self._observer.sentence_begun(self._num_running)
        span = None
        if self._tracing is not None:
            known = {"soprano.sentence": segment.index, "soprano.characters": len(segment.text)}
            span = self._tracing.begin("speech.sentence", known)
        return _Attempt(segment, permit, due_at, span)

    def _on_chunk(self, attempt: "_Attempt", chunk: AudioChunk) -> None:
        if not attempt.audio_s:
            self._absent_since = None
            if attempt.permit.is_probe:
                now = self._clock.monotonic()
                self.breaker.record(attempt.permit, CallOutcome.SUCCESS, now)
            if attempt.span is not None:
                attempt.span.add_event("speech.first_audio")
        attempt.audio_s += chunk.duration_s

    def _end(self, attempt: "_Attempt", error: BaseException | None) -> None:
        self._num_running -= 1
        self._observer.sentence_ended(self._num_running)
        now = self._clock.monotonic()
        if error is not None:
            outcome = outcome_of(error)
        elif attempt.audio_s:
            outcome = CallOutcome.SUCCESS
        else:
            outcome = outcome_of_silence(attempt.segment.text)
        if isinstance(error, NoInstanceError):  # counts only if it lasts
            self._absent_since = now if self._absent_since is None else self._absent_since
            if now - self._absent_since < RESTART_S:
                outcome = CallOutcome.IGNORED
        self.breaker.record(attempt.permit, outcome, now)
        if attempt.span is not None:
            result, code = "completed" if error is None else "cancelled", None
            if isinstance(error, Exception):
                result = "failed"
                code = error.code if isinstance(error, SpeechError) else type(error).__name__
            attempt.span.end({"soprano.outcome": result, "soprano.audio_s": attempt.audio_s}, code)

    def _breaker_changed(self, old: BreakerState, new: BreakerState, reason: str) -> None:
        if new in {BreakerState.OPEN, BreakerState.HALF_OPEN}:
            self._has_opened.set()
        else:
            self._has_opened.clear()
        self._observer.breaker_changed(old, new, reason)

    async def _probe_while_open(self, segment: TextSegment) -> None:
        """Speak as soon as it is allowed: without it a model that nobody calls stays refused."""
        params = SynthesisParams(self.info.voices[0])
        while True:
            await self._has_opened.wait()
            await self._clock.sleep(self.breaker.wait_s(self._clock.monotonic()))
            if self._has_opened.is_set():
                chunks = self.synthesize(segment, params, self._clock.monotonic())
                with suppress(SpeechError):
                    async with aclosing(chunks):
                        await anext(chunks, None)


class _Attempt(msgspec.Struct):
    """One call of the model for a sentence."""

    segment: TextSegment
    permit: Permit
    due_at: float
    span: Span | None
    audio_s: float = 0.0


def _raise(error: BaseException) -> NoReturn:
    """As the port has it."""
    if isinstance(error, SpeechError) or not isinstance(error, Exception):
        raise error
    _log.exception("speech.model_raised", exc_info=error)
    raise SynthesisError from error
