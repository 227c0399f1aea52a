"""What every RequestObserver keeps."""

from collections.abc import Callable

import pytest

from app.adapters.observers.prometheus import PrometheusMetrics
from app.ports.telemetry import RequestObserver, RequestReport
from tests.fakes.request_observer import FakeRequestObserver

OBSERVERS: dict[str, Callable[[], RequestObserver]] = {
    "fake": FakeRequestObserver,
    "metrics": PrometheusMetrics,
}


@pytest.mark.parametrize("make", OBSERVERS.values(), ids=OBSERVERS.keys())
@pytest.mark.parametrize("method", ["GET", "WEBSOCKET", "", "\udcff", "A" * 10_000])
@pytest.mark.parametrize("route", ["/v1/models/{model_id}", None, ""])
def test_it_takes_whatever_happens_without_raising(
    make: Callable[[], RequestObserver], method: str, route: str | None
) -> None:
    observer = make()
    for status in (0, 101, 200, 599):
        observer.request_ended(
            RequestReport(method=method, route=route, status=status, duration_s=0.0)
        )
    observer.refused_unread("server_overloaded", 3)
    observer.sockets_changed(1)
    observer.sockets_changed(0)
