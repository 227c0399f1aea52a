"""Around every request: its id, bound to all log events, and one event when it is done."""

import re
import uuid
from typing import Final, TypeGuard, cast

import structlog
from litestar.datastructures import MutableScopeHeaders
from litestar.enums import ScopeType
from litestar.types import ASGIApp, HTTPScope, Message, Receive, Scope, Send, WebSocketScope

from app.entrypoints.http.authentication import key_name_in
from app.entrypoints.http.errors import error_noted_in
from app.entrypoints.http.security_headers import SECURITY_HEADERS
from app.ports.clock import Clock

_log = structlog.get_logger(__name__)

QUIET_PATHS: Final = ("/health/", "/metrics")
"""Asked every few seconds by whoever supervises; not worth an event each time."""

HEADS: Final = ("http.response.start", "websocket.accept", "websocket.http.response.start")
"""The messages with headers."""

SWITCHING_PROTOCOLS: Final = 101
"""Status of a socket that is accepted; its message names none."""

MAX_LOGGED_CHARS: Final = 256
"""Of each of a request's words, its method and its path, in logs and spans."""

_SAFE_ID: Final = re.compile(r"[A-Za-z0-9._:-]{1,128}")


class RequestContext:
    """ASGI wrapper: gives each request and each socket an id and answers with it in `x-request-id`.

    A client's own id is kept if it is short and plain; anything else is replaced.
    """

    def __init__(self, app: ASGIApp, clock: Clock) -> None:
        self._app = app
        self._clock = clock

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Run one request, or one socket to its end."""
        if not has_request(scope):
            await self._app(scope, receive, send)
            return
        started = self._clock.monotonic()
        answer = _Answer(scope, send)
        with structlog.contextvars.bound_contextvars(request_id=answer.request_id):
            try:
                await self._app(scope, receive, answer.send)
            finally:
                write = _log.debug if scope["path"].startswith(QUIET_PATHS) else _log.info
                write(
                    "http.request",
                    method=shortened(str(scope.get("method", "WEBSOCKET"))),
                    path=shortened(scope["path"]),
                    status=answer.status,
                    error=error_noted_in(scope),
                    duration_s=round(self._clock.monotonic() - started, 4),
                    **_key_field(scope),
                )


class _Answer:
    """Puts our headers on the head of an answer, and remembers its status."""

    def __init__(self, scope: HTTPScope | WebSocketScope, send: Send) -> None:
        self.request_id = _request_id(scope)
        self.status = 0
        self._must_close = _has_two_lengths(scope)
        self._send = send

    async def send(self, message: Message) -> None:
        if message["type"] in HEADS:
            self.status = cast("int", message.get("status", SWITCHING_PROTOCOLS))
            headers = MutableScopeHeaders.from_message(message)
            headers["x-request-id"] = self.request_id
            if self._must_close:
                headers["connection"] = "close"
            for name, value in SECURITY_HEADERS.items():
                headers[name] = value
        await self._send(message)


def has_request(scope: Scope) -> TypeGuard[HTTPScope | WebSocketScope]:
    """Whether a scope is of a request or a socket, not of the server's own life."""
    return scope["type"] in (ScopeType.HTTP, ScopeType.WEBSOCKET)


def shortened(text: str) -> str:
    """What a client sent, as much of it as is logged."""
    return text if len(text) <= MAX_LOGGED_CHARS else f"{text[:MAX_LOGGED_CHARS]}..."


def _key_field(scope: HTTPScope | WebSocketScope) -> dict[str, str]:
    name = key_name_in(scope)
    return {} if name is None else {"api_key": name}


def _has_two_lengths(scope: HTTPScope | WebSocketScope) -> bool:
    """Whether a body has both chunks and a length.

    The chunks count, and the connection must end (RFC 9112, section 6.1): two servers in a row that
    choose differently would see different requests.
    """
    return {b"content-length", b"transfer-encoding"} <= {name for name, _ in scope["headers"]}


def _request_id(scope: HTTPScope | WebSocketScope) -> str:
    for name, value in scope["headers"]:
        if name == b"x-request-id":
            text = value.decode("latin-1")
            if _SAFE_ID.fullmatch(text):
                return text
    return uuid.uuid4().hex
