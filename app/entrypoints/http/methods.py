"""HEAD, which every address that answers to GET answers as well (RFC 9110, section 9.3.2)."""

from typing import Final

from litestar.datastructures import MutableScopeHeaders
from litestar.enums import ScopeType
from litestar.types import ASGIApp, Message, Receive, Scope, Send

GET: Final = "GET"
HEAD: Final = "HEAD"

_IS_HEAD: Final = "is_head"


class HeadAsGet:
    """ASGI wrapper: runs HEAD as GET and drops the body, and names HEAD where GET is allowed."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Run one request."""
        if scope["type"] != ScopeType.HTTP:
            await self._app(scope, receive, send)
        elif scope["method"] != HEAD:
            await self._app(scope, receive, _allowing_head(send))
        else:
            scope.setdefault("state", {})[_IS_HEAD] = True
            as_get: Scope = {**scope, "method": GET}
            await self._app(as_get, receive, _allowing_head(_without_body(send)))
            scope["path_template"] = as_get.get("path_template", "")


def is_head(scope: Scope) -> bool:
    """Whether only the head of the answer is wanted, so that its body need not be made."""
    return _IS_HEAD in scope["state"]


def _without_body(send: Send) -> Send:
    async def send_without_body(message: Message) -> None:
        if message["type"] == "http.response.body":
            message["body"] = b""
        await send(message)

    return send_without_body


def _allowing_head(send: Send) -> Send:
    async def send_allowing_head(message: Message) -> None:
        if message["type"] == "http.response.start":
            headers = MutableScopeHeaders.from_message(message)
            if "allow" in headers:
                headers["allow"] = _with_head(headers["allow"])
        await send(message)

    return send_allowing_head


def _with_head(allow: str) -> str:
    methods = {method.strip() for method in allow.split(",")}
    return ", ".join(sorted(methods | ({HEAD} if GET in methods else set())))
