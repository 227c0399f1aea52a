"""The worker's side: a model that speaks for another process.

Knows nothing of how the model is made, nor of the process it lives in.
"""

import asyncio
from collections.abc import Callable
from contextlib import aclosing
from contextvars import ContextVar
from typing import Final

import structlog

from app.adapters.speech.worker.channel import Channel
from app.adapters.speech.worker.failures import Failure, describe
from app.adapters.speech.worker.life import BEAT_S
from app.adapters.speech.worker.messages import (
    Beat,
    Close,
    Ended,
    Failed,
    Loaded,
    Sound,
    Speak,
    Stop,
    ToWorker,
)
from app.domain.errors import ModelLoadError, SentenceError, SpeechError, SynthesisError
from app.ports.clock import Clock
from app.ports.speech_model import SpeechModel
from app.ports.speech_observer import SentenceObserver

_SENTENCE: Final[ContextVar[int]] = ContextVar("sentence")

_log = structlog.get_logger(__name__)


class SentenceReporter:
    """SentenceObserver that tells the other process, of the sentence that is spoken."""

    def __init__(self, channel: Channel[ToWorker]) -> None:
        self._channel = channel

    def sentence_failed(self, error: SentenceError, attempt: int) -> None:
        self._channel.send(Failed(_SENTENCE.get(), describe(error), attempt))


class ModelServer:
    """Does what comes over a channel, beating all the time, also while the model loads.

    The event loop must stay free: what blocks belongs in threads, as everywhere.

    Attributes:
        num_running: sentences that are being spoken.
    """

    def __init__(self, channel: Channel[ToWorker], clock: Clock) -> None:
        self._channel = channel
        self._clock = clock
        self._speaking: dict[int, asyncio.Task[None]] = {}

    @property
    def num_running(self) -> int:
        return len(self._speaking)

    async def run(self, build: Callable[[SentenceObserver], SpeechModel]) -> bool:
        """Serve until told to close; False if the other process is gone, which nothing survives.

        Args:
            build: makes the model; what it raises is told.
        """
        beating = asyncio.create_task(self._beat())
        try:
            return await self._serve(build)
        finally:
            beating.cancel()

    async def _serve(self, build: Callable[[SentenceObserver], SpeechModel]) -> bool:
        try:
            model = build(SentenceReporter(self._channel))
        except Exception as error:  # noqa: BLE001 - the other process must hear of it
            self._channel.send(Loaded(_describe_load(error)))
            return await self._channel.receive() is not None
        loading = asyncio.create_task(self._load(model))
        while (received := await self._channel.receive()) is not None:
            match received[0]:
                case Speak() as order:
                    self._begin(model, order)
                case Stop(id=number) if number in self._speaking:
                    self._speaking[number].cancel()
                case Close():
                    loading.cancel()
                    await self._stop_all()
                    await model.close()
                    return True
                case _:
                    pass
        return False

    async def _load(self, model: SpeechModel) -> None:
        try:
            await model.load()
        except Exception as error:  # noqa: BLE001 - the other process must hear of it
            self._channel.send(Loaded(_describe_load(error)))
        else:
            self._channel.send(Loaded())

    def _begin(self, model: SpeechModel, order: Speak) -> None:
        task = asyncio.create_task(self._speak(model, order))
        self._speaking[order.id] = task
        task.add_done_callback(lambda task: self._end(order.id, task))

    async def _speak(self, model: SpeechModel, order: Speak) -> None:
        _SENTENCE.set(order.id)
        chunks = model.synthesize(order.segment, order.params, order.due_at)
        async with aclosing(chunks):
            async for chunk in chunks:
                sound = Sound(
                    order.id, chunk.sample_rate, chunk.num_input_tokens, chunk.num_output_tokens
                )
                self._channel.send(sound, chunk.samples.tobytes())
                await self._channel.drain()

    def _end(self, number: int, task: asyncio.Task[None]) -> None:
        """Say how a sentence ended; also of one that was stopped before it began."""
        del self._speaking[number]
        error = None if task.cancelled() else task.exception()
        self._channel.send(Ended(number, None if error is None else _describe(error)))

    async def _stop_all(self) -> None:
        tasks = list(self._speaking.values())
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def _beat(self) -> None:
        while True:
            self._channel.send(Beat())
            await self._clock.sleep(BEAT_S)


def _describe(error: BaseException) -> Failure:
    """A SpeechError as it is; anything else is logged here, and is a SynthesisError there."""
    if isinstance(error, SpeechError):
        return describe(error)
    _log.error("speech.model_raised", exc_info=error)
    return describe(SynthesisError())


def _describe_load(error: Exception) -> Failure:
    if isinstance(error, SpeechError):
        return describe(error)
    _log.error("model.load_raised", exc_info=error)
    return describe(ModelLoadError(f"The model cannot be loaded: {type(error).__name__}."))
