"""What was measured and what follows from it: values, the comparison, its bounds. Pure."""

from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from enum import StrEnum
from itertools import pairwise
from typing import Final

import msgspec
import numpy as np

OURS_INT8: Final = "int8"
OURS_FP32: Final = "fp32"
OURS: Final = (OURS_INT8, OURS_FP32)
PACKAGE: Final = "package in process"
PACKAGE_SERVER: Final = "package's server"
TARGETS: Final = (*OURS, PACKAGE, PACKAGE_SERVER)

NUM_STREAMS: Final = (8, 16)  # streams at once whose playback is measured
NUM_OTHERS: Final = 15  # streams that run while a new request arrives
NUM_BOUND_CLIENTS: Final = 16  # the bounds on clients are for this number
MS_PER_S: Final = 1e3
BYTES_PER_MB: Final = 1e6


class Arrival(msgspec.Struct, frozen=True):
    """A chunk of audio: when it arrived, in seconds of some clock, and its duration."""

    at_s: float
    audio_s: float


class Answer(msgspec.Struct, frozen=True):
    """An answer of a target, as a client sees it.

    Attributes:
        started_s: when it was requested.
        arrivals: all chunks of audio, in order.
        ended_s: when it was complete.
    """

    started_s: float
    arrivals: Sequence[Arrival]
    ended_s: float

    @property
    def first_audio_s(self) -> float:
        """Time to first audio."""
        return self.arrivals[0].at_s - self.started_s

    @property
    def total_s(self) -> float:
        """From the request to the end of the answer."""
        return self.ended_s - self.started_s

    @property
    def audio_s(self) -> float:
        """Duration of all of it."""
        return sum(arrival.audio_s for arrival in self.arrivals)

    @property
    def gaps_s(self) -> list[float]:
        """From each arrival to the next."""
        return [later.at_s - one.at_s for one, later in pairwise(self.arrivals)]

    @property
    def playback_margin_s(self) -> float:
        """The lowest number of buffered seconds at any arrival; negative if playback was silent.

        Playback starts with the first arrival. At each later one it has played for as long as that
        was ago, out of all that arrived before; after the last arrival it cannot underrun.
        """
        played_from_s = self.arrivals[0].at_s
        received_s = 0.0
        margins_s = []
        for one, later in pairwise(self.arrivals):
            received_s += one.audio_s
            margins_s.append(received_s - (later.at_s - played_from_s))
        return min(margins_s, default=self.audio_s)


def throughput(answers: Sequence[Answer]) -> float:
    """Seconds of audio per second of wall time, over answers that were requested together."""
    wall_s = max(one.ended_s for one in answers) - min(one.started_s for one in answers)
    return sum(one.audio_s for one in answers) / wall_s


class Metric(StrEnum):
    """What is measured; the unit is at the end of the name."""

    SENTENCE_SPEED = "one sentence, seconds of audio per second"
    IDLE_FIRST_AUDIO_S = "first audio of an idle target"
    BUSY_FIRST_AUDIO_S = "first audio while others stream"
    TEXT_SPEED = "one text of n sentences, seconds of audio per second"
    CLIENTS_SPEED = "n clients, seconds of audio per second"
    CLIENTS_FIRST_AUDIO_S = "n clients, first audio"
    STREAM_MARGIN_S = "n streams, lowest playback margin"
    STREAM_GAP_S = "n streams, gap"
    STREAM_FIRST_AUDIO_S = "n streams, first audio"
    LOADED_BYTES = "resident after loading"
    CLIENTS_BYTES = "resident after the clients of the first round"
    END_BYTES = "resident at the end"
    SENTENCE_BYTES = "new server, resident after one sentence"
    FAST_CLIENT_BYTES = "new server, peak while a long text is read as fast as it comes"
    SLOW_CLIENT_BYTES = "new server, peak while a long text is read slowly"


