"""Soprano through both backends, on tiny checkpoints whose durations are known."""

import asyncio
import contextlib
import io
from collections.abc import AsyncIterator, Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import structlog.testing

from app.adapters.speech.soprano.engine import Sampling
from app.adapters.speech.soprano.model import SopranoModel
from app.adapters.speech.soprano.onnx.engine import OnnxEngine
from app.adapters.speech.soprano.torch.lmdeploy import LmdeployLanguageModel
from app.adapters.speech.soprano.torch.transformers import load_transformers
from app.domain.errors import (
    DeviceError,
    InstanceDeadError,
    RunawaySpeechError,
    SynthesisError,
    TruncatedSpeechError,
)
from app.domain.segment import TextSegment
from app.domain.speech import SynthesisParams
from app.domain.text.front_end import segment_text
from tests.checkpoints.build import expected_samples
from tests.held_call import HeldCall
from tests.soprano_models import build_soprano, load_standin

MakeCheckpoint = Callable[..., Path]
BuildModel = Callable[..., SopranoModel]
TEXT = (
    "The first sentence of this text is here. The second one, which is longer, follows at once; "
    "and then there is a third, with 3 numbers in it!"
)
SENTENCE = TextSegment(0, "a sentence that is neither short nor long.")


@pytest.fixture(params=["transformers", "lmdeploy", "onnx"])
def build_model(request: pytest.FixtureRequest, lmdeploy_standin: None) -> BuildModel:
    return partial(build_soprano, request.param)


async def speak(model: SopranoModel, segment: TextSegment = SENTENCE) -> np.ndarray:
    voice = model.info.voices[0]
    chunks = [chunk.samples async for chunk in model.synthesize(segment, SynthesisParams(voice))]
    return np.concatenate(chunks)


@contextlib.asynccontextmanager
async def loaded(model: SopranoModel) -> AsyncIterator[SopranoModel]:
    await model.load()
    try:
        yield model
    finally:
        await model.close()


def reference(directory: Path, text: str) -> np.ndarray:
    """What the package makes of a text."""
    from soprano.tts import SopranoTTS

    with contextlib.redirect_stdout(io.StringIO()):
        package = SopranoTTS(backend="transformers", device="cpu", model_path=str(directory))
        samples: np.ndarray = package.infer(text).numpy()
    return samples


@pytest.mark.parametrize("num_tokens", [5, 12, 60])
async def test_a_sentence_has_the_duration_its_tokens_dictate(
    build_model: BuildModel, make_checkpoint: MakeCheckpoint, num_tokens: int
) -> None:
    directory = make_checkpoint(tokens_per_sentence=num_tokens)
    async with loaded(build_model(directory)) as model:
        assert len(await speak(model)) == expected_samples(num_tokens)


async def test_the_samples_are_those_of_the_package(
    build_model: BuildModel, make_checkpoint: MakeCheckpoint
) -> None:
    directory = make_checkpoint(tokens_per_sentence=40)
    async with loaded(build_model(directory)) as model:
        spoken = [await speak(model, segment) for segment in segment_text(TEXT, model.split)]
        ours = np.concatenate(spoken)
    theirs = reference(directory, TEXT)
    peak = np.abs(theirs).max()
    assert peak > 0.05
    assert len(ours) == len(theirs)
    # Same weights and arithmetic, in pieces of another length: float32 rounding only.
    assert np.abs(ours - theirs).max() <= 1e-4 * peak


async def test_a_decoder_of_version_1_0_speaks_too(
    build_model: BuildModel, make_checkpoint: MakeCheckpoint
) -> None:
    directory = make_checkpoint(tokens_per_sentence=20, decoder_version="1.0")
    async with loaded(build_model(directory)) as model:
        samples = await speak(model)
    assert len(samples) == expected_samples(20)
    assert 0.05 < np.abs(samples).max() < 1.0


async def test_sentences_at_once_sound_as_they_do_alone(
    build_model: BuildModel, make_checkpoint: MakeCheckpoint
) -> None:
    directory = make_checkpoint(tokens_per_sentence=15)
    segments = [TextSegment(n, "word " * (n + 1) + "and an end.") for n in range(8)]
    async with loaded(build_model(directory)) as model:
        alone = [await speak(model, segment) for segment in segments]
        together = await asyncio.gather(*(speak(model, segment) for segment in segments))
    for one, other in zip(alone, together, strict=True):
        assert len(one) == len(other)
        assert np.abs(one - other).max() <= 1e-4 * np.abs(one).max()


async def test_the_first_chunk_comes_after_few_tokens(
    build_model: BuildModel, make_checkpoint: MakeCheckpoint
) -> None:
    directory = make_checkpoint(tokens_per_sentence=60)
    async with loaded(build_model(directory)) as model:
        chunks = model.synthesize(SENTENCE, SynthesisParams(model.info.voices[0]))
        first = await anext(chunks)
        assert first.num_samples <= 2_048
        await chunks.aclose()


def drawing(model: SopranoModel) -> tuple[Any, str]:
    """Whose method draws the tokens of a model, and its name."""
    engine: Any = model.engine
    if isinstance(engine, OnnxEngine):
        return engine._language_model, "decode"
    language_model = engine.language_model
    if isinstance(language_model, LmdeployLanguageModel):
        return language_model._pipeline, "_draw"
    return language_model._batch, "step"


