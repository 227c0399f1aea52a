"""Figures of many sentences, and the words for them at and beside each threshold."""

from typing import Any

import pytest
from msgspec.structs import replace

from app.adapters.speech.verification import (
    Comparison,
    judge_close,
    judge_equal,
    summarize,
)

SAME = Comparison(
    num_reference_tokens=9,
    num_tokens=9,
    first_difference=None,
    agreement=1.0,
    peak_difference=1e-6,
    log_mel_db=0.5,
    reference_finish="stop",
    finish="stop",
    num_steps=10,
    num_steps_agreed=10,
    num_near_ties=0,
    best_overlap=1.0,
    led_peak_difference=1e-6,
    led_log_mel_db=0.5,
    state_similarity=1.0,
)
OTHER = replace(
    SAME,
    num_tokens=20,
    first_difference=4,
    agreement=0.25,
    peak_difference=None,
    log_mel_db=None,
    finish="length",
    num_steps=30,
    num_steps_agreed=27,
    num_near_ties=1,
    led_peak_difference=0.5,
    led_log_mel_db=1.5,
    state_similarity=0.5,
)


def test_the_figures_are_of_all_steps_and_of_the_sentences_that_have_them() -> None:
    summary = summarize([SAME, OTHER])
    assert (summary.num_sentences, summary.num_same_tokens, summary.num_unended) == (2, 1, 1)
    assert summary.step_agreement == 37 / 40
    assert (summary.num_steps_differing, summary.num_near_ties) == (2, 1)
    assert (summary.agreement, summary.state_similarity) == (0.625, 0.75)
    assert (summary.log_mel_db, summary.led_log_mel_db) == (0.5, 1.0)
    assert summary.led_peak_difference == 0.5


def test_a_sound_that_is_no_number_is_not_lost_among_others() -> None:
    broken = replace(SAME, led_peak_difference=float("nan"))
    for comparisons in ([SAME, broken], [broken, SAME]):
        assert not judge_equal(summarize(comparisons)).is_usable


def test_a_sentence_that_the_reference_does_not_end_either_counts_for_nothing() -> None:
    cut = replace(SAME, reference_finish="length", finish="length")
    assert summarize([cut]).num_unended == 0


@pytest.mark.parametrize(
    ("changes", "grade", "words"),
    [
        ({}, "good", "the same tokens, samples within 1e-06 of the peak"),
        ({"led_peak_difference": 1e-3}, "good", "samples within 1e-03"),
        ({"led_peak_difference": 1.1e-3}, "not usable", "1.1e-03 of the peak"),
        ({"led_peak_difference": float("nan")}, "not usable", "nan"),
        ({"num_steps_differing": 1}, "not usable", "1 tokens differ"),
        ({"num_near_ties": 2}, "good", "but for 2 near ties"),
    ],
)
def test_full_precision_is_equal_but_for_rounding(
    changes: dict[str, Any], grade: str, words: str
) -> None:
    verdict = judge_equal(replace(summarize([SAME]), **changes))
    assert verdict.grade == grade
    assert words in verdict.reason


@pytest.mark.parametrize(
    ("step_agreement", "led_log_mel_db", "num_unended", "grade"),
    [
        (0.98, 1.0, 0, "good"),
        (0.979, 1.0, 0, "usable"),
        (0.98, 1.01, 0, "usable"),
        (0.95, 2.0, 0, "usable"),
        (0.949, 0.0, 0, "not usable"),
        (1.0, 2.01, 0, "not usable"),
        (1.0, float("nan"), 0, "not usable"),
        (1.0, 0.0, 1, "not usable"),
    ],
)
def test_a_quantised_model_is_graded_by_steps_sound_and_ends(
    step_agreement: float, led_log_mel_db: float, num_unended: int, grade: str
) -> None:
    summary = replace(
        summarize([SAME]),
        step_agreement=step_agreement,
        led_log_mel_db=led_log_mel_db,
        num_unended=num_unended,
    )
    verdict = judge_close(summary)
    assert verdict.grade == grade
    assert verdict.is_usable == (grade != "not usable")
    assert f"{step_agreement:.1%}" in verdict.reason
