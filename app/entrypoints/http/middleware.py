"""Around every request and socket: its id, security headers, log event, metrics and span.

Also what must be decided before a route is found: the host name, encoded slashes and preflights.
Spans and their attributes have the names of OpenTelemetry's conventions for HTTP servers.
"""

import re
import uuid
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass
from typing import Final, cast

import structlog
from litestar.config.cors import CORSConfig
from litestar.datastructures import Headers, MutableScopeHeaders
from litestar.enums import HttpMethod
from litestar.types import ASGIApp, Message, Receive, Scope, Send

from app.domain.errors import SpeechError
from app.entrypoints.http.access import AllowedHosts, host_name, key_name
from app.entrypoints.http.errors import ERROR_CODE, HttpError, send_error
from app.entrypoints.http.schemas import SECURITY_HEADERS
from app.entrypoints.services import Services
from app.ports.telemetry import RequestReport, Span

QUIET_PATHS: Final = ("/health", "/metrics")  # asked every few seconds; logged at level debug
TRACED_PREFIX: Final = "/v1/"  # machines ask the others often
MAX_LOGGED_CHARS: Final = 256  # of methods and paths, in logs and spans

WITH_HEADERS: Final = ("http.response.start", "websocket.accept", "websocket.http.response.start")
SWITCHING_PROTOCOLS: Final = 101  # a socket that is accepted; its message has no status
REJECTED_SOCKET: Final = 403  # what the server answers where a socket is closed unaccepted (ASGI)
SERVER_ERROR: Final = 500

