"""Turning somebody away before anything of the request is read or accepted."""

from http import HTTPStatus
from typing import Final

import msgspec
from litestar.enums import ScopeType
from litestar.types import Scope, Send

from app.domain.errors import SpeechError
from app.entrypoints.http.errors import answer_to, note_error
from app.entrypoints.http.security_headers import SECURITY_HEADERS

EXTENSION: Final = "websocket.http.response"
"""ASGI extension by which a connection can be refused with an answer of our own."""

POLICY_VIOLATION: Final = 1008
"""Closing code (RFC 6455, section 7.4.1); before the connection is accepted, servers answer 403."""


async def refuse(scope: Scope, send: Send, error: SpeechError) -> None:
    """Answer with `error`: by raising it, or to a WebSocket, whose errors no handler sees, here."""
    if scope["type"] == ScopeType.HTTP:
        raise error
    await send_error(scope, send, error)


async def send_error(scope: Scope, send: Send, error: SpeechError) -> None:
    """Answer with `error` where no handler of the framework would see it."""
    note_error(scope, error.code)
    if scope["type"] == ScopeType.HTTP:
        await _send_answer(send, error, "http.response")
    elif EXTENSION in (scope.get("extensions") or {}):
        await _send_answer(send, error, EXTENSION)
    else:
        await send({"type": "websocket.close", "code": POLICY_VIOLATION, "reason": error.code})


class EncodedAnswer(msgspec.Struct, frozen=True):
    """An answer as bytes, for where there is no framework to write it."""

    status: int
    headers: list[tuple[bytes, bytes]]
    body: bytes

    def to_http(self, *more_headers: tuple[bytes, bytes], is_head: bool = False) -> bytes:
        """The answer as it is sent on a connection; to a HEAD without its body."""
        start = f"HTTP/1.1 {self.status} {HTTPStatus(self.status).phrase}".encode()
        headers = map(b": ".join, [*self.headers, *more_headers])
        return b"\r\n".join([start, *headers, b"", b"" if is_head else self.body])


def encode_answer(error: SpeechError) -> EncodedAnswer:
    """What a caller gets for `error`."""
    answer = answer_to(error)
    body = msgspec.json.encode(answer.content)
    headers = {
        **SECURITY_HEADERS,
        **answer.headers,
        "content-type": "application/json",
        "content-length": str(len(body)),
    }
    pairs = [(name.encode(), value.encode()) for name, value in headers.items()]
    return EncodedAnswer(answer.status_code or 500, pairs, body)


async def _send_answer(send: Send, error: SpeechError, kind: str) -> None:
    answer = encode_answer(error)
    start = {"type": f"{kind}.start", "status": answer.status, "headers": answer.headers}
    # The framework's types do not know the extension.
    await send(start)  # type: ignore[arg-type]
    await send({"type": f"{kind}.body", "body": answer.body})  # type: ignore[arg-type]
