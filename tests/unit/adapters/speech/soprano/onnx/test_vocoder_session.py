"""Piece by piece is exactly the whole, and the whole is the package's."""

from collections.abc import Callable
from itertools import pairwise
from pathlib import Path
from typing import Literal

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from app.adapters.speech.soprano.checkpoint.checkpoint import read_checkpoint
from app.adapters.speech.soprano.onnx.graph import Precision
from app.adapters.speech.soprano.onnx.sequence import MIN_FIRST_STATES
from app.adapters.speech.soprano.onnx.sessions import VocoderSession, interpolate
from tests.examples import examples
from tests.onnx_sessions import vocoder_session

HIDDEN = 512
SAMPLES_PER_TOKEN = 2_048

Version = Literal["1.0", "1.1"]
KINDS: list[tuple[Version, Precision]] = [
    ("1.0", "fp32"),
    ("1.0", "int8"),
    ("1.1", "fp32"),
    ("1.1", "int8"),
]


@pytest.fixture(scope="module")
def vocoders(make_checkpoint: Callable[..., Path]) -> dict[tuple[str, str], VocoderSession]:
    return {
        (version, precision): vocoder_session(make_checkpoint(decoder_version=version), precision)
        for version, precision in KINDS
    }


def random_states(seed: int, length: int) -> np.ndarray:
    return np.random.default_rng(seed).standard_normal((length, HIDDEN), np.float32) * 1.6


def whole(vocoder: VocoderSession, states: np.ndarray) -> np.ndarray:
    (samples,) = vocoder.vocode([vocoder.new_state()], [list(states)], is_last=True)
    return np.asarray(samples)


def in_pieces(vocoder: VocoderSession, states: np.ndarray, cuts: list[int]) -> np.ndarray:
    carried = vocoder.new_state()
    bounds = [0, *cuts, len(states)]
    pieces = [
        vocoder.vocode([carried], [list(states[start:end])], is_last=number == len(cuts))[0]
        for number, (start, end) in enumerate(pairwise(bounds))
    ]
    return np.concatenate(pieces)


@st.composite
def lengths_and_cuts(draw: st.DrawFn) -> tuple[int, list[int]]:
    length = draw(st.integers(MIN_FIRST_STATES, 40))
    cuts = draw(st.sets(st.integers(MIN_FIRST_STATES, length), max_size=12))
    return length, sorted(cuts)


@pytest.mark.parametrize("kind", KINDS)
@settings(
    max_examples=examples(30),
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
@given(case=lengths_and_cuts(), seed=st.integers(0, 2**32))
def test_any_pieces_join_to_exactly_the_whole(
    vocoders: dict[tuple[str, str], VocoderSession],
    kind: tuple[str, str],
    case: tuple[int, list[int]],
    seed: int,
) -> None:
    length, cuts = case
    states = random_states(seed, length)
    expected = whole(vocoders[kind], states)
    assert len(expected) == (length - 1) * SAMPLES_PER_TOKEN
    # Every frame is computed once and by the same sums, so there is no rounding to allow for.
    assert np.array_equal(in_pieces(vocoders[kind], states, cuts), expected)


@pytest.mark.parametrize("version", ["1.0", "1.1"])
@pytest.mark.parametrize("length", [2, 3, 4, 5, 17, 60])
def test_the_whole_is_what_the_package_decodes(
    vocoders: dict[tuple[str, str], VocoderSession],
    make_checkpoint: Callable[..., Path],
    version: str,
    length: int,
) -> None:
    pytest.importorskip("soprano")
    from app.adapters.speech.soprano.torch.engine import StateVocoder, Window

    reference = StateVocoder(read_checkpoint(make_checkpoint(decoder_version=version)), "cpu")
    states = random_states(length, length)
    theirs = reference.decode(states, Window(0, length, 0, length - 1))
    ours = whole(vocoders[version, "fp32"], states)
    peak = np.abs(theirs).max()
    assert peak > 0.1
    assert np.abs(ours - theirs).max() <= 1e-5 * peak


@pytest.mark.parametrize("kind", KINDS)
def test_sentences_decoded_together_are_those_decoded_alone(
    vocoders: dict[tuple[str, str], VocoderSession], kind: tuple[str, str]
) -> None:
    vocoder = vocoders[kind]
    sentences = [random_states(seed, 12) for seed in range(5)]
    carried = [vocoder.new_state() for _ in sentences]
    first = vocoder.vocode(carried, [list(one[:7]) for one in sentences], is_last=False)
    rest = vocoder.vocode(carried, [list(one[7:]) for one in sentences], is_last=True)
    together = np.concatenate([first, rest], axis=1)
    for samples, states in zip(together, sentences, strict=True):
        assert np.array_equal(samples, whole(vocoder, states))


def test_the_first_sound_needs_four_states(
    vocoders: dict[tuple[str, str], VocoderSession],
) -> None:
    for kind, num_samples in ((("1.1", "fp32"), 1_536), (("1.0", "fp32"), 1_024)):
        vocoder = vocoders[kind]
        states = list(random_states(0, MIN_FIRST_STATES))
        samples = vocoder.vocode([vocoder.new_state()], [states], is_last=False)
        assert samples.shape == (1, num_samples)


def test_frames_lie_on_straight_lines_between_states() -> None:
    states = np.array([[[0.0], [4.0], [8.0]]], np.float32)
    with_first = interpolate(states, has_first=True)
    assert with_first[0, :, 0].tolist() == [0, 1, 2, 3, 4, 5, 6, 7, 8]
    assert np.array_equal(interpolate(states, has_first=False), with_first[:, 1:])
