"""Audio on its way to a client, chunk by chunk.

A failure after the first byte cuts the connection: the status is sent already, and a body that ends
cleanly would pass for a whole one.
"""

import structlog
from litestar.response.base import ASGIResponse
from litestar.types import Receive, Send

from app.domain.errors import SpeechError
from app.domain.services.speech import SpeechStream
from app.entrypoints.http.disconnect import until_disconnect
from app.entrypoints.http.errors import ClientDisconnectedError

_log = structlog.get_logger(__name__)


class AudioResponse(ASGIResponse):
    """Streams a SpeechStream with chunked transfer encoding, and closes it however it ends."""

    __slots__ = ("_stream",)
    _should_set_content_length = False

    def __init__(self, stream: SpeechStream, headers: dict[str, str], media_type: str) -> None:
        super().__init__(headers=headers, media_type=media_type)
        self._stream = stream

    async def send_body(self, send: Send, receive: Receive) -> None:
        """Send what the stream gives; returning before its end makes the server cut."""
        try:
            await until_disconnect(receive, self._send_parts(send))
        except ClientDisconnectedError:
            _log.info("speech.client_left")
        except SpeechError as error:
            _log.error("speech.cut", error=error.code)
        except Exception as error:  # noqa: BLE001 - no handler is called after the first byte
            _log.error("speech.cut", error="internal_error", exc_info=error)
        finally:
            await self._stream.aclose()

    async def _send_parts(self, send: Send) -> None:
        async for part in self._stream:
            await send({"type": "http.response.body", "body": part, "more_body": True})
        await send({"type": "http.response.body", "body": b"", "more_body": False})
