"""What all models around another one have in common."""

from collections.abc import Sequence

from app.domain.speech import ModelInfo
from app.domain.text.mapped_text import MappedText
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

    def split(self, paragraphs: Sequence[MappedText]) -> list[MappedText]:
        return self._model.split(paragraphs)
