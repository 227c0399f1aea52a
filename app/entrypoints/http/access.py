"""Whether a request is served: its host name, origin, API key, limits, the drain and the load.

All of it is checked before the body is read or a WebSocket accepted, because rejecting must be
cheap. What the request receives then ends when its body is late, its key is revoked, or the
server's time to stop is over. Health, metrics and files are served while the server drains.
A route needs a key unless its `opt` says otherwise, so that a new one is closed by default.

A page may have the name it came from resolve to this machine (DNS rebinding). The browser then
takes the server for the page's own, and only the header `Host` tells. An IP address instead of a
name cannot be redirected like that.
"""

import asyncio
import math
import re
from collections.abc import Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv6Address, ip_address
from typing import Final, cast

import structlog
from litestar.config.cors import CORSConfig
from litestar.datastructures import Headers
from litestar.enums import HttpMethod, ScopeType
from litestar.middleware import ASGIMiddleware
from litestar.types import ASGIApp, Message, Receive, ReceiveMessage, Scope, Send

from app.domain import errors
from app.domain.services.access_control import Grant
from app.domain.services.time_limit import unless, within
from app.entrypoints.http.errors import HttpError, send_error
from app.entrypoints.http.schemas import EXPOSED_HEADERS
from app.entrypoints.services import Services

# `opt` of routes that need no key: never, or if `auth.open_routes` says so.
OPEN: Final = {"access": "open"}
LISTS: Final = {"access": "lists"}
METRICS: Final = {"access": "metrics"}

# `opt` of a route for speech, whose requests count for the limits of a key.
LIMITED: Final = {"is_limited": True}

# Start of the subprotocol with the key of a WebSocket: a browser cannot set its headers.
KEY_PROTOCOL: Final = "openai-insecure-api-key."

_GRANT: Final = "grant"

ANY: Final = "*"  # name of a host

_HOST: Final = re.compile(r"(?:\[(?P<address>[0-9a-f:.]+)\]|(?P<name>[^:@\[\]]*?)\.?)(?::\d*)?")

_DEFAULT_PORTS: Final = {"http": ":80", "https": ":443"}


class AllowedHosts:
    """The names, and the addresses, of this server: `names`, separated by commas; `*` is any."""

    def __init__(self, listen_host: str, names: str) -> None:
        self._configured = {host_name(name.strip()) for name in names.split(",") if name.strip()}
        listen_address = _address(listen_host)
        self._listens_everywhere = listen_address is not None and listen_address.is_unspecified
        self._names = {*self._configured, "localhost", listen_host.lower()}

    def is_configured(self, name: str) -> bool:
        """Whether the setting has that very name."""
        return name != ANY and name in self._configured

    def allows(self, name: str) -> bool:
        """Whether a request may be sent to `name`, as `host_name` gives it."""
        if ANY in self._configured or name in self._names:
            return True
        address = _address(name)
        return address is not None and (self._listens_everywhere or address.is_loopback)


def host_name(host: str) -> str:
    """The name or address in the header `Host`, or in an origin after its scheme: without port."""
    parts = _HOST.fullmatch(host.lower())
    # A value of another form is returned as it is; no server has such a name.
    return (parts["address"] or parts["name"]) if parts else host


def is_same_host(origin: str, host: str) -> bool:
    """Whether a page came from `host`, a name or address with its port."""
    # The scheme is not compared: behind a proxy with TLS ours differs from the browser's. A proxy
    # may name the port that browsers leave out.
    scheme, _, name = origin.lower().partition("://")
    port = _DEFAULT_PORTS.get(scheme, "")
    return bool(host) and name.removesuffix(port) == host.lower().removesuffix(port)


def cors_config(origins: str) -> CORSConfig | None:
    """CORS for the pages of `origins`, separated by commas; None if there are none."""
    allowed = [origin.strip() for origin in origins.split(",") if origin.strip()]
    if not allowed:
        return None
    return CORSConfig(allow_origins=allowed, expose_headers=list(EXPOSED_HEADERS))


def _address(name: str) -> IPv4Address | IPv6Address | None:
    try:
        return ip_address(name)
    except ValueError:
        return None


