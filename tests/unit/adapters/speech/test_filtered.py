import math
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from app.adapters.speech.filtered import (
    FilterChain,
    FilteredModel,
    chain_tempos,
    measure_loudness,
)
from app.domain.audio import AudioChunk
from app.domain.errors import RunawaySpeechError
from app.domain.segment import TextSegment
from app.domain.speech import SynthesisParams
from tests.examples import examples
from tests.fakes.speech_model import HUM_HZ, FakeSpeechModel

RATE = 16_000
SEGMENT = TextSegment(0, "A sentence of a reasonable length, so that there is some sound.")


async def speak(model: FilteredModel, speed: float) -> np.ndarray:
    voice = model.info.voices[0]
    chunks = [
        chunk.samples async for chunk in model.synthesize(SEGMENT, SynthesisParams(voice, speed))
    ]
    return np.concatenate(chunks)


@pytest.mark.parametrize("speed", [0.25, 0.5, 0.79, 1.3, 2.0, 3.3, 4.0])
async def test_any_speed_changes_the_duration_and_not_the_pitch(speed: float) -> None:
    model = FilteredModel(FakeSpeechModel())
    normal = await speak(model, 1.0)
    changed = await speak(model, speed)
    assert len(normal) / len(changed) == pytest.approx(speed, rel=0.05)
    spectrum = np.abs(np.fft.rfft(changed * np.hanning(len(changed))))
    assert np.argmax(spectrum) * RATE / len(changed) == pytest.approx(HUM_HZ, abs=5)


@pytest.mark.parametrize(("speed", "own_speed"), [(0.25, 0.8), (1.1, 1.1), (4.0, 1.25)])
async def test_the_model_does_what_it_can_by_itself(speed: float, own_speed: float) -> None:
    model = FakeSpeechModel()
    await speak(FilteredModel(model), speed)
    assert model.spoken == [(SEGMENT.text, "bee", own_speed)]


async def test_at_its_own_speeds_the_samples_pass_untouched() -> None:
    stretched = await speak(FilteredModel(FakeSpeechModel()), 1.0)
    voice = FakeSpeechModel().info.voices[0]
    plain = [c.samples async for c in FakeSpeechModel().synthesize(SEGMENT, SynthesisParams(voice))]
    assert np.array_equal(stretched, np.concatenate(plain))


async def test_it_claims_all_speeds_of_the_contract() -> None:
    info = FilteredModel(FakeSpeechModel()).info
    assert (info.min_speed, info.max_speed) == (0.25, 4.0)


@given(st.floats(0.05, 20.0))
def test_chained_tempos_multiply_to_the_one_asked_for(tempo: float) -> None:
    factors = chain_tempos(tempo)
    assert all(0.5 <= factor <= 2.0 for factor in factors)
    assert math.prod(factors) == pytest.approx(tempo)


WINDOW = 2_048
"""Samples that `atempo` looks ahead; it may blend at other places when chunks end elsewhere."""


@settings(max_examples=examples(25), deadline=None)
@given(st.lists(st.integers(1, 4_000), min_size=1, max_size=10), st.sampled_from([0.3, 0.7, 1.9]))
def test_chunks_give_the_duration_of_the_whole_and_always_the_same_samples(
    sizes: list[int], tempo: float
) -> None:
    samples = np.sin(np.arange(sum(sizes)) / 11).astype(np.float32)
    often = stretch(samples, sizes, tempo)
    assert len(often) == pytest.approx(len(samples) / tempo, abs=2 * WINDOW / tempo)
    assert len(often) == pytest.approx(len(stretch(samples, [len(samples)], tempo)), abs=WINDOW)
    assert np.array_equal(often, stretch(samples, sizes, tempo))


def stretch(samples: np.ndarray, sizes: list[int], tempo: float) -> np.ndarray:
    stretcher = FilterChain(RATE, [("atempo", repr(each)) for each in chain_tempos(tempo)])
    chunks: list[AudioChunk] = []
    for start, end in pairwise(np.cumsum([0, *sizes])):
        chunks += stretcher.push(AudioChunk(samples[start:end], RATE))
    chunks += stretcher.finish()
    return np.concatenate([np.zeros(0, np.float32), *(chunk.samples for chunk in chunks)])


def test_without_input_there_is_no_output() -> None:
    assert FilterChain(RATE, [("atempo", "0.5")]).finish() == []


async def test_a_voice_gets_the_loudness_that_is_set() -> None:
    model = FilteredModel(FakeSpeechModel(), -16.0)
    await model.load()
    samples = await speak(model, 1.0)
    assert measure_loudness(samples, RATE) == pytest.approx(-16.0, abs=0.1)
    plain = await speak(FilteredModel(FakeSpeechModel()), 1.0)
    assert len(samples) == len(plain)
    assert np.argmax(samples) == pytest.approx(np.argmax(plain), abs=RATE / HUM_HZ)


async def test_what_would_be_too_loud_is_limited() -> None:
    model = FilteredModel(FakeSpeechModel(), 0.0)
    await model.load()
    samples = await speak(model, 1.3)
    assert 0.8 < np.abs(samples).max() <= 0.9
    assert np.array_equal(samples, await speak(model, 1.3))


def test_silence_has_no_loudness() -> None:
    assert measure_loudness(np.zeros(RATE, np.float32), RATE) is None
    assert measure_loudness(np.zeros(0, np.float32), RATE) is None


async def test_a_voice_that_cannot_be_measured_stays_as_it_is() -> None:
    fake = FakeSpeechModel()
    fake.failures = [RunawaySpeechError("It goes on.")]
    model = FilteredModel(fake, -16.0)
    await model.load()
    plain = await speak(FilteredModel(FakeSpeechModel()), 1.0)
    assert np.array_equal(await speak(model, 1.0), plain)
