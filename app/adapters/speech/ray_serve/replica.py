"""The replica's side: a model that synthesizes for servers on other machines.

Ray Serve makes it, routes sentences to it, and replaces it if it dies or says that it is unwell.
"""

from collections.abc import AsyncGenerator, Callable
from contextlib import aclosing
from contextvars import ContextVar
from typing import Final

import msgspec
import structlog

from app.adapters.speech.worker.protocol import Failure, describe
from app.domain.audio import AudioChunk
from app.domain.errors import InstanceDeadError, SentenceError, SpeechError, SynthesisError
from app.domain.resilience import PROBE_TEXT
from app.domain.segment import TextSegment
from app.domain.speech import SynthesisParams
from app.domain.text.front_end import segment_text
from app.ports.clock import Clock
from app.ports.speech_model import SpeechModel
from app.ports.telemetry import SentenceObserver


class FailedAttempt(msgspec.Struct, frozen=True):
    """What `SentenceObserver.sentence_failed` was told; the sentence goes on."""

    failure: Failure
    attempt: int


Item = AudioChunk | FailedAttempt | Failure
"""What a sentence gives; nothing follows a Failure. Errors are data: not all can be pickled."""

BuildReplica = Callable[[bytes, SentenceObserver], tuple[SpeechModel, Clock]]
"""Makes the model that an assignment describes; pickled by its name, so it belongs to a module."""

_FAILED: Final[ContextVar[list[Item]]] = ContextVar("failed")

_log = structlog.get_logger(__name__)


class _FailureCollector:
    """SentenceObserver that keeps failures for the stream of the sentence."""

    def sentence_failed(self, error: SentenceError, attempt: int) -> None:
        _FAILED.get([]).append(FailedAttempt(describe(error), attempt))


class Replica:
    """One replica: loads its model before it is asked for anything, and warms it up."""

    async def __init__(  # type: ignore[misc] # Ray Serve awaits it
        self, build: BuildReplica, assignment: bytes
    ) -> None:
        self._model, self._clock = build(assignment, _FailureCollector())
        self._is_dead = False
        await self._model.load()
        probe = segment_text(PROBE_TEXT, self._model.split)[0]
        async for _ in self.synthesize(probe, SynthesisParams(self._model.info.voices[0]), 0.0):
            pass

    async def synthesize(
        self, segment: TextSegment, params: SynthesisParams, due_in_s: float
    ) -> AsyncGenerator[Item, None]:
        """What `SpeechModel.synthesize` gives; clocks of machines differ, so due is relative."""
        failed: list[Item] = []
        _FAILED.set(failed)
        due_at = self._clock.monotonic() + due_in_s
        try:
            async with aclosing(self._model.synthesize(segment, params, due_at)) as chunks:
                async for chunk in chunks:
                    while failed:
                        yield failed.pop(0)
                    yield chunk
        except InstanceDeadError as error:
            self._is_dead = True
            failed.append(describe(error))
        except SpeechError as error:
            failed.append(describe(error))
        except Exception:  # noqa: BLE001 - the server is told
            _log.exception("speech.model_raised")
            failed.append(describe(SynthesisError()))
        for failure in failed:
            yield failure

    def check_health(self) -> None:
        """Called by Ray Serve, which replaces the replica if it raises."""
        if self._is_dead:
            raise InstanceDeadError
