"""What follows from the times at which audio arrives."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.entrypoints.cli.bench.recording import Arrival, Recording, percentile, throughput


def recording(*arrivals: tuple[float, float], started_s: float = 0.0) -> Recording:
    """Of pairs: when a piece came, and how long it plays."""
    pieces = [Arrival(at_s, audio_s) for at_s, audio_s in arrivals]
    return Recording(started_s, pieces, ended_s=pieces[-1].at_s)


def test_first_audio_and_total_count_from_the_question() -> None:
    answer = recording((10.5, 1.0), (11.0, 2.0), started_s=10.0)
    assert answer.first_audio_s == pytest.approx(0.5)
    assert answer.total_s == pytest.approx(1.0)
    assert answer.audio_s == pytest.approx(3.0)


def test_gaps_lie_between_neighbours() -> None:
    assert recording((1.0, 1.0), (1.5, 1.0), (3.0, 1.0)).gaps_s == [0.5, 1.5]


def test_the_margin_is_the_lowest_of_what_was_left_to_play_at_any_later_arrival() -> None:
    # At 2 s: 3 s received, 1 s played; at 5 s: 4.5 s received, 4 s played.
    assert recording((1.0, 3.0), (2.0, 1.5), (5.0, 1.0)).playback_margin_s == pytest.approx(0.5)


def test_a_piece_that_comes_too_late_makes_a_negative_margin() -> None:
    assert recording((0.0, 1.0), (1.25, 1.0)).playback_margin_s == pytest.approx(-0.25)


def test_the_wait_for_the_first_piece_does_not_count_as_silence() -> None:
    assert recording((9.0, 1.0), (9.5, 1.0)).playback_margin_s == pytest.approx(0.5)


def test_an_answer_in_one_piece_cannot_run_dry() -> None:
    assert recording((5.0, 2.0)).playback_margin_s == 2.0


def test_throughput_is_all_audio_over_the_time_from_the_first_question_to_the_last_end() -> None:
    one = recording((2.0, 6.0), started_s=1.0)
    other = recording((5.0, 6.0), started_s=2.0)
    assert throughput([one, other]) == pytest.approx(12.0 / 4.0)


@given(st.lists(st.floats(0, 1e6), min_size=1, max_size=50), st.floats(0, 100))
def test_percentiles_are_those_of_numpy(values: list[float], percent: float) -> None:
    assert percentile(values, percent) == pytest.approx(np.percentile(values, percent), abs=1e-9)
