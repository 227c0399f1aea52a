"""Who sends a request: its API key, checked before the body is read or a WebSocket accepted.

A key that is revoked while the request runs ends it: what it receives next is the error.

A route needs a key unless its `opt` says otherwise, so that a new one is closed by itself.
"""

from collections.abc import Sequence
from contextlib import ExitStack
from typing import Any, Final

import structlog
from litestar.connection import ASGIConnection
from litestar.enums import HttpMethod, ScopeType
from litestar.middleware import ASGIMiddleware
from litestar.types import ASGIApp, Message, Receive, ReceiveMessage, Scope, Send

from app.domain.errors import InvalidApiKeyError, SpeechError
from app.domain.services.access_control import AccessControl, Grant
from app.entrypoints.http.refusal import refuse
from app.entrypoints.http.tasks import first_of, running
from app.entrypoints.settings import AuthSettings

OPEN: Final = {"access": "open"}
"""`opt` of a route that never needs a key."""

LISTS: Final = {"access": "lists"}
"""`opt` of a route that needs a key unless `auth.open_lists`."""

METRICS: Final = {"access": "metrics"}
"""`opt` of a route that needs a key unless `auth.open_metrics`."""

LIMITED: Final = {"is_limited": True}
"""`opt` of a route whose requests count for the limits of a key."""

KEY_PROTOCOL: Final = "openai-insecure-api-key."
"""Start of the subprotocol with the key of a WebSocket: a browser cannot set its headers."""

_GRANT: Final = "grant"


class Authentication(ASGIMiddleware):
    """Lets in who has a key, within the limits of that key.

    Args:
        access: knows the keys.
        settings: say which lists need none.
    """

    scopes = (ScopeType.HTTP, ScopeType.WEBSOCKET)

    def __init__(self, access: AccessControl, settings: AuthSettings) -> None:
        self._access = access
        self._open_kinds = _open_kinds(settings)

    async def handle(self, scope: Scope, receive: Receive, send: Send, next_app: ASGIApp) -> None:
        """Refuse a request, or run it, and give back what it holds of the limits."""
        with ExitStack() as held, ExitStack() as place:
            try:
                grant = await self._enter(scope, held, place)
            except SpeechError as error:
                await refuse(scope, send, error)
                return
            if grant is not None:
                receive = _leaving(_until_revoked(receive, grant), place)
                send = _ending(send, place)
            await next_app(scope, receive, send)

    async def _enter(self, scope: Scope, held: ExitStack, place: ExitStack) -> Grant | None:
        """What the request may do; None where no key is needed."""
        if self._is_open(scope):
            return None
        key = await self._access.identify(presented_key(scope))
        if key is None:
            return None
        grant = scope["state"][_GRANT] = held.enter_context(self._access.grant(key))
        held.enter_context(structlog.contextvars.bound_contextvars(api_key=key.name))
        if scope["route_handler"].opt.get("is_limited"):
            place.enter_context(grant.occupy())  # first, for it costs nothing of the minute
            if scope["type"] == ScopeType.HTTP:  # on a socket each utterance counts
                grant.count_request()
        return grant

    def _is_open(self, scope: Scope) -> bool:
        is_question = scope.get("method") == HttpMethod.OPTIONS  # browsers ask without the key
        return is_question or scope["route_handler"].opt.get("access") in self._open_kinds


def _until_revoked(receive: Receive, grant: Grant) -> Receive:
    """The same, but it raises InvalidApiKeyError once the key is revoked."""

    async def receive_or_raise() -> ReceiveMessage:
        async with running(receive()) as (receiving,):  # type: ignore[arg-type] # a coroutine
            await first_of(receiving, grant.revoked)
            if grant.revoked.done():
                raise InvalidApiKeyError
            message: ReceiveMessage = receiving.result()
            return message

    return receive_or_raise


def _ending(send: Send, place: ExitStack) -> Send:
    """The same; gives `place` back just before the client can know that its answer is whole."""

    async def send_or_end(message: Message) -> None:
        is_last = message["type"] == "http.response.body" and not message.get("more_body")
        if is_last or message["type"] == "websocket.close":
            place.close()
        await send(message)

    return send_or_end


def _leaving(receive: Receive, place: ExitStack) -> Receive:
    """The same; gives `place` back as soon as the client has left."""

    async def receive_or_leave() -> ReceiveMessage:
        message = await receive()
        if message["type"] in ("http.disconnect", "websocket.disconnect"):
            place.close()
        return message

    return receive_or_leave


def _open_kinds(settings: AuthSettings) -> frozenset[str]:
    kinds = {"open": True, "lists": settings.open_lists, "metrics": settings.open_metrics}
    return frozenset(kind for kind, is_open in kinds.items() if is_open)


def key_name(connection: ASGIConnection[Any, Any, Any, Any]) -> str | None:
    """Name of the key that a request came with; None if it needed none."""
    return key_name_in(connection.scope)


def key_name_in(scope: Scope) -> str | None:
    """The same, of a connection's scope."""
    grant = grant_in(scope)
    return None if grant is None else grant.name


def grant_in(scope: Scope) -> Grant | None:
    """What a request may do with its key; None if it needed none."""
    grant: Grant | None = scope.get("state", {}).get(_GRANT)
    return grant


def presented_key(scope: Scope) -> str | None:
    """The key of a request, unchecked: the bearer's, or for a WebSocket that of a subprotocol.

    A query string is not looked at: it ends up in logs and histories.
    """
    headers = [value for name, value in scope["headers"] if name == b"authorization"]
    if not headers and scope["type"] == ScopeType.WEBSOCKET:
        return _key_of_protocols(scope["subprotocols"])
    if len(headers) != 1:
        return None
    scheme, _, key = headers[0].decode("latin-1").partition(" ")
    return key.strip() if scheme.lower() == "bearer" else None


def protocol_to_accept(offered: Sequence[str]) -> str | None:
    """The subprotocol to accept a WebSocket with: one that is no key, if any.

    A browser that offers some ends the connection if none is accepted.
    """
    others = [protocol for protocol in offered if not protocol.startswith(KEY_PROTOCOL)]
    return next(iter([*others, *offered]), None)


def _key_of_protocols(offered: Sequence[str]) -> str | None:
    keys = [protocol for protocol in offered if protocol.startswith(KEY_PROTOCOL)]
    return keys[0].removeprefix(KEY_PROTOCOL) if len(keys) == 1 else None
