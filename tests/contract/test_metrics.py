"""What every MetricsSource keeps."""

from collections.abc import Callable

import pytest

from app.adapters.observers.prometheus import PrometheusMetrics
from app.ports.telemetry import MetricsSource
from tests.fakes.metrics import FakeMetrics

SOURCES: dict[str, Callable[[], MetricsSource]] = {
    "fake": FakeMetrics,
    "prometheus": PrometheusMetrics,
}


@pytest.mark.parametrize("make", SOURCES.values(), ids=SOURCES.keys())
def test_the_page_is_lines_of_a_name_and_a_number(make: Callable[[], MetricsSource]) -> None:
    source = make()
    assert source.content_type.startswith("text/plain")
    lines = [line for line in source.render().decode().splitlines() if not line.startswith("#")]
    assert lines
    assert all(float(line.rpartition(" ")[2]) >= 0 for line in lines)
