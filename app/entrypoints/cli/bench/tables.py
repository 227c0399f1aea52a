"""Figures as tables of text, for a terminal and for Markdown. Pure."""

from collections.abc import Mapping, Sequence
from typing import Final

import msgspec
from rich.table import Table

from app.entrypoints.cli.bench.figures import (
    OURS_FP32,
    OURS_INT8,
    PACKAGE,
    PACKAGE_SERVER,
    Figures,
    Metric,
)
from app.entrypoints.cli.bench.rows import MS_PER_S, Bound, Row

MIN_TITLE_WIDTH: Final = 26
"""Of the first column on a terminal, in characters, where a row has so many."""

NOTHING: Final = "-"
VERDICTS: Final = {True: "yes", False: "no", None: "not measured"}
OURS: Final = (OURS_INT8, OURS_FP32)


class TextTable(msgspec.Struct, frozen=True):
    """A title, a head and rows of cells, the first of which says what the row is about."""

    title: str
    head: Sequence[str]
    rows: Sequence[Sequence[str]]


def as_markdown(table: TextTable) -> str:
    """A section of a document."""
    marks = ("---", *("---:" for _ in table.head[1:]))
    lines = [f"| {' | '.join(cells)} |" for cells in (table.head, marks, *table.rows)]
    return "\n".join((f"## {table.title}", "", *lines))


def as_rich(table: TextTable) -> Table:
    """For a terminal."""
    rich = Table(title=table.title, title_justify="left", box=None)
    rich.add_column(table.head[0], min_width=MIN_TITLE_WIDTH)
    for name in table.head[1:]:
        rich.add_column(name, justify="right")
    for cells in table.rows:
        rich.add_row(*cells)
    return rich


def build_tables(figures: Figures, rows: Sequence[Row]) -> list[TextTable]:
    """The comparison, the targets, and what they leave out."""
    tables = (
        _comparison(rows),
        _targets(rows),
        _clients(figures),
        _streams(figures),
        _lengths(figures),
    )
    return [table for table in tables if table.rows]


def _comparison(rows: Sequence[Row]) -> TextTable:
    contestants = (*OURS, PACKAGE, PACKAGE_SERVER)
    return TextTable(
        "Against the package",
        ("", *contestants, *(f"{name} / package" for name in OURS)),
        [
            (
                row.title,
                *(_figure(row, row.figures.get(name)) for name in contestants),
                *(_number(row.ratio(name), 1) for name in OURS),
            )
            for row in rows
        ],
    )


def _targets(rows: Sequence[Row]) -> TextTable:
    return TextTable(
        "Targets",
        ("", "measured", "must", "holds", "aim", "holds"),
        [
            (
                f"{name}: {row.title}",
                _figure(row, row.figures.get(name)),
                *_judged(row, name, row.musts),
                *_judged(row, name, row.aims),
            )
            for row in rows
            for name in OURS
            if name in row.musts or name in row.aims
        ],
    )


def _judged(row: Row, contestant: str, bounds: Mapping[str, Bound]) -> tuple[str, str]:
    """The bound and whether it holds."""
    bound = bounds.get(contestant)
    if bound is None:
        return NOTHING, NOTHING
    words = f"{'≤' if row.is_lower_better else '≥'} {bound.limit:g} {row.unit}"
    if bound.ratio is not None:
        words += f", ≥ {bound.ratio:g} / package"
    return words, VERDICTS[row.holds(contestant, bound)]


def _clients(figures: Figures) -> TextTable:
    contestants = _known(figures, Metric.CLIENTS_SPEED)

    def cells(num: int, name: str) -> tuple[str, ...]:
        return (
            _number(figures.percentile(50, name, Metric.CLIENTS_SPEED, num), 1),
            *(
                _ms(figures.percentile(p, name, Metric.CLIENTS_FIRST_AUDIO_S, num))
                for p in (50, 95)
            ),
        )

    return TextTable(
        "Clients at once, a sentence each",
        (
            "clients",
            *(f"{name}: {what}" for name in contestants for what in CLIENT_COLUMNS),
        ),
        [
            (str(num), *(cell for name in contestants for cell in cells(num, name)))
            for num in figures.numbers(Metric.CLIENTS_SPEED)
        ],
    )


CLIENT_COLUMNS: Final = ("x", "first audio, ms", "p95, ms")


def _streams(figures: Figures) -> TextTable:
    return TextTable(
        "Streams at once",
        ("streams", "lowest margin, ms", "first audio, ms", "p95, ms", "gap p50, ms", "p95, ms"),
        [
            (
                f"{num}, {name}",
                _ms(figures.percentile(0, name, Metric.STREAM_MARGIN_S, num)),
                *(
                    _ms(figures.percentile(p, name, Metric.STREAM_FIRST_AUDIO_S, num))
                    for p in PERCENTS
                ),
                *(_ms(figures.percentile(p, name, Metric.STREAM_GAP_S, num)) for p in PERCENTS),
            )
            for num in figures.numbers(Metric.STREAM_MARGIN_S)
            for name in _known(figures, Metric.STREAM_MARGIN_S, num)
        ],
    )


PERCENTS: Final = (50, 95)


def _lengths(figures: Figures) -> TextTable:
    contestants = _known(figures, Metric.TEXT_SPEED)
    return TextTable(
        "Length of one text, seconds of audio per second",
        ("sentences", *contestants),
        [
            (
                str(num),
                *(
                    _number(figures.percentile(50, name, Metric.TEXT_SPEED, num), 1)
                    for name in contestants
                ),
            )
            for num in figures.numbers(Metric.TEXT_SPEED)
        ],
    )


def _known(figures: Figures, metric: Metric, num: int | None = None) -> list[str]:
    """Of whom the metric is known, for one number or for any."""
    nums = figures.numbers(metric) if num is None else [num]
    return [
        name
        for name in figures.contestants()
        if any(figures.percentile(50, name, metric, one) is not None for one in nums)
    ]


def _figure(row: Row, value: float | None) -> str:
    return NOTHING if value is None else f"{value:.{row.digits}f} {row.unit}"


def _number(value: float | None, digits: int) -> str:
    return NOTHING if value is None else f"{value:.{digits}f}"


def _ms(seconds: float | None) -> str:
    return _number(None if seconds is None else seconds * MS_PER_S, 0)
