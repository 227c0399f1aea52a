"""A model that is left alone while it fails, and asked again where that may help.

Each call is counted by a breaker, then maybe repeated: a repeated call is counted twice, and what
the breaker refuses is not repeated. Nothing is repeated once it was heard.
"""

import asyncio
from collections.abc import AsyncGenerator, Callable, Sequence
from contextlib import aclosing, suppress
from itertools import count
from typing import Final

import structlog

from app.domain.audio import AudioChunk
from app.domain.circuit_breaker import (
    BreakerState,
    CallOutcome,
    CircuitBreaker,
    Permit,
    Refusal,
)
from app.domain.errors import (
    EngineUnavailableError,
    NoInstanceError,
    SpeechError,
    SynthesisError,
)
from app.domain.resilience import (
    PROBE_TEXT,
    EngineHealth,
    ResiliencePolicy,
    may_help_to_retry,
    outcome_of,
    outcome_of_silence,
)
from app.domain.retries import pause_s
from app.domain.segment import TextSegment
from app.domain.speech import ModelInfo, SynthesisParams
from app.domain.text.front_end import segment_text
from app.domain.text.mapped_text import MappedText
from app.ports.clock import Clock
from app.ports.speech_model import SpeechModel
from app.ports.speech_observer import SpeechObserver

RESTART_S: Final = 15.0
"""For so long after a call found no instance (and had waited for one) more such calls say nothing
of the engine: all that waited fail at once, and a large model on a busy machine needs the time."""

_log = structlog.get_logger(__name__)


class ResilientModel:
    """SpeechModel around one that may fail.

    Args:
        model: that speaks; its silence is limited, and its chunks have samples.
        clock: measures and waits.
        policy: all numbers.
        observer: told of changes of the breaker and of retries.
        random: gives numbers in [0, 1).
    """

    def __init__(
        self,
        model: SpeechModel,
        clock: Clock,
        policy: ResiliencePolicy,
        observer: SpeechObserver,
        random: Callable[[], float],
    ) -> None:
        self._model = model
        self._clock = clock
        self._retry = policy.retry
        self._observer = observer
        self._random = random
        self._has_opened = asyncio.Event()
        self._absent_since: float | None = None
        self._probing: asyncio.Task[None] | None = None
        self.breaker = CircuitBreaker(policy.breaker, random, self._breaker_changed)

    @property
    def info(self) -> ModelInfo:
        return self._model.info

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

    def split(self, paragraphs: Sequence[MappedText]) -> list[MappedText]:
        return self._model.split(paragraphs)

    async def synthesize(
        self, segment: TextSegment, params: SynthesisParams, due_at: float = 0.0
    ) -> AsyncGenerator[AudioChunk, None]:
        for num_retries in count():
            has_spoken = False
            try:
                async with aclosing(self._call(segment, params, due_at)) as chunks:
                    async for chunk in chunks:
                        has_spoken = True
                        yield chunk
            except SynthesisError as error:
                if has_spoken or not self._may_retry(error, num_retries):
                    raise
            else:
                return
            await self._clock.sleep(pause_s(self._retry, num_retries, self._random))

    def _may_retry(self, error: SynthesisError, num_retries: int) -> bool:
        if num_retries >= self._retry.max_retries or not may_help_to_retry(error):
            return False
        self._observer.speech_retried(error, num_retries + 1)
        return True

    async def _call(
        self, segment: TextSegment, params: SynthesisParams, due_at: float
    ) -> AsyncGenerator[AudioChunk, None]:
        """One attempt, with a permit that comes back however it ends."""
        permit = self._acquire()
        if permit.is_probe:  # everybody waits for it, so it is due now
            due_at = min(due_at, self._clock.monotonic())
        is_silent = True
        try:
            async with aclosing(self._model.synthesize(segment, params, due_at)) as chunks:
                async for chunk in chunks:
                    if is_silent and permit.is_probe:
                        self._record(permit, CallOutcome.SUCCESS)
                    is_silent = False
                    self._absent_since = None
                    yield chunk
        except BaseException as error:
            self._record(permit, self._outcome_of(error))
            if isinstance(error, SpeechError) or not isinstance(error, Exception):
                raise
            _log.exception("speech.model_raised")
            raise SynthesisError from error
        outcome = outcome_of_silence(segment.text) if is_silent else CallOutcome.SUCCESS
        self._record(permit, outcome)

    def _outcome_of(self, error: BaseException) -> CallOutcome:
        """As the domain says, but that no instance lives counts only if it lasts."""
        if not isinstance(error, NoInstanceError):
            return outcome_of(error)
        now = self._clock.monotonic()
        if self._absent_since is None:
            self._absent_since = now
        is_restart = now - self._absent_since < RESTART_S
        return CallOutcome.IGNORED if is_restart else outcome_of(error)

    def _acquire(self) -> Permit:
        permit = self.breaker.acquire(self._clock.monotonic())
        if isinstance(permit, Refusal):
            raise EngineUnavailableError(permit.retry_after_s)
        return permit

    def _record(self, permit: Permit, outcome: CallOutcome) -> None:
        self.breaker.record(permit, outcome, self._clock.monotonic())

    def _breaker_changed(self, old: BreakerState, new: BreakerState, reason: str) -> None:
        if new in {BreakerState.OPEN, BreakerState.HALF_OPEN}:
            self._has_opened.set()
        else:
            self._has_opened.clear()
        self._observer.breaker_changed(old, new, reason)

    async def _probe_while_open(self, segment: TextSegment) -> None:
        """Speak as soon as it is allowed: without it a model that nobody calls stays refused."""
        while True:
            await self._has_opened.wait()
            wait_s = self.breaker.wait_s(self._clock.monotonic())
            await self._clock.sleep(wait_s)
            if self._has_opened.is_set():
                await self._probe(segment)

    async def _probe(self, segment: TextSegment) -> None:
        params = SynthesisParams(self.info.voices[0])
        call = self._call(segment, params, self._clock.monotonic())
        async with aclosing(call) as chunks:
            with suppress(SpeechError):
                await anext(chunks, None)
