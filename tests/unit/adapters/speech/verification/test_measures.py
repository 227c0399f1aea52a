"""The measures, on examples that can be worked out by hand."""

import numpy as np
import pytest

from app.adapters.speech.verification import (
    peak_difference,
    state_similarity,
)


@pytest.mark.parametrize(
    ("reference", "samples", "difference"),
    [
        ([0.5, -0.25], [0.5, -0.25], 0.0),
        ([0.5, -0.25], [0.5, -0.125], 0.25),
        ([0.125, -0.5], [0.0, -0.5], 0.25),
        ([0.0, 0.0], [0.0, 0.0], 0.0),
        ([0.0, 0.0], [0.0, 0.1], np.inf),
        ([0.5], [0.5, 0.5], np.inf),
        ([], [], 0.0),
    ],
)
def test_samples_differ_in_parts_of_the_references_peak(
    reference: list[float], samples: list[float], difference: float
) -> None:
    one, other = np.array(reference, np.float32), np.array(samples, np.float32)
    assert peak_difference(one, other) == difference


def test_a_sound_with_a_sample_that_is_no_number_is_not_near() -> None:
    one, other = np.array([0.5], np.float32), np.array([np.nan], np.float32)
    assert not peak_difference(one, other) <= 1e9


def test_states_are_as_similar_as_their_directions() -> None:
    reference = np.array([[3, 0], [0, 2]], np.float32)
    assert state_similarity(reference, 5 * reference) == pytest.approx(1.0)
    turned = np.array([[0, 3], [0, 2]], np.float32)
    assert state_similarity(reference, turned) == pytest.approx(0.5)
    assert state_similarity(reference, -reference) == pytest.approx(-1.0)
