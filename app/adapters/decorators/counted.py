"""A model whose sentences are counted while it has them."""

from collections.abc import AsyncGenerator
from contextlib import aclosing

from app.adapters.decorators.around import AroundModel
from app.domain.audio import AudioChunk
from app.domain.segment import TextSegment
from app.domain.speech import SynthesisParams
from app.ports.speech_model import SpeechModel
from app.ports.speech_observer import SpeechObserver


class CountedModel(AroundModel):
    """SpeechModel that tells an observer how many sentences another has at once.

    Those count that it was given, whether it speaks them already or lets them wait.
    """

    def __init__(self, model: SpeechModel, observer: SpeechObserver) -> None:
        super().__init__(model)
        self._observer = observer
        self._num_running = 0

    async def synthesize(
        self, segment: TextSegment, params: SynthesisParams, due_at: float = 0.0
    ) -> AsyncGenerator[AudioChunk, None]:
        self._num_running += 1
        self._observer.sentence_begun(self._num_running)
        try:
            async with aclosing(self._model.synthesize(segment, params, due_at)) as chunks:
                async for chunk in chunks:
                    yield chunk
        finally:
            self._num_running -= 1
            self._observer.sentence_ended(self._num_running)
