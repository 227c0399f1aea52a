"""The port to tracing: a request is followed through this server, and from server to server."""

from collections.abc import Mapping
from contextlib import AbstractContextManager
from typing import Protocol

Attributes = Mapping[str, str | int | float | bool]
"""What is known of a piece of work, by name. Never the text that is spoken, and no key."""


class Span(Protocol):
    """A piece of work that is followed. Must be ended, once; no method raises."""

    @property
    def trace_id(self) -> str:
        """Of the request that it belongs to, on all servers: 32 hexadecimal digits."""
        ...

    def rename(self, name: str) -> None:
        """Give it the name that was not known at the beginning."""
        ...

    def add_event(self, name: str) -> None:
        """Something happened, now."""
        ...

    def end(self, attributes: Attributes, error: str | None = None) -> None:
        """It is over, now; `error` is the code of its failure."""
        ...


class Tracing(Protocol):
    """Follows requests."""

    def follow(
        self, name: str, headers: Mapping[str, str], attributes: Attributes
    ) -> AbstractContextManager[Span]:
        """A request; what begins within the context belongs to it.

        Args:
            name: of the kind of request.
            headers: by lower-case name; they may say which trace it continues (W3C Trace Context).
            attributes: known already.
        """
        ...

    def begin(self, name: str, attributes: Attributes) -> Span:
        """A piece of work of the request that is followed here, or of none."""
        ...

    async def close(self) -> None:
        """Hand over what is not handed over yet; takes a bounded time."""
        ...
