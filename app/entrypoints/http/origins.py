"""Web pages of other servers: which of them may use this one from a browser."""

from typing import Final

from litestar.config.cors import CORSConfig
from litestar.datastructures import Headers
from litestar.enums import ScopeType
from litestar.middleware import ASGIMiddleware
from litestar.types import ASGIApp, Receive, Scope, Send

from app.entrypoints.http.errors import ForeignOriginError
from app.entrypoints.http.refusal import refuse

EXPOSED_HEADERS: Final = (
    "cache-status",
    "content-location",
    "content-range",
    "etag",
    "idempotency-key",
    "retry-after",
    "retry-after-ms",
    "server-timing",
    "warning",
    "x-request-id",
    "x-sample-rate",
    "x-should-retry",
    "x-speech-backend",
    "x-speech-voice",
    "x-store-error",
    "x-stored-file",
)
"""Headers of answers that a page may read; a browser hides most of them otherwise."""


def cors_config(origins: str) -> CORSConfig | None:
    """Leave for the pages of `origins`, with commas between them; None if there are none."""
    allowed = [origin.strip() for origin in origins.split(",") if origin.strip()]
    if not allowed:
        return None
    return CORSConfig(allow_origins=allowed, expose_headers=list(EXPOSED_HEADERS))


class OriginCheck(ASGIMiddleware):
    """Refuses WebSockets from pages that have no leave.

    Browsers let any page connect to any WebSocket and leave it to the server to look at the origin.
    Programs that are no browsers name none.
    """

    scopes = (ScopeType.WEBSOCKET,)

    def __init__(self, cors: CORSConfig | None) -> None:
        self._cors = cors

    async def handle(self, scope: Scope, receive: Receive, send: Send, next_app: ASGIApp) -> None:
        """Refuse, or pass on."""
        if self._is_foreign(Headers.from_scope(scope)):
            await refuse(scope, send, ForeignOriginError())
        else:
            await next_app(scope, receive, send)

    def _is_foreign(self, headers: Headers) -> bool:
        origin = headers.get("origin")
        if origin is None:
            return False
        is_allowed = self._cors is not None and self._cors.is_origin_allowed(origin)
        return not is_allowed and not is_same_host(origin, headers.get("host", ""))


def is_same_host(origin: str, host: str) -> bool:
    """Whether a page came from `host`, a name or address with its port.

    The scheme is not compared: behind a proxy with TLS ours is another than the browser's.
    """
    return bool(host) and origin.partition("://")[2].lower() == host.lower()
