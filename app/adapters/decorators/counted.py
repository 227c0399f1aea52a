"""A model whose sentences are counted while it has them."""

from collections.abc import AsyncGenerator
from contextlib import aclosing

from app.domain.audio import AudioChunk
from app.domain.segment import TextSegment
from app.domain.speech import Delivery, ModelInfo
from app.ports.speech_model import SpeechModel
from app.ports.speech_observer import SpeechObserver


class CountedModel:
    """SpeechModel that tells an observer how many sentences another has at once.

    Those count that it was given, whether it speaks them already or lets them wait.
    """

    def __init__(self, model: SpeechModel, observer: SpeechObserver) -> None:
        self._model = model
        self._observer = observer
        self._num_running = 0

    @property
    def info(self) -> ModelInfo:
        return self._model.info

    async def load(self) -> None:
        await self._model.load()

    async def close(self) -> None:
        await self._model.close()

    def split(self, text: str) -> list[TextSegment]:
        return self._model.split(text)

    async def synthesize(
        self, segment: TextSegment, delivery: Delivery, due_at: float = 0.0
    ) -> AsyncGenerator[AudioChunk, None]:
        self._num_running += 1
        self._observer.sentence_begun(self._num_running)
        try:
            async with aclosing(self._model.synthesize(segment, delivery, due_at)) as chunks:
                async for chunk in chunks:
                    yield chunk
        finally:
            self._num_running -= 1
            self._observer.sentence_ended(self._num_running)
