"""A MetricsSource with one number."""


class FakeMetrics:
    """Always the same page."""

    content_type = "text/plain; version=0.0.4"

    def render(self) -> bytes:
        return b"fake_total 1\n"
