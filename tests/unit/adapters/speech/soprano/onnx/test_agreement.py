"""The backend onnx says and sounds what the package does, on many sentences.

A chain of tokens that is the same for every text would forgive much; so there are checkpoints, too,
whose every token depends on the text and on all tokens before it.
"""

from collections.abc import Callable, Iterator
from contextlib import aclosing, contextmanager
from functools import cache
from importlib import import_module
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import msgspec
import numpy as np
import pytest

from app.adapters.clock import SystemClock
from app.adapters.speech.soprano.checkpoint.checkpoint import read_checkpoint
from app.adapters.speech.soprano.engine import MAX_NEW_TOKENS, Sampling
from app.adapters.speech.soprano.onnx.graph import Precision
from app.adapters.speech.soprano.onnx.graph_cache import GraphCache
from app.adapters.speech.soprano.onnx.sessions import open_sessions
from app.adapters.speech.soprano.text import prompt_for, split_for_soprano
from app.adapters.speech.verification import (
    MAX_PEAK_DIFFERENCE,
    Comparison,
    ReferenceRun,
    Summary,
    TracedOnnx,
    TracedPackage,
    compare,
    judge_equal,
    peak_difference,
    summarize,
)
from app.domain.text.front_end import segment_text
from tests.checkpoints.build import FULL, build_checkpoint
from tests.soprano_models import build_onnx_engine
from tests.unit.adapters.speech.soprano.text_corpus import corpus

MakeCheckpoint = Callable[..., Path]

MAX_TOKENS = 64
"""Of a sentence; twice as many as the longest is expected to have."""


@cache
def prompts() -> list[str]:
    """Of the different sentences in a corpus of varied English, in an order that mixes kinds."""
    sentences = [
        sentence for text in corpus()[::4] for sentence in segment_text(text, split_for_soprano)
    ]
    different = list(dict.fromkeys(prompt_for(sentence) for sentence in sentences))
    order = np.random.default_rng(0).permutation(len(different))
    return [different[index] for index in order]


def load_onnx(directory: Path, precision: Precision) -> TracedOnnx:
    graphs = GraphCache(directory.with_name(f"{directory.name}-graphs"), 0, SystemClock())
    return TracedOnnx(open_sessions(read_checkpoint(directory), precision, 1, 0, graphs))


def speak_all(directory: Path, num_sentences: int) -> list[ReferenceRun]:
    model = TracedPackage(read_checkpoint(directory))
    return [model.synthesize(prompt) for prompt in prompts()[:num_sentences]]


def compare_all(
    spoken: list[ReferenceRun], directory: Path, precision: Precision
) -> list[Comparison]:
    model = load_onnx(directory, precision)
    return [compare(one, model) for one in spoken]


def report(kind: str, precision: Precision, comparisons: list[Comparison]) -> Summary:
    summary = summarize(comparisons)
    figures = ", ".join(
        f"{name} {value:.4g}" for name, value in msgspec.structs.asdict(summary).items()
    )
    print(f"\n{kind}, {precision}: {figures}")
    return summary


def check_equal(comparisons: list[Comparison], summary: Summary) -> None:
    """Equal but for rounding; what near ties there are is listed, and they are rare."""
    parted = [one for one in comparisons if one.num_steps_agreed < one.num_steps]
    verdict = judge_equal(summary)
    assert verdict.grade == "good", (verdict.reason, parted)
    # Sentences part at near ties alone.
    assert all(one.num_near_ties > 0 for one in parted)
    assert summary.num_near_ties <= len(comparisons) / 100, parted
    assert summary.num_unended == 0


@pytest.fixture(scope="module")
def anything(make_checkpoint: MakeCheckpoint) -> Path:
    """A tiny checkpoint whose tokens depend on all that was read and said."""
    return make_checkpoint(says="anything", tokens_per_sentence=16)


@pytest.fixture(scope="module")
def spoken(anything: Path) -> list[ReferenceRun]:
    """40 sentences by the package."""
    return speak_all(anything, 40)


def test_fp32_says_and_sounds_the_same_as_the_package(
    anything: Path, spoken: list[ReferenceRun]
) -> None:
    comparisons = compare_all(spoken, anything, "fp32")
    check_equal(comparisons, report("anything", "fp32", comparisons))
    report("anything", "int8", compare_all(spoken, anything, "int8"))


def test_fp32_says_and_sounds_the_same_where_tokens_are_known(
    make_checkpoint: MakeCheckpoint,
) -> None:
    directory = make_checkpoint()
    comparisons = compare_all(speak_all(directory, 10), directory, "fp32")
    check_equal(comparisons, report("chain", "fp32", comparisons))
    assert all(one.num_steps == 13 for one in comparisons)  # with the end token


@contextmanager
def full_checkpoint(**arguments: Any) -> Iterator[Path]:
    """Removed at once, with its graphs: 1.1 GB."""
    with TemporaryDirectory() as parent:
        yield build_checkpoint(Path(parent) / "full", FULL, **arguments)


