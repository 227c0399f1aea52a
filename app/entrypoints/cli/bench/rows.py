"""The comparison: a row per thing that was measured, with its targets. Pure."""

from collections.abc import Iterator, Mapping
from typing import Final

import msgspec

from app.entrypoints.cli.bench.figures import (
    CONTESTANTS,
    OURS_FP32,
    OURS_INT8,
    PACKAGE,
    PACKAGE_SERVER,
    Figures,
    Metric,
)
from app.entrypoints.cli.bench.plan import NUM_OTHERS, NUM_STREAMS

NUM_TARGET_CLIENTS: Final = 16
MS_PER_S: Final = 1e3
BYTES_PER_MB: Final = 1e6


class Bound(msgspec.Struct, frozen=True):
    """What a figure should reach: a limit in the row's unit, and a ratio to the package."""

    limit: float
    ratio: float | None = None


class Row(msgspec.Struct, frozen=True, kw_only=True):
    """One thing that was measured.

    Attributes:
        title: what it is.
        unit: of all figures.
        digits: after the point.
        is_lower_better: as for times; a limit is then an upper one.
        figures: by contestant.
        reference: whom of the package ours are compared with; None is nobody.
        musts: what must hold, by contestant.
        aims: what is aimed at, by contestant.
    """

    title: str
    unit: str
    digits: int = 0
    is_lower_better: bool = False
    figures: Mapping[str, float]
    reference: str | None = None
    musts: Mapping[str, Bound] = {}
    aims: Mapping[str, Bound] = {}

    def ratio(self, contestant: str) -> float | None:
        """How many times better than the package; None if one of the two is not known."""
        own, other = self.figures.get(contestant), self.figures.get(self.reference or "")
        if not own or not other:
            return None
        return other / own if self.is_lower_better else own / other

    def holds(self, contestant: str, bound: Bound) -> bool | None:
        """Whether a bound is reached; None if what it takes was not measured."""
        figure, ratio = self.figures.get(contestant), self.ratio(contestant)
        if figure is None:
            return None
        is_within = figure <= bound.limit if self.is_lower_better else figure >= bound.limit
        if bound.ratio is None or not is_within:
            return is_within
        return None if ratio is None else ratio >= bound.ratio


def build_rows(figures: Figures) -> list[Row]:
    """The rows for which there is a figure."""
    rows = (
        *_speed_rows(figures),
        *_latency_rows(figures),
        *_length_rows(figures),
        *_memory_rows(figures),
    )
    return [row for row in rows if row.figures]


def _speed_rows(figures: Figures) -> Iterator[Row]:
    yield Row(
        title="one sentence",
        unit="x",
        digits=1,
        figures=_medians(figures, Metric.SENTENCE_SPEED),
        reference=PACKAGE,
        musts={OURS_INT8: Bound(8.0, 6.0), OURS_FP32: Bound(3.5, 2.5)},
        aims={OURS_INT8: Bound(12.0), OURS_FP32: Bound(5.0)},
    )
    yield Row(
        title="ten sentences in one request",
        unit="x",
        digits=1,
        figures=_medians(figures, Metric.TEXT_SPEED, 10),
        reference=PACKAGE,
        musts={OURS_INT8: Bound(30.0, 5.0)},
        aims={OURS_INT8: Bound(50.0)},
    )
    num_clients = max(figures.numbers(Metric.CLIENTS_SPEED), default=0)
    has_target = num_clients == NUM_TARGET_CLIENTS
    yield Row(
        title=f"{num_clients} clients at once, a sentence each",
        unit="x",
        digits=1,
        figures=_medians(figures, Metric.CLIENTS_SPEED, num_clients),
        reference=PACKAGE_SERVER,
        musts={OURS_INT8: Bound(40.0)} if has_target else {},
        aims={OURS_INT8: Bound(60.0)} if has_target else {},
    )