WEBSOCKET: Final = "WEBSOCKET"  # stands for the method of a socket in logs and metrics
METHODS: Final = frozenset({"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "TRACE"})
OTHER_METHOD: Final = "_OTHER"  # OpenTelemetry's name for any other one

# A slash in a name is not a separator (RFC 3986, section 2.2). No name here has one: the server
# decodes it, so that the framework and a proxy that filters by path would see different addresses.
ENCODED_SLASH: Final = b"%2f"

_SAFE_ID: Final = re.compile(r"[A-Za-z0-9._:-]{1,128}")
_IS_HEAD: Final = "is_head"
_TWO_LENGTHS: Final = {b"content-length", b"transfer-encoding"}

_log = structlog.get_logger(__name__)


@dataclass(eq=False)
class RequestMiddleware:
    """ASGI wrapper of the whole application; HEAD runs as GET without the body.

    A client's own `x-request-id` is kept if it is short and plain.
    """

    app: ASGIApp
    services: Services
    hosts: AllowedHosts
    cors: CORSConfig | None  # the pages that may use the server
    _num_sockets: int = 0

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Run one request, or one socket to its end."""
        clock, observer = self.services.ports.clock, self.services.ports.requests
        started = clock.monotonic()
        response = _Response(scope, send, self._count_socket)
        inner: Scope = scope
        if scope.get("method") == HttpMethod.HEAD:
            scope["state"][_IS_HEAD] = True
            inner = cast("Scope", {**scope, "method": HttpMethod.GET.value})
        with ExitStack() as context:
            span = self._start_span(scope, context)
            bound = structlog.contextvars.bound_contextvars(request_id=response.request_id)
            context.enter_context(bound)
            try:
                if (error := await self._find_fault(scope)) is not None:
                    await send_error(scope, response.send, error)
                else:
                    await self.app(inner, receive, response.send)
            finally:
                report = RequestReport(
                    method=str(scope.get("method", WEBSOCKET)),
                    route=inner.get("path_template") or None,
                    status=response.status,
                    duration_s=clock.monotonic() - started,
                )
                key, code = key_name(scope), scope.get("state", {}).get(ERROR_CODE)
                write = _log.debug if scope["path"].startswith(QUIET_PATHS) else _log.info
                write(
                    "http.request",
                    method=_shortened(report.method),
                    path=_shortened(scope["path"]),
                    status=report.status,
                    error=code,
                    duration_s=round(report.duration_s, 4),
                    **({} if key is None else {"api_key": key}),
                )
                observer.request_ended(report)
                if response.is_socket:
                    self._count_socket(-1)
                if span is not None:
                    _end_span(span, report, code)

    def _count_socket(self, change: int) -> None:
        self._num_sockets += change
        self.services.ports.requests.sockets_changed(self._num_sockets)

    def _start_span(self, scope: Scope, context: ExitStack) -> Span | None:
        tracing = self.services.ports.tracing
        if tracing is None or not scope["path"].startswith(TRACED_PREFIX):
            return None
        method = str(scope.get("method", "GET"))  # as a socket begins
        attributes = {
            "http.request.method": method if method in METHODS else OTHER_METHOD,
            "url.scheme": scope["scheme"],
            "url.path": _shortened(scope["path"]),
            "network.protocol.version": scope["http_version"],
        }
        if method not in METHODS:
            attributes["http.request.method_original"] = _shortened(method)
        headers = {
            name.decode("latin-1"): value.decode("latin-1") for name, value in scope["headers"]
        }
        name = attributes["http.request.method"]
        span = context.enter_context(tracing.follow(name, headers, attributes))
        context.enter_context(structlog.contextvars.bound_contextvars(trace_id=span.trace_id))
        return span

    async def _find_fault(self, scope: Scope) -> SpeechError | None:
        """Why the request is rejected whatever its route is."""
        headers = Headers.from_scope(scope)
        # A page that has no key gains nothing from another name; no browser omits `Host`.
        name = host_name(next(iter(headers.getall("host", [])), ""))
        is_foreign = name and not self.hosts.allows(name)
        if is_foreign and not await self.services.access.needs_key():
            return HttpError("host_not_allowed", name=name[:253])
        if ENCODED_SLASH in scope["raw_path"].lower():
            return HttpError("not_found", problem="Not found")
        # The framework takes each OPTIONS with an origin for a preflight; it answers in plain text.
        if self.cors is not None and scope.get("method") == HttpMethod.OPTIONS:
            origin = headers.get("origin")
            if origin and not self.cors.is_origin_allowed(origin):
                return HttpError("origin_not_allowed")
        return None


class _Response:
    """The only `send` wrapper of every message: adds our headers and notes the status."""

    def __init__(self, scope: Scope, send: Send, count_socket: Callable[[int], None]) -> None:
        own = [text.decode("latin-1") for name, text in scope["headers"] if name == b"x-request-id"]
        self.request_id = next(filter(_SAFE_ID.fullmatch, own), None) or uuid.uuid4().hex
        self.status = 0
        self.is_socket = False
        self._scope = scope
        self._send = send
        self._count_socket = count_socket

    async def send(self, message: Message) -> None:
        kind = message["type"]
        if kind == "websocket.close" and "route_handler" not in self._scope:
            # No such address; the framework closes the socket, which is an empty 403 (ASGI).
            error = HttpError("not_found", problem="No WebSocket at this address")
            await send_error(self._scope, self.send, error)
            return
        if kind in WITH_HEADERS:
            self.status = cast("int", message.get("status", SWITCHING_PROTOCOLS))
            self._add_headers(message)
        elif kind == "websocket.close" and not self.status:
            self.status = REJECTED_SOCKET
        elif kind == "http.response.body" and self._scope["state"].get(_IS_HEAD):
            message["body"] = b""  # type: ignore[typeddict-unknown-key]
        if kind == "websocket.accept":
            self.is_socket = True
            self._count_socket(1)
        await self._send(message)

    def _add_headers(self, message: Message) -> None:
        headers = MutableScopeHeaders.from_message(message)
        headers["x-request-id"] = self.request_id
        # Of chunks and a length the chunks count, and the connection must end (RFC 9112, section
        # 6.1): two servers in a row that choose differently would see different requests.
        if {name for name, _ in self._scope["headers"]} >= _TWO_LENGTHS:
            headers["connection"] = "close"
        if "allow" in headers:
            allowed = {method.strip() for method in headers["allow"].split(",")}
            if HttpMethod.GET in allowed:
                allowed.add(HttpMethod.HEAD.value)
            headers["allow"] = ", ".join(sorted(allowed))
        for name, value in SECURITY_HEADERS.items():
            headers[name] = value


def is_head(scope: Scope) -> bool:
    """Whether only the headers of the answer are wanted, so that its body need not be made."""
    return _IS_HEAD in scope["state"]


def _shortened(text: str) -> str:
    return text if len(text) <= MAX_LOGGED_CHARS else f"{text[:MAX_LOGGED_CHARS]}..."


def _end_span(span: Span, report: RequestReport, error: str | None) -> None:
    attributes: dict[str, str | int] = {}
    if report.status:
        attributes["http.response.status_code"] = report.status
    if report.route is not None:
        span.rename(f"{report.method.replace(WEBSOCKET, 'GET')} {report.route}")
        attributes["http.route"] = report.route
    is_ours = report.status >= SERVER_ERROR
    span.end(attributes, (error or str(report.status)) if is_ours else None)
