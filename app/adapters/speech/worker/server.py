"""The worker's side: a model that synthesizes for another process.

Knows nothing of how the model is made, nor of the process it lives in.
"""

import asyncio
from collections.abc import Callable
from contextlib import aclosing
from contextvars import ContextVar
from functools import partial
from typing import Final

import structlog

from app.adapters.speech.worker.protocol import (
    HEARTBEAT_S,
    AttemptFailed,
    Audio,
    CancelSegment,
    Channel,
    Close,
    Heartbeat,
    Loaded,
    SegmentEnded,
    Synthesize,
    ToWorker,
    describe,
)
from app.domain.errors import ModelLoadError, SentenceError, SpeechError
from app.ports.clock import Clock
from app.ports.speech_model import SpeechModel
from app.ports.telemetry import SentenceObserver

_SENTENCE: Final[ContextVar[int]] = ContextVar("sentence")

_log = structlog.get_logger(__name__)


class ModelServer:
    """Does what comes over a channel, heartbeats all the time, also while the model loads.

    The event loop must stay free: what blocks belongs in threads, as everywhere. As the model's
    SentenceObserver it reports to the other process.
    """

    def __init__(self, channel: Channel[ToWorker], clock: Clock) -> None:
        self._channel = channel
        self._clock = clock
        self._model: SpeechModel | None = None
        self._running: dict[int, asyncio.Task[None]] = {}

    def sentence_failed(self, error: SentenceError, attempt: int) -> None:
        self._channel.send(AttemptFailed(_SENTENCE.get(), describe(error), attempt))

    async def run(self, build: Callable[[SentenceObserver], SpeechModel]) -> bool:
        """Serve until told to close; False if the other process is gone, which nothing survives.

        What `build` raises is told.
        """
        heartbeats = asyncio.create_task(self._send_heartbeats())
        loading = asyncio.create_task(self._load(build))
        try:
            while (message := await self._channel.receive()) is not None:
                match message:
                    case Synthesize() as order if self._model is not None:
                        task = asyncio.create_task(self._synthesize(self._model, order))
                        self._running[order.id] = task
                        task.add_done_callback(partial(self._end, order.id))
                    case CancelSegment(id=number) if number in self._running:
                        self._running[number].cancel()
                    case Close():
                        loading.cancel()
                        running = list(self._running.values())
                        for task in running:
                            task.cancel()
                        await asyncio.gather(*running, return_exceptions=True)
                        if self._model is not None:
                            await self._model.close()
                        return True
                    case _:
                        pass
            return False
        finally:
            heartbeats.cancel()

    async def _load(self, build: Callable[[SentenceObserver], SpeechModel]) -> None:
        failure = None
        try:
            self._model = build(self)
            await self._model.load()
        except SpeechError as error:
            failure = describe(error)
        except Exception as error:  # noqa: BLE001 - the other process must hear of it
            _log.error("model.load_raised", exc_info=error)
            reason = f"The model cannot be loaded: {type(error).__name__}."
            failure = describe(ModelLoadError(reason))
        self._channel.send(Loaded(failure))

    async def _synthesize(self, model: SpeechModel, order: Synthesize) -> None:
        _SENTENCE.set(order.id)
        chunks = model.synthesize(order.segment, order.params, order.due_at)
        async with aclosing(chunks):
            async for chunk in chunks:
                self._channel.send(Audio(order.id, chunk))
                await self._channel.drain()

    def _end(self, number: int, task: asyncio.Task[None]) -> None:
        """Report how a segment ended, also one that was cancelled before it began."""
        del self._running[number]
        error = None if task.cancelled() else task.exception()
        self._channel.send(SegmentEnded(number, None if error is None else describe(error)))

    async def _send_heartbeats(self) -> None:
        while True:
            self._channel.send(Heartbeat())
            await self._clock.sleep(HEARTBEAT_S)
