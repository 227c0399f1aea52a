"""Around every request: its id, bound to all log events, and one event when it is done."""

import re
import uuid
from typing import Final, TypeGuard

import structlog
from litestar.datastructures import MutableScopeHeaders
from litestar.enums import ScopeType
from litestar.types import ASGIApp, HTTPScope, Message, Receive, Scope, Send

from app.entrypoints.http.authentication import key_name_in
from app.ports.clock import Clock

_log = structlog.get_logger(__name__)

HEALTH_PATH: Final = "/health/"
"""Asked every few seconds by whoever supervises; not worth an event each time."""

_SAFE_ID: Final = re.compile(r"[A-Za-z0-9._:-]{1,128}")


class RequestContext:
    """ASGI wrapper: gives each HTTP request an id and answers with it in `x-request-id`.

    A client's own id is kept if it is short and plain; anything else is replaced.
    """

    def __init__(self, app: ASGIApp, clock: Clock) -> None:
        self._app = app
        self._clock = clock

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Run one request."""
        if not _is_http(scope):
            await self._app(scope, receive, send)
            return
        request_id = _request_id(scope)
        has_two_lengths = _has_two_lengths(scope)
        started = self._clock.monotonic()
        status = 0

        async def send_with_id(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                headers = MutableScopeHeaders.from_message(message)
                headers["x-request-id"] = request_id
                if has_two_lengths:
                    headers["connection"] = "close"
                headers.setdefault("x-content-type-options", "nosniff")
            await send(message)

        with structlog.contextvars.bound_contextvars(request_id=request_id):
            try:
                await self._app(scope, receive, send_with_id)
            finally:
                write = _log.debug if scope["path"].startswith(HEALTH_PATH) else _log.info
                write(
                    "http.request",
                    method=scope["method"],
                    path=scope["path"],
                    status=status,
                    duration_s=round(self._clock.monotonic() - started, 4),
                    **_key_field(scope),
                )


def _is_http(scope: Scope) -> TypeGuard[HTTPScope]:
    return scope["type"] == ScopeType.HTTP


def _key_field(scope: HTTPScope) -> dict[str, str]:
    name = key_name_in(scope)
    return {} if name is None else {"api_key": name}


def _has_two_lengths(scope: HTTPScope) -> bool:
    """Whether a body has both chunks and a length.

    The chunks count, and the connection must end (RFC 9112, section 6.1): two servers in a row that
    choose differently would see different requests.
    """
    return {b"content-length", b"transfer-encoding"} <= {name for name, _ in scope["headers"]}


def _request_id(scope: HTTPScope) -> str:
    for name, value in scope["headers"]:
        if name == b"x-request-id":
            text = value.decode("latin-1")
            if _SAFE_ID.fullmatch(text):
                return text
    return uuid.uuid4().hex
