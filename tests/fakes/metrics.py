"""A MetricsSource with one number."""

from collections.abc import Callable

from app.domain.admission import QueueLoad


class FakeMetrics:
    """Always the same page."""

    content_type = "text/plain; version=0.0.4"

    def watch_queue(self, ask: Callable[[], QueueLoad]) -> None:
        self.ask_queue = ask

    def render(self) -> bytes:
        return b"fake_total 1\n"
