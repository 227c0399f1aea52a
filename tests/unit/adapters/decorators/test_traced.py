import pytest

from app.adapters.decorators.traced import TracedModel
from app.domain.errors import SynthesisError
from app.domain.segment import TextSegment
from app.domain.speech import SynthesisParams
from tests.fakes.speech_model import FAKE_INFO, FakeSpeechModel
from tests.fakes.tracing import FakeTracing

PARAMS = SynthesisParams(FAKE_INFO.voices[0])
SENTENCE = TextSegment(3, "A secret sentence.")


async def test_a_sentence_is_a_span_with_its_first_sound_and_without_its_text() -> None:
    tracing = FakeTracing()
    model = TracedModel(FakeSpeechModel(), tracing)
    audio_s = sum([chunk.duration_s async for chunk in model.synthesize(SENTENCE, PARAMS)])
    (span,) = tracing.spans
    assert span.name == "speech.sentence"
    assert span.events == ["speech.first_audio"]
    assert span.attributes == {
        "soprano.sentence": 3,
        "soprano.characters": len(SENTENCE.text),
        "soprano.outcome": "completed",
        "soprano.audio_s": audio_s,
    }
    assert (span.error, span.num_ends) == (None, 1)


@pytest.mark.parametrize(
    ("failure", "code"),
    [(SynthesisError(), "synthesis_failed"), (ZeroDivisionError("secret"), "ZeroDivisionError")],
)
async def test_a_sentence_that_fails_is_a_span_with_an_error(failure: Exception, code: str) -> None:
    tracing, fake = FakeTracing(), FakeSpeechModel()
    fake.failures = [failure]
    with pytest.raises(type(failure)):
        await anext(TracedModel(fake, tracing).synthesize(SENTENCE, PARAMS))
    (span,) = tracing.spans
    assert (span.error, span.num_ends, span.events) == (code, 1, [])
    assert span.attributes["soprano.outcome"] == "failed"


async def test_a_sentence_that_nobody_hears_to_its_end_is_no_error() -> None:
    tracing = FakeTracing()
    chunks = TracedModel(FakeSpeechModel(), tracing).synthesize(SENTENCE, PARAMS)
    await anext(chunks)
    await chunks.aclose()
    (span,) = tracing.spans
    assert (span.attributes["soprano.outcome"], span.error) == ("cancelled", None)
    assert span.num_ends == 1