def _latency_rows(figures: Figures) -> Iterator[Row]:
    yield Row(
        title="first audio, idle",
        unit="ms",
        is_lower_better=True,
        figures=_scaled(_medians(figures, Metric.IDLE_FIRST_AUDIO_S), MS_PER_S),
        reference=PACKAGE,
        musts={OURS_INT8: Bound(80.0, 4.0)},
        aims={OURS_INT8: Bound(50.0)},
    )
    yield Row(
        title=f"first audio while {NUM_OTHERS} others stream, p95 / idle",
        unit="x",
        digits=1,
        is_lower_better=True,
        figures=_busy_against_idle(figures),
        musts={OURS_INT8: Bound(4.0)},
    )
    for num_streams in (1, *NUM_STREAMS):
        yield Row(
            title=f"streams at once: {num_streams}; lowest playback margin",
            unit="ms",
            figures=_scaled(_lowest(figures, Metric.STREAM_MARGIN_S, num_streams), MS_PER_S),
            musts={OURS_INT8: Bound(0.0)} if num_streams == NUM_STREAMS[0] else {},
            aims={OURS_INT8: Bound(0.0)} if num_streams == NUM_STREAMS[-1] else {},
        )


def _length_rows(figures: Figures) -> Iterator[Row]:
    longest = max(figures.numbers(Metric.TEXT_SPEED), default=0)
    if longest > 10:  # noqa: PLR2004 - the length it is compared with
        yield Row(
            title=f"{longest} sentences in one request / ten, speed",
            unit="x",
            digits=2,
            figures=_quotients(
                _medians(figures, Metric.TEXT_SPEED, longest),
                _medians(figures, Metric.TEXT_SPEED, 10),
            ),
            musts={OURS_INT8: Bound(0.8)},
        )


def _memory_rows(figures: Figures) -> Iterator[Row]:
    num_clients = max(figures.numbers(Metric.CLIENTS_SPEED), default=0)
    has_target = num_clients == NUM_TARGET_CLIENTS
    yield _memory_row("resident memory, loaded", _medians(figures, Metric.LOADED_BYTES))
    yield _memory_row(
        f"resident memory, after {num_clients} clients",
        _medians(figures, Metric.CLIENTS_BYTES),
        must=600.0 if has_target else None,
        aim=400.0 if has_target else None,
    )
    yield _memory_row("resident memory, at the end", _medians(figures, Metric.END_BYTES))
    before = _medians(figures, Metric.SENTENCE_BYTES)
    for reader, metric in (
        ("read as fast as it comes", Metric.FAST_READER_BYTES),
        ("read slowly", Metric.SLOW_READER_BYTES),
    ):
        peak = _medians(figures, metric)
        above = {name: peak[name] - before[name] for name in peak}
        yield _memory_row(f"long text {reader}, peak above one sentence", above, must=50.0)


def _memory_row(
    title: str,
    num_bytes: Mapping[str, float],
    *,
    must: float | None = None,
    aim: float | None = None,
) -> Row:
    return Row(
        title=title,
        unit="MB",
        is_lower_better=True,
        figures=_scaled(num_bytes, 1 / BYTES_PER_MB),
        reference=PACKAGE,
        musts={} if must is None else {OURS_INT8: Bound(must)},
        aims={} if aim is None else {OURS_INT8: Bound(aim)},
    )


def _busy_against_idle(figures: Figures) -> dict[str, float]:
    busy = _percentiles(figures, 95, Metric.BUSY_FIRST_AUDIO_S)
    return _quotients(busy, _medians(figures, Metric.IDLE_FIRST_AUDIO_S))


def _medians(figures: Figures, metric: Metric, num: int = 0) -> dict[str, float]:
    return _percentiles(figures, 50, metric, num)


def _lowest(figures: Figures, metric: Metric, num: int) -> dict[str, float]:
    return _percentiles(figures, 0, metric, num)


def _percentiles(
    figures: Figures, percent: float, metric: Metric, num: int = 0
) -> dict[str, float]:
    found = {name: figures.percentile(percent, name, metric, num) for name in CONTESTANTS}
    return {name: value for name, value in found.items() if value is not None}


def _quotients(above: Mapping[str, float], below: Mapping[str, float]) -> dict[str, float]:
    return {name: above[name] / below[name] for name in above if name in below}


def _scaled(values: Mapping[str, float], factor: float) -> dict[str, float]:
    return {name: value * factor for name, value in values.items()}
