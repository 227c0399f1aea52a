"""The replica's side: a model that synthesizes for servers on other machines.

Ray Serve makes it, routes sentences to it, and replaces it if it dies or says that it is unwell.
"""

import os
from collections.abc import AsyncGenerator, Callable
from contextlib import aclosing
from contextvars import ContextVar
from importlib import import_module
from typing import Any, Final

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

ONLY_LOOPBACK: Final = "RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER"
"""Variable of Ray: "0" has its parts listen on the loopback address, also on Linux."""

MAX_SILENCE_S: Final = 30.0
"""Without audio for any of its sentences a replica hangs; on a busy one some have audio."""

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
        if os.environ.get(ONLY_LOOPBACK) == "0":  # noqa: TID251 - a switch of Ray
            _listen_on_loopback()
        self._assignment = assignment
        self._model, self._clock = build(assignment, _FailureCollector())
        self._num_running = 0
        self._audio_at = 0.0  # when there was any for the last time, or when work began
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
        if not self._num_running:
            self._audio_at = self._clock.monotonic()
        self._num_running += 1
        try:
            async with aclosing(self._model.synthesize(segment, params, due_at)) as chunks:
                async for chunk in chunks:
                    self._audio_at = self._clock.monotonic()
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
        finally:
            self._num_running -= 1
        for failure in failed:
            yield failure

    def check_health(self) -> None:
        """Called by Ray Serve, which replaces the replica if it raises."""
        is_silent = self._clock.monotonic() - self._audio_at > MAX_SILENCE_S
        if self._is_dead or (self._num_running and is_silent):
            raise InstanceDeadError

    def describe(self) -> bytes:
        """What the replica is."""
        return self._assignment


def _listen_on_loopback() -> None:
    """Have the port for other deployments open to this machine only.

    What arrives there is unpickled without a token; Ray's switch leaves this one port out.
    """
    replica: Any = import_module("ray.serve._private.replica")
    open_port = replica.add_port_to_grpc_server
    replica.add_port_to_grpc_server = lambda server, address: open_port(
        server, address.replace("[::]", "127.0.0.1")
    )