@dataclass(eq=False)
class AccessMiddleware(ASGIMiddleware):
    """Serves a request within the limits of its key, or rejects it."""

    scopes = (ScopeType.HTTP, ScopeType.WEBSOCKET)

    services: Services
    hosts: AllowedHosts  # the names of the server, whose own pages may use it
    cors: CORSConfig | None  # the pages of other origins that may use the server

    async def handle(self, scope: Scope, receive: Receive, send: Send, next_app: ASGIApp) -> None:
        """Reject a request, or run it, and give back what it holds of the limits."""
        clock, settings = self.services.ports.clock, self.services.settings
        due_at = clock.monotonic() + settings.server.read_timeout_s
        async with AsyncExitStack() as held, AsyncExitStack() as place:
            try:
                self._check_origin(scope)
                grant = await self._authenticate(scope, held, place)
                if _is_speech(scope):
                    self._check_room(scope)
            except errors.SpeechError as error:
                if scope["type"] == ScopeType.HTTP:
                    raise
                await send_error(scope, send, error)  # no handler sees the errors of a socket
                return

            async def receive_in_time() -> ReceiveMessage:
                nonlocal due_at
                message = await self._receive(scope, receive, grant, due_at)
                if message["type"] in ("http.disconnect", "websocket.disconnect"):
                    await place.aclose()
                if not message.get("more_body", False):
                    due_at = math.inf
                return message

            await next_app(scope, receive_in_time, _releasing(send, place) if grant else send)

    def _check_room(self, scope: Scope) -> None:
        self.services.intake.check()
        if scope["type"] == ScopeType.HTTP:  # a socket may have no text for long
            try:
                self.services.admission.check(key_name(scope))
            except errors.ServerOverloadedError as error:
                self.services.ports.requests.refused_unread(error.code, 1)
                raise

    def _check_origin(self, scope: Scope) -> None:
        """Raise an error if a page of another origin had a browser send the request.

        Browsers let any page connect to any WebSocket, show any media and send simple requests, and
        leave it to the server to look at the origin. Programs that are not browsers send none.
        """
        headers = Headers.from_scope(scope)
        origin = headers.get("origin", "")
        if scope["type"] == ScopeType.WEBSOCKET:
            name = host_name(origin.partition("://")[2])
            is_own = self.hosts.allows(name) and is_same_host(origin, headers.get("host", ""))
            is_known = is_own or self.hosts.is_configured(name)
            is_foreign = "origin" in headers and not is_known
        else:
            is_public = scope["route_handler"].opt.get("access") in ("open", "lists")
            has_user_data = not is_public and scope["method"] != HttpMethod.OPTIONS
            site = headers.get("sec-fetch-site")
            # From a page of the same site (another port of this machine, say) it may be followed.
            is_link = site == "same-site" and headers.get("sec-fetch-dest") == "document"
            is_foreign = has_user_data and site in ("cross-site", "same-site") and not is_link
        if is_foreign and not (self.cors is not None and self.cors.is_origin_allowed(origin)):
            raise HttpError("origin_not_allowed")

    async def _authenticate(
        self, scope: Scope, held: AsyncExitStack, place: AsyncExitStack
    ) -> Grant | None:
        """What the request may do; None where no key is needed."""
        is_preflight = scope.get("method") == HttpMethod.OPTIONS  # browsers send it without the key
        access = scope["route_handler"].opt.get("access")
        open_routes = self.services.settings.auth.open_routes
        is_open = access == "open" or (access and open_routes in (access, "all"))
        if is_preflight or is_open:
            return None
        try:
            key = await self.services.access.identify(presented_key(scope))
        except errors.MissingApiKeyError:
            if (number := len(authorizations(scope))) < 2:  # noqa: PLR2004
                raise
            message = f"One Authorization header is expected; {number} were sent."
            raise errors.InvalidApiKeyError(message) from None
        if key is None:
            return None
        grant = scope["state"][_GRANT] = held.enter_context(self.services.access.grant(key))
        held.enter_context(structlog.contextvars.bound_contextvars(api_key=key.name))
        if _is_speech(scope):
            # First, because it costs nothing of the minute.
            await place.enter_async_context(grant.occupy())
            if scope["type"] == ScopeType.HTTP:  # on a socket each utterance counts
                await grant.count_request()
        return grant

    async def _receive(
        self, scope: Scope, receive: Receive, grant: Grant | None, due_at: float
    ) -> ReceiveMessage:
        """The next message, or the error that ends the request before.

        A socket ends by itself when the server does.
        """
        ends: dict[asyncio.Future[None], type[errors.SpeechError]] = {}
        limit_s, clock = math.inf, self.services.ports.clock
        if grant is not None:
            ends[grant.revoked] = errors.InvalidApiKeyError
        if scope["type"] == ScopeType.HTTP:
            ends[self.services.intake.over] = errors.ServerDrainingError
            limit_s = max(0.0, due_at - clock.monotonic())
        try:
            return await within(clock, limit_s, unless(receive(), ends))
        except TimeoutError:
            timeout_s = self.services.settings.server.read_timeout_s
            raise HttpError("request_too_slow", limit_s=timeout_s) from None


def _is_speech(scope: Scope) -> bool:
    return LIMITED.items() <= scope["route_handler"].opt.items()


def _releasing(send: Send, place: AsyncExitStack) -> Send:
    """The same; gives `place` back just before the client can know that its answer is whole."""

    async def send_or_release(message: Message) -> None:
        is_last = message["type"] == "http.response.body" and not message.get("more_body")
        if is_last or message["type"] == "websocket.close":
            await place.aclose()
        await send(message)

    return send_or_release


def grant_in(scope: Scope) -> Grant | None:
    """What a request may do with its key; None if it needed none."""
    return cast("Grant | None", scope.get("state", {}).get(_GRANT))


def key_name(scope: Scope) -> str | None:
    """The name of the key of a request; None if it needed none."""
    grant = grant_in(scope)
    return None if grant is None else grant.name


def authorizations(scope: Scope) -> list[bytes]:
    """The values of the request's `Authorization` headers."""
    return [value for name, value in scope["headers"] if name == b"authorization"]


def presented_key(scope: Scope) -> str | None:
    """The key of a request, unchecked: the bearer's, or for a WebSocket that of a subprotocol.

    A query string is not read: it ends up in logs and histories.
    """
    headers = authorizations(scope)
    if not headers and scope["type"] == ScopeType.WEBSOCKET:
        keys = [name for name in scope["subprotocols"] if name.startswith(KEY_PROTOCOL)]
        return keys[0].removeprefix(KEY_PROTOCOL) if len(keys) == 1 else None
    if len(headers) != 1:
        return None
    scheme, _, key = headers[0].decode("latin-1").partition(" ")
    return key.strip() if scheme.lower() == "bearer" else None


def protocol_to_accept(offered: Sequence[str]) -> str | None:
    """The subprotocol to accept a WebSocket with: one that is not a key, if any.

    A browser that offers some ends the connection if none is accepted.
    """
    others = [protocol for protocol in offered if not protocol.startswith(KEY_PROTOCOL)]
    return next(iter([*others, *offered]), None)
