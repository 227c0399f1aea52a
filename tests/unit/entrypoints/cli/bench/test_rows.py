"""What is compared, and whether the targets hold."""

import pytest

from app.entrypoints.cli.bench.figures import (
    OURS_FP32,
    OURS_INT8,
    PACKAGE,
    PACKAGE_SERVER,
    Figures,
    Metric,
)
from app.entrypoints.cli.bench.rows import Bound, Row, build_rows


def faster(**figures: float) -> Row:
    return Row(title="speed", unit="x", figures=figures, reference="package")


def sooner(**figures: float) -> Row:
    return Row(title="wait", unit="ms", figures=figures, reference="package", is_lower_better=True)


def rows_of(figures: Figures) -> dict[str, Row]:
    return {row.title: row for row in build_rows(figures)}


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
    figures = Figures()
    figures.add(OURS_INT8, Metric.SENTENCE_SPEED, [9.0, 11.0, 10.0])
    assert rows_of(figures)["one sentence"].figures == {OURS_INT8: 10.0}
    assert len(rows_of(figures)) == 1


def test_the_most_clients_are_compared_with_the_packages_server() -> None:
    figures = Figures()
    for num, speed in ((8, 30.0), (16, 48.0)):
        figures.add(OURS_INT8, Metric.CLIENTS_SPEED, [speed], num)
        figures.add(PACKAGE_SERVER, Metric.CLIENTS_SPEED, [1.5], num)
    row = rows_of(figures)["16 clients at once, a sentence each"]
    assert row.ratio(OURS_INT8) == pytest.approx(32.0)
    assert row.holds(OURS_INT8, row.musts[OURS_INT8])
    assert not row.holds(OURS_INT8, row.aims[OURS_INT8])


def test_other_numbers_of_clients_have_no_target() -> None:
    figures = Figures()
    figures.add(OURS_INT8, Metric.CLIENTS_SPEED, [99.0], 4)
    assert rows_of(figures)["4 clients at once, a sentence each"].musts == {}


def test_the_lowest_margin_of_any_stream_in_any_round_counts() -> None:
    figures = Figures()
    figures.add(OURS_INT8, Metric.STREAM_MARGIN_S, [0.2, 0.1], 8)
    figures.add(OURS_INT8, Metric.STREAM_MARGIN_S, [-0.003, 0.4], 8)
    row = rows_of(figures)["streams at once: 8; lowest playback margin"]
    assert row.figures[OURS_INT8] == pytest.approx(-3.0)
    assert row.holds(OURS_INT8, row.musts[OURS_INT8]) is False


def test_a_busy_server_is_compared_with_itself_when_idle() -> None:
    figures = Figures()
    figures.add(OURS_INT8, Metric.IDLE_FIRST_AUDIO_S, [0.04, 0.05, 0.06])
    figures.add(OURS_INT8, Metric.BUSY_FIRST_AUDIO_S, [0.2] * 20)
    figures.add(PACKAGE, Metric.IDLE_FIRST_AUDIO_S, [0.4])
    row = rows_of(figures)["first audio while 15 others stream, p95 / idle"]
    assert row.figures == {OURS_INT8: pytest.approx(4.0)}


def test_memory_of_a_long_text_is_what_one_sentence_did_not_take() -> None:
    figures = Figures()
    figures.add(OURS_FP32, Metric.SENTENCE_BYTES, [500e6, 500e6])
    figures.add(OURS_FP32, Metric.SLOW_READER_BYTES, [531e6])
    row = rows_of(figures)["long text read slowly, peak above one sentence"]
    assert row.figures == {OURS_FP32: pytest.approx(31.0)}