class Results:
    """Values by target, metric and number (of clients, streams or sentences)."""

    def __init__(self) -> None:
        self._values: defaultdict[tuple[str, Metric, int], list[float]] = defaultdict(list)

    def add(self, target: str, metric: Metric, values: Sequence[float], num: int = 0) -> None:
        """Add values."""
        self._values[target, metric, num].extend(values)

    def percentile(self, percent: float, target: str, metric: Metric, num: int) -> float | None:
        """Over all rounds together; 50 is the median. None if it was not measured."""
        values = self._values.get((target, metric, num))
        return float(np.percentile(values, percent)) if values else None

    def targets(self) -> list[str]:
        """All that were measured, in the order of the tables."""
        known = {target for target, _, _ in self._values}
        return [target for target in TARGETS if target in known]

    def numbers(self, metric: Metric) -> list[int]:
        """For which the metric was measured."""
        return sorted({num for _, known, num in self._values if known == metric})


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
        figures: by target.
        reference: whom of the package ours are compared with; None is nobody.
        musts: what must hold, by target.
        aims: what is aimed at, by target.
    """

    title: str
    unit: str
    digits: int = 0
    is_lower_better: bool = False
    figures: Mapping[str, float]
    reference: str | None = None
    musts: Mapping[str, Bound] = {}
    aims: Mapping[str, Bound] = {}

    def ratio(self, target: str) -> float | None:
        """How many times better than the package; None if one of the two is not known."""
        own, other = self.figures.get(target), self.figures.get(self.reference or "")
        if not own or not other:
            return None
        return other / own if self.is_lower_better else own / other

    def holds(self, target: str, bound: Bound) -> bool | None:
        """Whether a bound is reached; None if what it takes was not measured."""
        figure, ratio = self.figures.get(target), self.ratio(target)
        if figure is None:
            return None
        is_within = figure <= bound.limit if self.is_lower_better else figure >= bound.limit
        if bound.ratio is None or not is_within:
            return is_within
        return None if ratio is None else ratio >= bound.ratio


def build_rows(results: Results) -> list[Row]:
    """The rows for which there is a figure."""
    rows = (
        *_speed_rows(results),
        *_latency_rows(results),
        *_length_rows(results),
        *_memory_rows(results),
    )
    return [row for row in rows if row.figures]


def _speed_rows(results: Results) -> Iterator[Row]:
    yield Row(
        title="one sentence",
        unit="x",
        digits=1,
        figures=_medians(results, Metric.SENTENCE_SPEED),
        reference=PACKAGE,
        musts={OURS_INT8: Bound(8.0, 6.0), OURS_FP32: Bound(3.5, 2.5)},
        aims={OURS_INT8: Bound(12.0), OURS_FP32: Bound(5.0)},
    )
    yield Row(
        title="ten sentences in one request",
        unit="x",
        digits=1,
        figures=_medians(results, Metric.TEXT_SPEED, 10),
        reference=PACKAGE,
        musts={OURS_INT8: Bound(30.0, 5.0)},
        aims={OURS_INT8: Bound(50.0)},
    )
    num_clients = max(results.numbers(Metric.CLIENTS_SPEED), default=0)
    has_bounds = num_clients == NUM_BOUND_CLIENTS
    yield Row(
        title=f"{num_clients} clients at once, a sentence each",
        unit="x",
        digits=1,
        figures=_medians(results, Metric.CLIENTS_SPEED, num_clients),
        reference=PACKAGE_SERVER,
        musts={OURS_INT8: Bound(40.0)} if has_bounds else {},
        aims={OURS_INT8: Bound(60.0)} if has_bounds else {},
    )


def _latency_rows(results: Results) -> Iterator[Row]:
    yield Row(
        title="first audio, idle",
        unit="ms",
        is_lower_better=True,
        figures=_scaled(_medians(results, Metric.IDLE_FIRST_AUDIO_S), MS_PER_S),
        reference=PACKAGE,
        musts={OURS_INT8: Bound(80.0, 4.0)},
        aims={OURS_INT8: Bound(50.0)},
    )
    yield Row(
        title=f"first audio while {NUM_OTHERS} others stream, p95 / idle",
        unit="x",
        digits=1,
        is_lower_better=True,
        figures=_busy_against_idle(results),
        musts={OURS_INT8: Bound(4.0)},
    )
    for num_streams in (1, *NUM_STREAMS):
        yield Row(
            title=f"streams at once: {num_streams}; lowest playback margin",
            unit="ms",
            figures=_scaled(_lowest(results, Metric.STREAM_MARGIN_S, num_streams), MS_PER_S),
            musts={OURS_INT8: Bound(0.0)} if num_streams == NUM_STREAMS[0] else {},
            aims={OURS_INT8: Bound(0.0)} if num_streams == NUM_STREAMS[-1] else {},
        )


def _length_rows(results: Results) -> Iterator[Row]:
    longest = max(results.numbers(Metric.TEXT_SPEED), default=0)
    if longest > 10:
        yield Row(
            title=f"{longest} sentences in one request / ten, speed",
            unit="x",
            digits=2,
            figures=_quotients(
                _medians(results, Metric.TEXT_SPEED, longest),
                _medians(results, Metric.TEXT_SPEED, 10),
            ),
            musts={OURS_INT8: Bound(0.8)},
        )


def _memory_rows(results: Results) -> Iterator[Row]:
    num_clients = max(results.numbers(Metric.CLIENTS_SPEED), default=0)
    has_bounds = num_clients == NUM_BOUND_CLIENTS
    yield _memory_row("resident memory, loaded", _medians(results, Metric.LOADED_BYTES))
    yield _memory_row(
        f"resident memory, after {num_clients} clients",
        _medians(results, Metric.CLIENTS_BYTES),
        must=600.0 if has_bounds else None,
        aim=400.0 if has_bounds else None,
    )
    yield _memory_row("resident memory, at the end", _medians(results, Metric.END_BYTES))
    before = _medians(results, Metric.SENTENCE_BYTES)
    for pace, metric in (
        ("read as fast as it comes", Metric.FAST_CLIENT_BYTES),
        ("read slowly", Metric.SLOW_CLIENT_BYTES),
    ):
        peak = _medians(results, metric)
        above = {name: peak[name] - before[name] for name in peak}
        yield _memory_row(f"long text {pace}, peak above one sentence", above, must=50.0)


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


def _busy_against_idle(results: Results) -> dict[str, float]:
    busy = _percentiles(results, 95, Metric.BUSY_FIRST_AUDIO_S)
    return _quotients(busy, _medians(results, Metric.IDLE_FIRST_AUDIO_S))


def _medians(results: Results, metric: Metric, num: int = 0) -> dict[str, float]:
    return _percentiles(results, 50, metric, num)


def _lowest(results: Results, metric: Metric, num: int) -> dict[str, float]:
    return _percentiles(results, 0, metric, num)


def _percentiles(
    results: Results, percent: float, metric: Metric, num: int = 0
) -> dict[str, float]:
    found = {name: results.percentile(percent, name, metric, num) for name in TARGETS}
    return {name: value for name, value in found.items() if value is not None}


def _quotients(above: Mapping[str, float], below: Mapping[str, float]) -> dict[str, float]:
    return {name: above[name] / below[name] for name in above if name in below}


def _scaled(values: Mapping[str, float], factor: float) -> dict[str, float]:
    return {name: value * factor for name, value in values.items()}
