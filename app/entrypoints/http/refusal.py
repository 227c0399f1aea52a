"""Turning somebody away before anything of the request is read or accepted."""

from typing import Final

import msgspec
from litestar.enums import ScopeType
from litestar.types import Scope, Send

from app.domain.errors import SpeechError
from app.entrypoints.http.errors import answer_to, note_error

EXTENSION: Final = "websocket.http.response"
"""ASGI extension by which a connection can be refused with an answer of our own."""

POLICY_VIOLATION: Final = 1008
"""Closing code (RFC 6455, section 7.4.1); before the connection is accepted, servers answer 403."""


async def refuse(scope: Scope, send: Send, error: SpeechError) -> None:
    """Answer with `error`: by raising it, or to a WebSocket, whose errors no handler sees, here."""
    if scope["type"] == ScopeType.HTTP:
        raise error
    note_error(scope, error.code)
    if EXTENSION in (scope.get("extensions") or {}):
        await _send_answer(send, error)
    else:
        await send({"type": "websocket.close", "code": POLICY_VIOLATION, "reason": error.code})


async def _send_answer(send: Send, error: SpeechError) -> None:
    answer = answer_to(error)
    body = msgspec.json.encode(answer.content)
    headers = {
        **answer.headers,
        "content-type": "application/json",
        "content-length": str(len(body)),
    }
    start = {
        "type": "websocket.http.response.start",
        "status": answer.status_code,
        "headers": [(name.encode(), value.encode()) for name, value in headers.items()],
    }
    # The framework's types do not know this extension.
    await send(start)  # type: ignore[arg-type]
    await send({"type": "websocket.http.response.body", "body": body})  # type: ignore[arg-type]
