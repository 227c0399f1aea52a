"""A model whose sentences are followed, each as a span of its request."""

from collections.abc import AsyncGenerator
from contextlib import aclosing

from app.adapters.decorators.around import AroundModel
from app.domain.audio import AudioChunk
from app.domain.errors import SpeechError
from app.domain.segment import TextSegment
from app.domain.speech import SynthesisParams
from app.ports.speech_model import SpeechModel
from app.ports.tracing import Tracing


class TracedModel(AroundModel):
    """SpeechModel that tells when another began a sentence, gave its first sound and was done.

    A sentence that several requests share is a span of the first one.
    """

    def __init__(self, model: SpeechModel, tracing: Tracing) -> None:
        super().__init__(model)
        self._tracing = tracing

    async def synthesize(
        self, segment: TextSegment, params: SynthesisParams, due_at: float = 0.0
    ) -> AsyncGenerator[AudioChunk, None]:
        known = {"soprano.sentence": segment.index, "soprano.characters": len(segment.text)}
        span = self._tracing.begin("speech.sentence", known)
        audio_s, outcome, error = 0.0, "cancelled", None
        try:
            async with aclosing(self._model.synthesize(segment, params, due_at)) as chunks:
                async for chunk in chunks:
                    if not audio_s:
                        span.add_event("speech.first_audio")
                    audio_s += chunk.duration_s
                    yield chunk
            outcome = "completed"
        except Exception as failure:
            outcome, error = "failed", _code(failure)
            raise
        finally:
            span.end({"soprano.outcome": outcome, "soprano.audio_s": audio_s}, error)


def _code(failure: Exception) -> str:
    return failure.code if isinstance(failure, SpeechError) else type(failure).__name__
