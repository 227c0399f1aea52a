"""Audio on its way to a client, chunk by chunk.

A failure after the first byte cuts the connection: the status is sent already, and a body that ends
cleanly would pass for a whole one.
"""

import math
from collections.abc import AsyncGenerator, Callable
from contextlib import aclosing, suppress
from typing import Final

import structlog
from litestar.response.base import ASGIResponse
from litestar.types import Receive, Send

from app.domain.errors import InvalidApiKeyError, ServerDrainingError, SpeechError
from app.domain.services.speech_stream import SpeechStream
from app.domain.services.time_limit import within
from app.entrypoints.http.disconnect import until_disconnect
from app.entrypoints.http.errors import ClientDisconnectedError
from app.ports.clock import Clock

FAREWELL_S: Final = 1.0
"""Given to a client to take the last words when its key was revoked or the server ends. Others that
read nothing are cut by the connection's own limit."""

_log = structlog.get_logger(__name__)


class StreamResponse(ASGIResponse):
    """Sends a SpeechStream with chunked transfer encoding, and closes it however it ends.

    Args:
        stream: that is sent.
        body: what it gives, as bytes on the wire.
        clock: of the time for the last words.
        last_words: sent before a cut, of the error that is the reason.
        headers: of the answer.
        media_type: likewise.
    """

    __slots__ = ("_body", "_clock", "_last_words", "_stream")
    _should_set_content_length = False

    def __init__(
        self,
        stream: SpeechStream,
        body: AsyncGenerator[bytes, None],
        clock: Clock,
        headers: dict[str, str],
        media_type: str,
        last_words: Callable[[Exception], bytes] = lambda _: b"",
    ) -> None:
        super().__init__(headers=headers, media_type=media_type)
        self._stream = stream
        self._body = body
        self._clock = clock
        self._last_words = last_words

    async def send_body(self, send: Send, receive: Receive) -> None:
        """Send what the stream gives; returning before its end makes the server cut."""
        try:
            await until_disconnect(receive, self._send_parts(send))
        except ClientDisconnectedError:
            _log.info("speech.client_left")
        except SpeechError as error:
            write = _log.warning if isinstance(error, ServerDrainingError) else _log.error
            write("speech.cut", error=error.code)
            await self._say_why(send, error)
        except Exception as error:  # noqa: BLE001 - no handler is called after the first byte
            _log.error("speech.cut", error="internal_error", exc_info=error)
            await self._say_why(send, error)
        finally:
            await self._stream.aclose()

    async def _send_parts(self, send: Send) -> None:
        async with aclosing(self._body) as parts:
            async for part in parts:
                await _send_part(send, part)
        await send({"type": "http.response.body", "body": b"", "more_body": False})

    async def _say_why(self, send: Send, error: Exception) -> None:
        words = self._last_words(error)
        is_urgent = isinstance(error, InvalidApiKeyError | ServerDrainingError)
        limit_s = FAREWELL_S if is_urgent else math.inf
        if words:
            with suppress(OSError):  # the client may have left meanwhile, or read nothing
                await within(self._clock, limit_s, _send_part(send, words))


async def _send_part(send: Send, part: bytes) -> None:
    await send({"type": "http.response.body", "body": part, "more_body": True})
