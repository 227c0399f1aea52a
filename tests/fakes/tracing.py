"""Tracing that remembers its spans."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager

from app.ports.telemetry import Attributes

TRACE_ID = "0af7651916cd43dd8448eb211c80319c"


class FakeSpan:
    """A span to look at."""

    trace_id = TRACE_ID

    def __init__(self, name: str, attributes: Attributes) -> None:
        self.name = name
        self.attributes = dict(attributes)
        self.events: list[str] = []
        self.error: str | None = None
        self.num_ends = 0

    def rename(self, name: str) -> None:
        self.name = name

    def add_event(self, name: str) -> None:
        self.events.append(name)

    def end(self, attributes: Attributes, error: str | None = None) -> None:
        self.attributes.update(attributes)
        self.error = error
        self.num_ends += 1


class FakeTracing:
    """Attributes hold what it was told, oldest first."""

    def __init__(self) -> None:
        self.spans: list[FakeSpan] = []
        self.headers: list[Mapping[str, str]] = []
        self.is_closed = False

    @contextmanager
    def follow(
        self, name: str, headers: Mapping[str, str], attributes: Attributes
    ) -> Iterator[FakeSpan]:
        self.headers.append(headers)
        yield self.begin(name, attributes)

    def begin(self, name: str, attributes: Attributes) -> FakeSpan:
        self.spans.append(FakeSpan(name, attributes))
        return self.spans[-1]

    async def close(self) -> None:
        self.is_closed = True