@pytest.mark.nightly
@pytest.mark.timeout(3_600)
@pytest.mark.parametrize(
    ("says", "tokens_per_sentence", "num_sentences"), [("chain", 8, 20), ("anything", 12, 100)]
)
def test_fp32_at_full_size_says_and_sounds_the_same_on_many_sentences(
    says: str, tokens_per_sentence: int, num_sentences: int
) -> None:
    with full_checkpoint(says=says, tokens_per_sentence=tokens_per_sentence) as directory:
        spoken = speak_all(directory, num_sentences)
        peak = max(float(np.abs(one.samples).max()) for one in spoken)
        comparisons = compare_all(spoken, directory, "fp32")
        summary = report(f"{says} at full size, peak {peak:.2f}", "fp32", comparisons)
        report(f"{says} at full size", "int8", compare_all(spoken[:20], directory, "int8"))
    assert 0.05 < peak < 0.95
    assert len(comparisons) == num_sentences
    check_equal(comparisons, summary)


def test_what_is_said_depends_on_the_text_and_on_what_was_said_before(
    spoken: list[ReferenceRun],
) -> None:
    runs = [one.trace for one in spoken]
    assert len({tuple(run.choices.tolist()) for run in runs}) == 40
    assert len({run.num_tokens for run in runs}) > 5
    assert all(8 <= run.num_tokens < MAX_TOKENS and run.has_ended for run in runs)
    followers: dict[int, set[int]] = {}
    for run in runs:
        for token, following in zip(run.choices[:-1], run.choices[1:], strict=True):
            followers.setdefault(int(token), set()).add(int(following))
    assert sum(len(one) > 1 for one in followers.values()) > len(followers) / 3


def test_the_repetition_penalty_decides_in_many_sentences(anything: Path) -> None:
    """So its rule is compared as well."""
    model = import_module("soprano.backends.transformers").TransformersModel(
        device="cpu", model_path=str(anything)
    )

    def say(prompt: str, penalty: float) -> list[int]:
        ids = model.tokenizer(prompt, return_tensors="pt").input_ids
        output = model.model.generate(
            ids, max_new_tokens=MAX_TOKENS, do_sample=False, repetition_penalty=penalty
        )
        return list(output[0, ids.shape[1] :].tolist())

    changed = [prompt for prompt in prompts()[:10] if say(prompt, 1.0) != say(prompt, 1.2)]
    assert len(changed) > 2


def test_the_reference_is_what_the_package_says_at_temperature_0(
    anything: Path, spoken: list[ReferenceRun]
) -> None:
    """Where no two tokens are so near that its temperature of 0.001 draws between them."""
    package = import_module("soprano.tts").SopranoTTS(
        backend="transformers", device="cpu", model_path=str(anything)
    )
    decided = [one for one in spoken if one.trace.margins.min() > 0.02]
    assert len(decided) > 5
    for one in decided[:6]:
        (response,) = package.pipeline.infer([one.prompt], temperature=0.0)
        states = response["hidden_state"].numpy()
        assert response["finish_reason"] == ("stop" if one.trace.has_ended else "length")
        assert np.array_equal(states, one.trace.states[: one.trace.num_tokens])
        frames = response["hidden_state"].T[None]
        samples = package.decoder(frames)[0].detach().numpy()
        assert peak_difference(one.samples, samples) < 1e-6


@pytest.mark.parametrize("precision", ["fp32", "int8"])
async def test_what_is_compared_is_what_the_engine_speaks(
    anything: Path, precision: Precision
) -> None:
    model = load_onnx(anything, precision)
    engine = build_onnx_engine(read_checkpoint(anything), precision)
    try:
        for prompt in prompts()[:8]:
            trace = model.generate(prompt)
            async with aclosing(engine.synthesize(prompt, Sampling(), 0.0)) as pieces:
                spoken = np.concatenate([samples async for samples in pieces])
            assert peak_difference(spoken, model.vocode(trace.states[: trace.num_tokens])) < 1e-5
    finally:
        engine.close()


@pytest.mark.parametrize("num_states", [0, 1])
def test_less_than_two_states_have_no_sound(
    make_checkpoint: MakeCheckpoint, num_states: int
) -> None:
    directory = make_checkpoint()
    states = np.zeros((num_states, 512), np.float32)
    assert len(load_onnx(directory, "fp32").vocode(states)) == 0
    assert len(TracedPackage(read_checkpoint(directory)).vocode(states)) == 0


def test_a_limit_cuts_both_at_the_same_token(make_checkpoint: MakeCheckpoint) -> None:
    directory = make_checkpoint(never_stops=True)
    spoken = TracedPackage(read_checkpoint(directory)).synthesize(prompts()[0])
    found = compare(spoken, load_onnx(directory, "fp32"))
    assert found.num_steps_agreed == found.num_steps == MAX_NEW_TOKENS
    assert not spoken.trace.has_ended
    assert not found.is_unended
    assert len(spoken.samples) == (MAX_NEW_TOKENS - 1) * 2_048
    assert found.peak_difference <= MAX_PEAK_DIFFERENCE
