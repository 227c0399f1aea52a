"""A RequestObserver that remembers."""

from app.ports.telemetry import RequestReport


class FakeRequestObserver:
    """Attributes hold what it was told, oldest first."""

    def __init__(self) -> None:
        self.reports: list[RequestReport] = []
        self.refused: list[str] = []
        self.nums_open: list[int] = []

    def request_ended(self, report: RequestReport) -> None:
        self.reports.append(report)

    def refused_unread(self, error_code: str, num_requests: int) -> None:
        self.refused += [error_code] * num_requests

    def sockets_changed(self, num_open: int) -> None:
        self.nums_open.append(num_open)
