"""What all models around another one have in common."""

from app.domain.segment import TextSegment
from app.domain.speech import ModelInfo
from app.ports.speech_model import SpeechModel


class AroundModel:
    """All of SpeechModel but `synthesize`, as another model has it."""

    def __init__(self, model: SpeechModel) -> None:
        self._model = model

    @property
    def info(self) -> ModelInfo:
        return self._model.info

    async def load(self) -> None:
        await self._model.load()

    async def close(self) -> None:
        await self._model.close()

    def split(self, text: str) -> list[TextSegment]:
        return self._model.split(text)
