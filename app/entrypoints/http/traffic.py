"""Around everything: each request and each socket is counted, timed and, if asked for, followed.

Spans and their attributes have the names of OpenTelemetry's conventions for HTTP servers.
"""

from collections.abc import Callable
from contextlib import ExitStack
from typing import Final, cast

import structlog
from litestar.enums import ScopeType
from litestar.types import ASGIApp, HTTPScope, Message, Receive, Scope, Send, WebSocketScope

from app.entrypoints.http.context import HEADS, SWITCHING_PROTOCOLS, has_request, shortened
from app.entrypoints.http.errors import error_noted_in
from app.ports.clock import Clock
from app.ports.request_observer import RequestObserver, RequestReport
from app.ports.tracing import Span, Tracing

WEBSOCKET: Final = "WEBSOCKET"
"""Method, in logs and metrics, of a socket."""

FOLLOWED: Final = "/v1/"
"""Start of the addresses whose requests are followed: the others are asked by machines, often."""

REFUSED_SOCKET: Final = 403
"""What the server answers where a socket is closed instead of accepted (ASGI)."""

METHODS: Final = frozenset({"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "TRACE"})
OTHER_METHOD: Final = "_OTHER"
"""What the conventions call any other method."""

SERVER_ERROR: Final = 500


class Traffic:
    """ASGI wrapper.

    Args:
        app: what is wrapped.
        clock: measures.
        observer: told of each request and socket at its end.
        tracing: follows them; None is nobody.
    """

    def __init__(
        self, app: ASGIApp, clock: Clock, observer: RequestObserver, tracing: Tracing | None
    ) -> None:
        self._app = app
        self._clock = clock
        self._observer = observer
        self._tracing = tracing
        self._num_sockets = 0

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Run one request, or one socket to its end."""
        if not has_request(scope):
            await self._app(scope, receive, send)
            return
        started = self._clock.monotonic()
        answer = _Answer(send, self._count_socket)
        with ExitStack() as followed:
            span = self._follow(scope, followed)
            try:
                await self._app(scope, receive, answer.send)
            finally:
                report = RequestReport(
                    method=_method(scope) or WEBSOCKET,
                    route=scope.get("path_template") or None,
                    status=answer.status,
                    duration_s=self._clock.monotonic() - started,
                )
                self._observer.request_ended(report)
                if answer.is_socket:
                    self._count_socket(-1)
                if span is not None:
                    _end(span, report, error_noted_in(scope))

    def _count_socket(self, change: int) -> None:
        self._num_sockets += change
        self._observer.sockets_changed(self._num_sockets)

    def _follow(self, scope: HTTPScope | WebSocketScope, followed: ExitStack) -> Span | None:
        """The span of a request, if it is to be followed, and its number in all log events."""
        if self._tracing is None or not scope["path"].startswith(FOLLOWED):
            return None
        known = _describe(scope)
        name = str(known["http.request.method"])
        following = self._tracing.follow(name, _headers(scope), known)
        span = followed.enter_context(following)
        followed.enter_context(structlog.contextvars.bound_contextvars(trace_id=span.trace_id))
        return span


class _Answer:
    """Remembers what is sent: the status, and whether a socket was accepted."""

    def __init__(self, send: Send, count_socket: Callable[[int], None]) -> None:
        self.status = 0
        self.is_socket = False
        self._send = send
        self._count_socket = count_socket

    async def send(self, message: Message) -> None:
        if message["type"] in HEADS:
            self.status = cast("int", message.get("status", SWITCHING_PROTOCOLS))
        elif message["type"] == "websocket.close" and not self.status:
            self.status = REFUSED_SOCKET
        if message["type"] == "websocket.accept":
            self.is_socket = True
            self._count_socket(1)
        await self._send(message)


def _headers(scope: HTTPScope | WebSocketScope) -> dict[str, str]:
    return {name.decode("latin-1"): value.decode("latin-1") for name, value in scope["headers"]}


def _method(scope: HTTPScope | WebSocketScope) -> str | None:
    return scope["method"] if scope["type"] == ScopeType.HTTP else None


def _describe(scope: HTTPScope | WebSocketScope) -> dict[str, str]:
    method = _method(scope) or "GET"  # as a socket begins
    known = {
        "http.request.method": method if method in METHODS else OTHER_METHOD,
        "url.scheme": scope["scheme"],
        "url.path": shortened(scope["path"]),
        "network.protocol.version": scope["http_version"],
    }
    if method not in METHODS:
        known["http.request.method_original"] = shortened(method)
    return known


def _end(span: Span, report: RequestReport, error: str | None) -> None:
    attributes: dict[str, str | int] = {}
    if report.status:
        attributes["http.response.status_code"] = report.status
    if report.route is not None:
        method = report.method.replace(WEBSOCKET, "GET")
        span.rename(f"{method} {report.route}")
        attributes["http.route"] = report.route
    is_ours = report.status >= SERVER_ERROR
    span.end(attributes, (error or str(report.status)) if is_ours else None)
