"""What every SpeechModel keeps, whatever is behind it."""

import sys
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import ExitStack, aclosing
from pathlib import Path

import numpy as np
import pytest
import pytest_asyncio

from app.adapters.speech.cache import CachedModel, MemoryCache
from app.adapters.speech.embedded_voice import EmbeddedVoice
from app.adapters.speech.filtered import FilteredModel
from app.adapters.speech.pool import PooledModel
from app.adapters.speech.resilient import ResilientModel
from app.domain.resilience import ResiliencePolicy, TimeLimits
from app.domain.segment import TextSegment
from app.domain.speech import SynthesisParams
from app.domain.text.front_end import segment_text
from app.ports.speech_model import SpeechModel
from tests.examples import table
from tests.fakes.clock import FakeClock
from tests.fakes.speech_model import FakeSpeechModel
from tests.fakes.speech_observer import FakeSpeechObserver
from tests.network import own_network
from tests.obedient_worker import isolated
from tests.pools import pool_of
from tests.replicas import build_fake, build_onnx, on_ray
from tests.soprano_models import STANDINS, build_soprano

REAL = pytest.mark.integration
ON_RAY = [pytest.mark.nightly, pytest.mark.filterwarnings("ignore")]  # Ray has many

# A decorator changes what the model behind it gives, whatever that is: it is tested over the fake.
MODELS: dict[str, Callable[[Path], SpeechModel]] = {
    "fake": lambda _: FakeSpeechModel(),
    "stretched fake": lambda _: FilteredModel(FakeSpeechModel()),
    "louder fake": lambda _: FilteredModel(FakeSpeechModel(), -16.0),
    "cached fake": lambda _: cached(FakeSpeechModel()),
    "cached nothing": lambda _: cached(FakeSpeechModel(), max_bytes=0),
    "pooled fake": lambda _: pooled(),
    "resilient fake": lambda _: resilient(FakeSpeechModel()),
    "resilient pooled fake": lambda _: resilient(pooled()),
}
BACKENDS: dict[str, Callable[[Path], SpeechModel]] = {
    "embedded": lambda _: EmbeddedVoice(),
    "transformers": lambda checkpoint: build_soprano("transformers", checkpoint),
    "lmdeploy": lambda checkpoint: build_soprano("lmdeploy", checkpoint),
    "onnx": lambda checkpoint: build_soprano("onnx", checkpoint),
    "onnx int8": lambda checkpoint: build_soprano("onnx int8", checkpoint),
    "cached onnx": lambda checkpoint: cached(FilteredModel(build_soprano("onnx", checkpoint))),
    "isolated fake": lambda _: isolated(),
    "resilient pooled isolated fake": lambda _: resilient(
        PooledModel(
            lambda _, on_death: isolated(on_death=on_death),
            1,
            FakeClock(),
            FakeSpeechObserver(),
            TimeLimits(),
        )
    ),
    "resilient embedded": lambda _: resilient(pool_of(EmbeddedVoice(), FakeClock())),
}
REPLICAS: dict[str, Callable[[Path], SpeechModel]] = {
    "fake on Ray Serve": lambda _: on_ray(FakeSpeechModel(), build_fake),
    "onnx on Ray Serve": lambda checkpoint: on_ray(
        build_soprano("onnx", checkpoint), build_onnx, str(checkpoint).encode()
    ),
}
pytestmark = pytest.mark.asyncio(loop_scope="module")

TEXT = "The first sentence of this text is here. And this, my friends, is the second one."


def resilient(model: SpeechModel) -> ResilientModel:
    clock, policy = FakeClock(), ResiliencePolicy()
    return ResilientModel(model, clock, policy, FakeSpeechObserver(), lambda: 0.5)


def pooled() -> PooledModel:
    return PooledModel(
        lambda *_: FakeSpeechModel(), 2, FakeClock(), FakeSpeechObserver(), TimeLimits()
    )


def cached(model: SpeechModel, max_bytes: int = 10_000_000) -> CachedModel:
    return CachedModel(model, MemoryCache(max_bytes), None, lambda: "tested", 0.0)


