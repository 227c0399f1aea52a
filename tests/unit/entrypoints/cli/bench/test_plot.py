"""The plot is a PNG."""

from pathlib import Path

import pytest

from app.entrypoints.cli.bench.figures import OURS_INT8, PACKAGE_SERVER, Figures, Metric
from app.entrypoints.cli.bench.plot import write_plot

pytest.importorskip("matplotlib")


def test_a_plot_is_a_picture_whatever_was_measured(tmp_path: Path) -> None:
    figures = Figures()
    for num in (1, 4):
        for name in (OURS_INT8, PACKAGE_SERVER):
            figures.add(name, Metric.CLIENTS_SPEED, [float(num)], num)
        figures.add(OURS_INT8, Metric.CLIENTS_FIRST_AUDIO_S, [0.05], num)
    write_plot(figures, tmp_path / "plot.png")
    assert (tmp_path / "plot.png").read_bytes().startswith(b"\x89PNG\r\n\x1a\n")
