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
    num_steps=10,
    num_steps_agreed=10,
    num_near_ties=0,
    best_overlap=1.0,
    peak_difference=1e-6,
    log_mel_db=0.5,
    state_similarity=1.0,
    is_unended=False,
)
OTHER = Comparison(
    num_steps=30,
    num_steps_agreed=27,
    num_near_ties=1,
    best_overlap=0.5,
    peak_difference=0.5,
    log_mel_db=1.5,
    state_similarity=0.5,
    is_unended=True,
)


def test_the_figures_are_of_all_steps_and_of_all_sentences() -> None:
    summary = summarize([SAME, OTHER])
    assert summary.step_agreement == 37 / 40
    assert (summary.num_steps_differing, summary.num_near_ties) == (2, 1)
    assert (summary.best_overlap, summary.state_similarity) == (0.75, 0.75)
    assert (summary.log_mel_db, summary.peak_difference) == (1.0, 0.5)
    assert summary.num_unended == 1


def test_a_sound_that_is_no_number_is_not_lost_among_others() -> None:
    broken = replace(SAME, peak_difference=float("nan"))
    for comparisons in ([SAME, broken], [broken, SAME]):
        assert not judge_equal(summarize(comparisons)).is_usable


@pytest.mark.parametrize(
    ("changes", "grade", "words"),
    [
        ({}, "good", "the same tokens, samples within 1e-06 of the peak"),
        ({"peak_difference": 1e-3}, "good", "samples within 1e-03"),
        ({"peak_difference": 1.1e-3}, "not usable", "1.1e-03 of the peak"),
        ({"peak_difference": float("nan")}, "not usable", "nan"),
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
    ("step_agreement", "log_mel_db", "num_unended", "grade"),
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
    step_agreement: float, log_mel_db: float, num_unended: int, grade: str
) -> None:
    summary = replace(
        summarize([SAME]),
        step_agreement=step_agreement,
        log_mel_db=log_mel_db,
        num_unended=num_unended,
    )
    verdict = judge_close(summary)
    assert verdict.grade == grade
    assert verdict.is_usable == (grade != "not usable")
    assert f"{step_agreement:.1%}" in verdict.reason
