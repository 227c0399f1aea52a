"""The port to the metrics of the server."""

from collections.abc import Callable
from typing import Protocol, runtime_checkable

from app.domain.admission import QueueLoad


@runtime_checkable  # a controller takes it by injection, which checks the instance
class MetricsSource(Protocol):
    """All metrics as one page of text."""

    content_type: str
    """Of the page, as an HTTP media type without charset; it is UTF-8."""

    def watch_queue(self, ask: Callable[[], QueueLoad]) -> None:
        """Have what waits and runs told by `ask`, each time the page is made."""
        ...

    def render(self) -> bytes:
        """The page, with the values of now. Returns at once."""
        ...
