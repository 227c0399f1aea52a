"""Throughput and first audio against the number of clients, as a picture."""

from importlib.util import find_spec
from pathlib import Path
from typing import Any, Final

from app.entrypoints.cli.bench.figures import Figures, Metric
from app.entrypoints.cli.bench.rows import MS_PER_S

WIDTH_INCHES, HEIGHT_INCHES, DOTS_PER_INCH = 10.0, 4.0, 120
MARKERS: Final = ("o", "s", "^", "D")


def can_plot() -> bool:
    """Whether matplotlib is installed."""
    return find_spec("matplotlib") is not None


def write_plot(figures: Figures, path: Path) -> None:
    """Write a PNG. Needs matplotlib."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure((WIDTH_INCHES, HEIGHT_INCHES), layout="constrained")
    FigureCanvasAgg(figure)
    left, right = figure.subplots(1, 2)
    _draw(left, figures, Metric.CLIENTS_SPEED, 1.0)
    left.set_title("throughput")
    left.set_ylabel("seconds of audio per second")
    left.set_ylim(bottom=0)
    _draw(right, figures, Metric.CLIENTS_FIRST_AUDIO_S, MS_PER_S)
    right.set_title("time to first audio, median")
    right.set_ylabel("ms")
    right.set_yscale("log")
    right.yaxis.set_major_formatter("{x:g}")
    right.yaxis.set_minor_formatter("{x:g}")
    figure.savefig(path, dpi=DOTS_PER_INCH)


def _draw(axes: Any, figures: Figures, metric: Metric, factor: float) -> None:
    """A line for each contestant that was measured."""
    numbers = figures.numbers(metric)
    for name, marker in zip(figures.contestants(), MARKERS, strict=False):
        values = {num: figures.percentile(50, name, metric, num) for num in numbers}
        points = [(num, value * factor) for num, value in values.items() if value is not None]
        if points:
            axes.plot(*zip(*points, strict=True), marker=marker, label=name)
    axes.set_xticks(numbers)
    axes.set_xlabel("clients at once")
    axes.grid(alpha=0.3)
    axes.legend()