@pytest.fixture(
    scope="module",
    params=[
        *MODELS,
        *(pytest.param(name, marks=REAL) for name in BACKENDS),
        *(pytest.param(name, marks=ON_RAY) for name in REPLICAS),
    ],
)
def build(request: pytest.FixtureRequest) -> Iterator[Callable[[], SpeechModel]]:
    """One of the models, not loaded; the tests of a name follow each other."""
    name = request.param
    with pytest.MonkeyPatch.context() as patch, ExitStack() as stack:
        patch.syspath_prepend(str(STANDINS))
        if name in MODELS:
            yield lambda: MODELS[name](Path())
        else:
            if name in REPLICAS:
                stack.enter_context(own_network())
            make_checkpoint = request.getfixturevalue("make_checkpoint")
            build = {**BACKENDS, **REPLICAS}[name]
            yield lambda: build(make_checkpoint(tokens_per_sentence=30))
    sys.modules.pop("lmdeploy", None)


@pytest.fixture
def unloaded(build: Callable[[], SpeechModel]) -> SpeechModel:
    return build()


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def model(build: Callable[[], SpeechModel]) -> AsyncIterator[SpeechModel]:
    """Loaded once for all tests."""
    model = build()
    await model.load()
    yield model
    await model.close()


async def speak(model: SpeechModel, text: str, speed: float = 1.0) -> np.ndarray:
    samples = []
    async with aclosing(
        model.synthesize(TextSegment(0, text), SynthesisParams(model.info.voices[0], speed))
    ) as chunks:
        async for chunk in chunks:
            assert chunk.num_samples > 0
            assert chunk.sample_rate == model.info.sample_rate
            samples.append(chunk.samples)
    return np.concatenate(samples)


async def test_it_knows_itself_and_splits_before_it_is_loaded(unloaded: SpeechModel) -> None:
    assert unloaded.info.voices
    assert unloaded.info.min_speed <= 1.0 <= unloaded.info.max_speed
    assert len(segment_text(TEXT, unloaded.split)) == 2


async def test_it_can_be_closed_unloaded_and_twice(unloaded: SpeechModel) -> None:
    await unloaded.close()
    await unloaded.close()
    assert segment_text(TEXT, unloaded.split)


async def test_its_info_does_not_change_by_loading(model: SpeechModel) -> None:
    before = model.info
    await speak(model, "Hello.")
    assert model.info == before


async def test_a_sentence_is_audible_and_within_full_scale(model: SpeechModel) -> None:
    samples = await speak(model, "Hello there, my friends.")
    assert 0.01 < np.abs(samples).max() <= 1.0
    assert 0.2 < len(samples) / model.info.sample_rate < 10


async def test_the_same_words_give_the_same_samples(model: SpeechModel) -> None:
    first = await speak(model, "Once more, with feeling.")
    second = await speak(model, "Once more, with feeling.")
    assert np.array_equal(first, second)


async def test_segments_hold_every_word_in_order(model: SpeechModel) -> None:
    segments = segment_text(TEXT, model.split)
    assert [segment.index for segment in segments] == list(range(len(segments)))
    words = " ".join(segment.text for segment in segments).split()
    assert words in (TEXT.split(), TEXT.lower().split())


@table("text", ["", " ", "...", "😀"])
async def test_nothing_to_pronounce_is_no_segment(model: SpeechModel, text: str) -> None:
    assert segment_text(text, model.split) == []


async def test_slower_is_longer_and_faster_is_shorter(model: SpeechModel) -> None:
    info = model.info
    normal = len(await speak(model, TEXT))
    for speed in {info.min_speed, info.max_speed} - {1.0}:
        assert normal / len(await speak(model, TEXT, speed)) == pytest.approx(speed, rel=0.1)


async def test_closing_a_generator_early_leaves_the_model_usable(model: SpeechModel) -> None:
    chunks = model.synthesize(TextSegment(0, TEXT), SynthesisParams(model.info.voices[0]))
    await anext(chunks)
    await chunks.aclose()
    assert len(await speak(model, "Still here."))


async def test_it_counts_what_it_reads_and_draws(model: SpeechModel) -> None:
    async def count(text: str) -> tuple[int, int]:
        segment, params = TextSegment(0, text), SynthesisParams(model.info.voices[0])
        chunks = [chunk async for chunk in model.synthesize(segment, params)]
        num_read = sum(chunk.num_input_tokens for chunk in chunks)
        return num_read, sum(chunk.num_output_tokens for chunk in chunks)

    short, long = await count("Hello there."), await count(TEXT)
    assert 0 < short[0] < long[0]
    assert 0 < short[1] <= long[1]
