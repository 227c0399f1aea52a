"""A stored file on its way to a client: whole, a range of it, or only its headers.

All that is sent comes from one open file, so a file that is deleted or replaced meanwhile arrives
as it was. A failure after the first byte cuts the connection.
"""

from contextlib import AbstractAsyncContextManager, aclosing
from typing import Any, Final

import structlog
from litestar import Request
from litestar.response.base import ASGIResponse
from litestar.types import Receive, Scope, Send
from werkzeug.http import http_date, quote_etag

from app.domain.errors import ServerDrainingError, SpeechError
from app.entrypoints.http.conditional import Span, Validators, choose_span
from app.entrypoints.http.disconnect import until_disconnect
from app.entrypoints.http.errors import ClientDisconnectedError
from app.entrypoints.http.methods import is_head
from app.entrypoints.http.schemas import CONTENT_TYPES
from app.ports.audio_store import OpenAudio, StoredAudio

CACHE_HEADERS: Final = {
    # A file does not change, but it may be deleted, and it is its owner's alone.
    "cache-control": "private, no-cache",
    "vary": "authorization",
}

_log = structlog.get_logger(__name__)


class StoredAudioResponse(ASGIResponse):
    """Opens a file, decides by the request's headers what of it is wanted, and sends that.

    Args:
        opening: of the file; entered when the answer is sent, left at its end.
    """

    __slots__ = ("_opening",)

    def __init__(self, opening: AbstractAsyncContextManager[OpenAudio]) -> None:
        super().__init__()
        self._opening = opening

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Send the answer; before its first byte raises what the store and the conditions raise."""
        request = Request[Any, Any, Any](scope)
        async with self._opening as audio:
            span = choose_span(headers_of(request), validators_of(audio.info))
            status, headers = describe_answer(audio.info, span)
            await send(
                {
                    "type": "http.response.start",
                    "status": status,
                    "headers": [(k.encode(), v.encode()) for k, v in headers.items()],
                }
            )
            if span is None or is_head(scope):
                await send({"type": "http.response.body", "body": b"", "more_body": False})
            else:
                await _send_span(audio, span, receive, send)


def headers_of(request: Request[Any, Any, Any]) -> dict[str, str]:
    """The headers of a request as `conditional` reads them."""
    headers = {name: ", ".join(request.headers.getall(name)) for name in request.headers}
    if is_head(request.scope):
        # Defined for GET only (RFC 9110, section 14.2).
        headers.pop("range", None)
    return headers


def validators_of(info: StoredAudio) -> Validators:
    """The state of a stored file."""
    return Validators(info.version, info.created_at.replace(microsecond=0), info.num_bytes)


def describe_answer(info: StoredAudio, span: Span | None) -> tuple[int, dict[str, str]]:
    """Status and headers of the answer that sends `span`; None sends nothing (304)."""
    validators = validators_of(info)
    headers = {
        "accept-ranges": "bytes",
        "etag": quote_etag(validators.etag),
        "last-modified": http_date(validators.last_modified),
        **CACHE_HEADERS,
    }
    if span is None:
        return 304, headers
    headers |= {
        "content-type": CONTENT_TYPES[info.audio_format],
        "content-length": str(span.end - span.start),
        "content-disposition": f'attachment; filename="{info.name}"',
    }
    if not span.is_partial:
        return 200, headers
    headers["content-range"] = f"bytes {span.start}-{span.end - 1}/{info.num_bytes}"
    return 206, headers


async def _send_span(audio: OpenAudio, span: Span, receive: Receive, send: Send) -> None:
    """Send the bytes; returning before their end makes the server cut."""
    try:
        await until_disconnect(receive, _send_blocks(audio, span, send))
    except ClientDisconnectedError:
        _log.info("stored_audio.client_left")
    except SpeechError as error:
        write = _log.warning if isinstance(error, ServerDrainingError) else _log.error
        write("stored_audio.cut", error=error.code, reason=str(error))
    except Exception as error:  # noqa: BLE001 - no handler is called after the first byte
        _log.error("stored_audio.cut", error="internal_error", exc_info=error)


async def _send_blocks(audio: OpenAudio, span: Span, send: Send) -> None:
    async with aclosing(audio.read(span.start, span.end)) as blocks:
        async for block in blocks:
            await send({"type": "http.response.body", "body": block, "more_body": True})
    await send({"type": "http.response.body", "body": b"", "more_body": False})