async def test_a_closed_sentence_draws_no_token_after_the_one_that_had_begun(
    build_model: BuildModel, make_checkpoint: MakeCheckpoint
) -> None:
    directory = make_checkpoint(tokens_per_sentence=400)
    async with loaded(build_model(directory)) as model:
        held = HeldCall(*drawing(model), 100)
        chunks = model.synthesize(SENTENCE, SynthesisParams(model.info.voices[0]))
        await anext(chunks)
        await asyncio.to_thread(held.wait_until_begun)
        await chunks.aclose()
        held.go_on()
        await asyncio.sleep(0.5)
        assert held.num_calls == 100


async def test_a_sentence_that_runs_away_is_begun_again_and_then_an_error(
    build_model: BuildModel, make_checkpoint: MakeCheckpoint
) -> None:
    directory = make_checkpoint(loops=True)
    async with loaded(build_model(directory, max_regenerations=2)) as model:
        chunks = []
        with pytest.raises(RunawaySpeechError):
            async for chunk in model.synthesize(SENTENCE, SynthesisParams(model.info.voices[0])):
                chunks.append(chunk)
    assert sum(chunk.num_samples for chunk in chunks) < expected_samples(17)


@pytest.mark.parametrize("backend", ["transformers", "onnx"])  # the stand-in of lmdeploy is greedy
async def test_a_sentence_that_runs_away_greedily_is_drawn_again_and_heard_whole(
    make_checkpoint: MakeCheckpoint, backend: str
) -> None:
    directory = make_checkpoint(loops="greedily", tokens_per_sentence=20)
    async with loaded(build_soprano(backend, directory, max_regenerations=8)) as model:
        first, again = [await speak(model) for _ in range(2)]
    assert len(first) == expected_samples(20)
    assert np.array_equal(first, again)


async def test_a_sentence_that_never_ends_is_an_error_and_never_whole(
    build_model: BuildModel, make_checkpoint: MakeCheckpoint
) -> None:
    directory = make_checkpoint(never_stops=True)
    async with loaded(build_model(directory)) as model:
        with pytest.raises(TruncatedSpeechError):
            await speak(model)


async def test_the_same_seed_gives_the_same_samples_at_any_temperature(
    build_model: BuildModel, make_checkpoint: MakeCheckpoint
) -> None:
    directory = make_checkpoint(tokens_per_sentence=12)
    async with loaded(build_model(directory, temperature=0.7, seed=3)) as model:
        assert np.array_equal(await speak(model), await speak(model))


async def test_awkward_text_is_split_and_never_raises(
    build_model: BuildModel, make_checkpoint: MakeCheckpoint
) -> None:
    model = build_model(make_checkpoint())
    for text in (
        "1" * 300,
        "a" * 4096,
        "ab" * 2048,
        "[START][STOP]",
        "你好。",
        "\x00",
        "😀",
        "." * 99,
    ):
        segments = segment_text(text, model.split)
        assert all(len(segment.text) <= 330 for segment in segments)
        assert len(segments) <= 200
        assert not any(mark in s.text for s in segments for mark in ("[STOP]", "[START]"))


async def test_nothing_is_printed(
    build_model: BuildModel, make_checkpoint: MakeCheckpoint, capfd: pytest.CaptureFixture[str]
) -> None:
    with structlog.testing.capture_logs():
        async with loaded(build_model(make_checkpoint())) as model:
            segment_text(TEXT, model.split)
            await speak(model)
    assert capfd.readouterr().out == ""


async def test_closing_ends_a_sentence_that_is_being_spoken(
    make_checkpoint: MakeCheckpoint,
) -> None:
    directory = make_checkpoint(tokens_per_sentence=400)
    language_model = load_transformers(directory, "cpu")
    states = language_model.generate("[STOP][TEXT]a sentence.[START]", Sampling(), 0.0)
    await anext(states)
    await asyncio.to_thread(language_model.close)
    with pytest.raises(InstanceDeadError):
        async for _ in states:
            pass


async def test_a_dead_instance_says_so_to_everybody(make_checkpoint: MakeCheckpoint) -> None:
    language_model = load_transformers(make_checkpoint(tokens_per_sentence=400), "cpu")
    states = language_model.generate("[STOP][TEXT]a sentence.[START]", Sampling(), 0.0)
    await anext(states)
    language_model._batch._model = None  # as if the device were lost
    with pytest.raises(InstanceDeadError):
        async for _ in states:
            pass
    with pytest.raises(InstanceDeadError):
        await anext(language_model.generate("[STOP][TEXT]another.[START]", Sampling(), 0.0))
    language_model.close()


@pytest.mark.usefixtures("lmdeploy_standin")
async def test_an_error_of_lmdeploy_is_typed(make_checkpoint: MakeCheckpoint) -> None:
    language_model = LmdeployLanguageModel(load_standin(make_checkpoint()))
    pipeline = language_model._pipeline
    pipeline.fail_with = "CUDA error: out of memory"
    with pytest.raises(DeviceError):
        sampling = Sampling(seed=7, attempt=2)
        async for _ in language_model.generate("[STOP][TEXT]a sentence.[START]", sampling, 0.0):
            pass
    (config,) = pipeline.configs
    assert (config.random_seed, config.max_new_tokens) == (9, 512)
    assert config.output_last_hidden_state == "generation"
    language_model.close()
    assert pipeline.is_closed


async def test_unloaded_it_cannot_speak(build_model: BuildModel, tmp_path: Path) -> None:
    with pytest.raises(SynthesisError):
        await speak(build_model(tmp_path))
