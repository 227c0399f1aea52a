"""The next token; transformers' own processors are the oracle where they are installed."""

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from app.adapters.speech.soprano.engine import Sampling
from app.adapters.speech.soprano.onnx.sequence import (
    Sequence,
    penalize_repetition,
    sample_nucleus,
    sample_tokens,
)
from app.domain.speech import SamplingParams
from tests.examples import examples

VOCABULARY = 50


def sequences_of(rng: np.random.Generator, **settings_: Any) -> list[Sequence]:
    return [
        Sequence(rng.integers(0, VOCABULARY, n).tolist(), Sampling(**settings_), 0.0, 3)
        for n in (1, 7, 30)
    ]


@pytest.mark.integration  # torch
@settings(max_examples=examples(50), deadline=None)
@given(st.integers(0, 2**32), st.floats(0.5, 5))
def test_the_penalty_is_the_one_of_transformers(seed: int, penalty: float) -> None:
    torch = pytest.importorskip("torch")
    from transformers import RepetitionPenaltyLogitsProcessor

    rng = np.random.default_rng(seed)
    rows = sequences_of(rng, repetition_penalty=penalty)
    logits = rng.standard_normal((3, VOCABULARY), np.float32)
    expected = [
        RepetitionPenaltyLogitsProcessor(penalty)(
            torch.tensor([row.tokens]), torch.tensor(one[None])
        )
        for row, one in zip(rows, logits.copy(), strict=True)
    ]
    penalize_repetition(logits, rows)
    np.testing.assert_allclose(logits, torch.cat(expected).numpy(), rtol=1e-6)


@pytest.mark.integration  # torch
@settings(max_examples=examples(20), deadline=None)
@given(st.integers(0, 2**32), st.floats(0.01, 1.0))
def test_the_nucleus_is_the_one_of_transformers(seed: int, top_p: float) -> None:
    torch = pytest.importorskip("torch")
    from transformers import TopPLogitsWarper

    logits = np.random.default_rng(seed).standard_normal(VOCABULARY) * 3
    kept = TopPLogitsWarper(top_p)(torch.tensor([[0]]), torch.tensor(logits[None]))[0]
    expected = set(torch.nonzero(torch.isfinite(kept))[:, 0].tolist())
    weights = np.exp(logits - logits.max())
    draws = np.linspace(0, 1, 4_000, endpoint=False)
    probabilities = (weights / weights.sum()).astype(np.float32)
    drawn = {sample_nucleus(probabilities, top_p, float(one)) for one in draws}
    assert drawn <= expected
    likely = {token for token in expected if probabilities[token] > 1e-3}
    assert likely <= drawn


def test_tokens_are_drawn_as_often_as_they_are_likely() -> None:
    probabilities = np.array([0.5, 0.3, 0.15, 0.05], np.float32)
    rng = np.random.default_rng(5)
    counts = np.bincount([sample_nucleus(probabilities, 0.9, rng.random()) for _ in range(20_000)])
    # The nucleus is the first three, with 0.95 of the probability between them.
    np.testing.assert_allclose(counts / 20_000, probabilities[:3] / 0.95, atol=0.012)


def test_temperature_zero_takes_the_likeliest() -> None:
    rng = np.random.default_rng(1)
    rows = sequences_of(rng, temperature=0.0, repetition_penalty=1.0)
    logits = rng.standard_normal((3, VOCABULARY), np.float32)
    assert sample_tokens(logits.copy(), rows).tolist() == logits.argmax(axis=1).tolist()


@pytest.mark.parametrize("temperature", [1e-300, 1e-46, 1e-38, 9e-5])
def test_a_temperature_that_float32_cannot_divide_by_is_zero(temperature: float) -> None:
    assert Sampling().chosen(SamplingParams(temperature=temperature)).temperature == 0
    assert Sampling(temperature=temperature).chosen(SamplingParams()).temperature == 0
    assert Sampling().chosen(SamplingParams(temperature=1e-3)).temperature == 1e-3


def test_a_row_draws_the_same_whoever_else_is_in_the_batch() -> None:
    rng = np.random.default_rng(2)
    logits = rng.standard_normal((3, VOCABULARY), np.float32)
    hot = {"temperature": 0.8, "seed": 4}
    together = sample_tokens(logits.copy(), sequences_of(np.random.default_rng(9), **hot))
    alone = [
        sample_tokens(logits[row : row + 1].copy(), [sequence])[0]
        for row, sequence in enumerate(sequences_of(np.random.default_rng(9), **hot))
    ]
    assert together.tolist() == alone


def test_a_batch_mixes_rows_that_draw_and_rows_that_do_not() -> None:
    logits = np.zeros((2, VOCABULARY), np.float32)
    logits[:, 7] = 9.0
    greedy = Sequence([1], Sampling(), 0.0, 3)
    drawing = Sequence([1], Sampling(temperature=2.0, top_p=1.0, seed=1), 0.0, 3)
    tokens = [sample_tokens(logits.copy(), [greedy, drawing]).tolist() for _ in range(200)]
    assert {first for first, _ in tokens} == {7}
    assert len({second for _, second in tokens}) > 3
