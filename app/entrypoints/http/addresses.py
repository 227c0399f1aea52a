"""Addresses that are not found, where the framework says otherwise."""

from typing import Final

from litestar.types import ASGIApp, Message, Receive, Scope, Send

from app.entrypoints.http.context import has_request
from app.entrypoints.http.errors import AddressNotFoundError
from app.entrypoints.http.refusal import send_error

ENCODED_SLASH: Final = b"%2f"
"""A character of a name, not a separator (RFC 3986, section 2.2); no name here has one. The server
decodes it, so the framework, and a proxy that filters by path, would see different addresses."""


class AddressCheck:
    """ASGI wrapper: answers 404 to encoded slashes, and to a WebSocket where there is none.

    The framework closes such a WebSocket, which is an empty 403 (ASGI).
    """

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Run one request, or one socket to its end."""

        async def send_or_refuse(message: Message) -> None:
            if message["type"] == "websocket.close" and "route_handler" not in scope:
                await send_error(scope, send, AddressNotFoundError("no WebSocket"))
            else:
                await send(message)

        if has_request(scope) and ENCODED_SLASH in scope["raw_path"].lower():
            await send_error(scope, send, AddressNotFoundError())
        else:
            await self._app(scope, receive, send_or_refuse)
