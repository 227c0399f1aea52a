"""What follows from the times at which audio arrives, and whether the bounds hold."""

import pytest

from benchmarks.results import (
    OURS_FP32,
    OURS_INT8,
    PACKAGE,
    PACKAGE_SERVER,
    Answer,
    Arrival,
    Bound,
    Metric,
    Results,
    Row,
    build_rows,
    throughput,
)


def answer_of(*arrivals: tuple[float, float], started_s: float = 0.0) -> Answer:
    """Of pairs: when a chunk arrived, and its duration."""
    pieces = [Arrival(at_s, audio_s) for at_s, audio_s in arrivals]
    return Answer(started_s, pieces, ended_s=pieces[-1].at_s)


def test_first_audio_and_total_count_from_the_question() -> None:
    answer = answer_of((10.5, 1.0), (11.0, 2.0), started_s=10.0)
    assert answer.first_audio_s == pytest.approx(0.5)
    assert answer.total_s == pytest.approx(1.0)
    assert answer.audio_s == pytest.approx(3.0)


def test_gaps_lie_between_neighbours() -> None:
    assert answer_of((1.0, 1.0), (1.5, 1.0), (3.0, 1.0)).gaps_s == [0.5, 1.5]


def test_the_margin_is_the_lowest_of_what_was_left_to_play_at_any_later_arrival() -> None:
    # At 2 s: 3 s received, 1 s played; at 5 s: 4.5 s received, 4 s played.
    assert answer_of((1.0, 3.0), (2.0, 1.5), (5.0, 1.0)).playback_margin_s == pytest.approx(0.5)


def test_a_piece_that_comes_too_late_makes_a_negative_margin() -> None:
    assert answer_of((0.0, 1.0), (1.25, 1.0)).playback_margin_s == pytest.approx(-0.25)


def test_the_wait_for_the_first_piece_does_not_count_as_silence() -> None:
    assert answer_of((9.0, 1.0), (9.5, 1.0)).playback_margin_s == pytest.approx(0.5)


def test_an_answer_in_one_piece_cannot_run_dry() -> None:
    assert answer_of((5.0, 2.0)).playback_margin_s == 2.0


def test_throughput_is_all_audio_over_the_time_from_the_first_question_to_the_last_end() -> None:
    one = answer_of((2.0, 6.0), started_s=1.0)
    other = answer_of((5.0, 6.0), started_s=2.0)
    assert throughput([one, other]) == pytest.approx(12.0 / 4.0)


def faster(**figures: float) -> Row:
    return Row(title="speed", unit="x", figures=figures, reference="package")


def sooner(**figures: float) -> Row:
    return Row(title="wait", unit="ms", figures=figures, reference="package", is_lower_better=True)


def rows_of(results: Results) -> dict[str, Row]:
    return {row.title: row for row in build_rows(results)}


def test_a_ratio_says_how_many_times_better_whichever_way_is_better() -> None:
    assert faster(ours=8.0, package=2.0).ratio("ours") == 4.0
    assert sooner(ours=2.0, package=8.0).ratio("ours") == 4.0


def test_without_the_package_there_is_no_ratio() -> None:
    assert faster(ours=8.0).ratio("ours") is None


@pytest.mark.parametrize(
    ("row", "bound", "verdict"),
    [
        (faster(ours=8.0), Bound(8.0), True),
        (faster(ours=7.9), Bound(8.0), False),
        (sooner(ours=80.0), Bound(80.0), True),
        (sooner(ours=81.0), Bound(80.0), False),
        (faster(ours=8.0, package=1.0), Bound(8.0, ratio=6.0), True),
        (faster(ours=8.0, package=2.0), Bound(8.0, ratio=6.0), False),
        (faster(ours=8.0), Bound(8.0, ratio=6.0), None),
        (faster(ours=7.0), Bound(8.0, ratio=6.0), False),
        (faster(package=1.0), Bound(8.0), None),
    ],
)
def test_a_bound_holds_by_limit_and_by_ratio(
    row: Row,
    bound: Bound,
    verdict: bool | None,  # noqa: FBT001 - what is expected
) -> None:
    assert row.holds("ours", bound) is verdict


def test_what_was_not_measured_has_no_row() -> None:
    results = Results()
    results.add(OURS_INT8, Metric.SENTENCE_SPEED, [9.0, 11.0, 10.0])
    assert rows_of(results)["one sentence"].figures == {OURS_INT8: 10.0}
    assert len(rows_of(results)) == 1


def test_the_most_clients_are_compared_with_the_packages_server() -> None:
    results = Results()
    for num, speed in ((8, 30.0), (16, 48.0)):
        results.add(OURS_INT8, Metric.CLIENTS_SPEED, [speed], num)
        results.add(PACKAGE_SERVER, Metric.CLIENTS_SPEED, [1.5], num)
    row = rows_of(results)["16 clients at once, a sentence each"]
    assert row.ratio(OURS_INT8) == pytest.approx(32.0)
    assert row.holds(OURS_INT8, row.musts[OURS_INT8])
    assert not row.holds(OURS_INT8, row.aims[OURS_INT8])


def test_other_numbers_of_clients_have_no_target() -> None:
    results = Results()
    results.add(OURS_INT8, Metric.CLIENTS_SPEED, [99.0], 4)
    assert rows_of(results)["4 clients at once, a sentence each"].musts == {}


def test_the_lowest_margin_of_any_stream_in_any_round_counts() -> None:
    results = Results()
    results.add(OURS_INT8, Metric.STREAM_MARGIN_S, [0.2, 0.1], 8)
    results.add(OURS_INT8, Metric.STREAM_MARGIN_S, [-0.003, 0.4], 8)
    row = rows_of(results)["streams at once: 8; lowest playback margin"]
    assert row.figures[OURS_INT8] == pytest.approx(-3.0)
    assert row.holds(OURS_INT8, row.musts[OURS_INT8]) is False


def test_a_busy_server_is_compared_with_itself_when_idle() -> None:
    results = Results()
    results.add(OURS_INT8, Metric.IDLE_FIRST_AUDIO_S, [0.04, 0.05, 0.06])
    results.add(OURS_INT8, Metric.BUSY_FIRST_AUDIO_S, [0.2] * 20)
    results.add(PACKAGE, Metric.IDLE_FIRST_AUDIO_S, [0.4])
    row = rows_of(results)["first audio while 15 others stream, p95 / idle"]
    assert row.figures == {OURS_INT8: pytest.approx(4.0)}


def test_memory_of_a_long_text_is_what_one_sentence_did_not_take() -> None:
    results = Results()
    results.add(OURS_FP32, Metric.SENTENCE_BYTES, [500e6, 500e6])
    results.add(OURS_FP32, Metric.SLOW_CLIENT_BYTES, [531e6])
    row = rows_of(results)["long text read slowly, peak above one sentence"]
    assert row.figures == {OURS_FP32: pytest.approx(31.0)}
