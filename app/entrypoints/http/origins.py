"""Web pages of other servers: which of them may use this one from a browser."""

from typing import Final

from litestar.config.cors import CORSConfig
from litestar.datastructures import Headers
from litestar.enums import HttpMethod, ScopeType
from litestar.middleware import ASGIMiddleware
from litestar.types import ASGIApp, Receive, Scope, Send

from app.entrypoints.http.allowed_hosts import AllowedHosts, host_name
from app.entrypoints.http.errors import ForeignOriginError
from app.entrypoints.http.refusal import refuse, send_error

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
    """Refuses what pages of other origins have a browser send, unless CORS allows it.

    Browsers let any page connect to any WebSocket, show any media and send simple requests, and
    leave it to the server to look at where they come from. Programs that are no browsers say
    nothing of that.

    Args:
        cors: names the pages that may use the server.
        hosts: names the server, whose own page may.
    """

    scopes = (ScopeType.HTTP, ScopeType.WEBSOCKET)

    def __init__(self, cors: CORSConfig | None, hosts: AllowedHosts) -> None:
        self._cors = cors
        self._hosts = hosts

    async def handle(self, scope: Scope, receive: Receive, send: Send, next_app: ASGIApp) -> None:
        """Refuse, or pass on."""
        headers = Headers.from_scope(scope)
        if scope["type"] == ScopeType.WEBSOCKET:
            is_refused = self._is_foreign_socket(headers)
        else:
            is_refused = _has_user_data(scope) and self._is_foreign_request(headers)
        if is_refused:
            await refuse(scope, send, ForeignOriginError())
        else:
            await next_app(scope, receive, send)

    def _is_foreign_socket(self, headers: Headers) -> bool:
        """Whether a page opened it that is neither the server's own nor allowed."""
        origin = headers.get("origin")
        if origin is None or self._is_allowed(origin):
            return False
        name = host_name(origin.partition("://")[2])
        is_own = self._hosts.allows(name) and is_same_host(origin, headers.get("host", ""))
        return not is_own and not self._hosts.is_configured(name)

    def _is_foreign_request(self, headers: Headers) -> bool:
        """Whether the browser says that a page of another origin asks.

        A link from a page of the same site (another port of this machine, say) may be followed.
        """
        site = headers.get("sec-fetch-site")
        is_link = site == "same-site" and headers.get("sec-fetch-dest") == "document"
        if site not in ("cross-site", "same-site") or is_link:
            return False
        return not self._is_allowed(headers.get("origin", ""))

    def _is_allowed(self, origin: str) -> bool:
        return self._cors is not None and self._cors.is_origin_allowed(origin)


class PreflightCheck:
    """ASGI wrapper: refuses preflights of foreign pages; the framework would in plain text.

    Args:
        app: what is wrapped; takes every OPTIONS with an origin for a preflight.
        cors: names the pages that may use the server.
    """

    def __init__(self, app: ASGIApp, cors: CORSConfig) -> None:
        self._app = app
        self._cors = cors

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Run one request, or refuse it."""
        if scope["type"] == ScopeType.HTTP and scope["method"] == HttpMethod.OPTIONS:
            origin = Headers.from_scope(scope).get("origin")
            if origin and not self._cors.is_origin_allowed(origin):
                await send_error(scope, send, ForeignOriginError())
                return
        await self._app(scope, receive, send)


def _has_user_data(scope: Scope) -> bool:
    """Whether a request changes or reads what somebody has asked for; a preflight does not."""
    is_public = scope["route_handler"].opt.get("access") in ("open", "lists")
    return not is_public and scope.get("method") != HttpMethod.OPTIONS


def is_same_host(origin: str, host: str) -> bool:
    """Whether a page came from `host`, a name or address with its port.

    The scheme is not compared: behind a proxy with TLS ours is another than the browser's.
    """
    return bool(host) and origin.partition("://")[2].lower() == host.lower()
