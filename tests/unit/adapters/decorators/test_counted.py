from contextlib import aclosing

import pytest

from app.adapters.decorators.counted import CountedModel
from app.domain.errors import SynthesisError
from app.domain.segment import TextSegment
from app.domain.speech import SynthesisParams
from tests.fakes.speech_model import FAKE_INFO, FakeSpeechModel
from tests.fakes.speech_observer import FakeSpeechObserver

PARAMS = SynthesisParams(FAKE_INFO.voices[0])


async def test_sentences_count_from_the_first_chunk_asked_for_to_their_end() -> None:
    observer = FakeSpeechObserver()
    model = CountedModel(FakeSpeechModel(), observer)
    first = model.synthesize(TextSegment(0, "First sentence."), PARAMS)
    second = model.synthesize(TextSegment(1, "Second sentence."), PARAMS)
    assert observer.nums_running == []
    await anext(first)
    await anext(second)
    assert observer.nums_running == [1, 2]
    await second.aclose()
    assert [chunk async for chunk in first]
    assert observer.nums_running == [1, 2, 1, 0]


async def test_a_sentence_that_fails_counts_no_longer() -> None:
    observer, fake = FakeSpeechObserver(), FakeSpeechModel()
    fake.failures = [SynthesisError()]
    model = CountedModel(fake, observer)
    with pytest.raises(SynthesisError):
        async with aclosing(model.synthesize(TextSegment(0, "One."), PARAMS)) as chunks:
            await anext(chunks)
    assert observer.nums_running == [1, 0]
