"""The port to observers of HTTP requests and WebSockets."""

from typing import Protocol

import msgspec


class RequestReport(msgspec.Struct, frozen=True, kw_only=True):
    """What became of one request, or of one socket.

    Attributes:
        method: as in HTTP, upper case; "WEBSOCKET" of a socket.
        route: template of the address, `/v1/models/{model_id}`; None if there is nothing there.
        status: of the answer; 101 of a socket that was accepted, 0 if nothing was answered.
        duration_s: to the end of the answer, or of the socket, in seconds.
    """

    method: str
    route: str | None
    status: int
    duration_s: float


class RequestObserver(Protocol):
    """Told what happened, after it happened. Must return at once and never raise."""

    def request_ended(self, report: RequestReport) -> None:
        """A request or a socket has ended, however it ended."""
        ...

    def sockets_changed(self, num_open: int) -> None:
        """So many sockets are open now."""
        ...
