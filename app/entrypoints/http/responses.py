"""Speech on its way to a client: chunk by chunk, or with its length once all of it is there.

A failure after the first byte cuts the connection: the status is sent already, and a body that ends
cleanly would pass for a whole one. A whole answer is held before it is sent: a short one in memory,
a longer one in a temporary file, so that many long answers and slow clients take disk, not memory.
"""

import math
from collections.abc import AsyncGenerator, AsyncIterator, Callable
from contextlib import aclosing, asynccontextmanager, suppress
from typing import Final

import structlog
from anyio import SpooledTemporaryFile
from litestar.response.base import ASGIResponse
from litestar.types import Receive, Scope, Send

from app.domain.errors import (
    InvalidApiKeyError,
    ServerDrainingError,
    ServerOverloadedError,
    SpeechError,
)
from app.domain.services.speech_stream import SpeechStream
from app.domain.services.time_limit import within
from app.entrypoints.http.errors import ClientDisconnectedError
from app.entrypoints.http.tasks import until_disconnect
from app.ports.clock import Clock

FAREWELL_S: Final = 1.0
"""Given to a client to take the last words when its key was revoked or the server ends. Others that
read nothing are cut by the connection's own limit."""

MAX_BYTES_IN_MEMORY: Final = 1024 * 1024
"""Of one answer: 16 s of 32 kHz WAV."""

MAX_HELD_BYTES: Final = 4 * 1024**3
"""Of all answers; the longest text, said as slowly as can be asked for, has 290 MB."""

RETRY_AFTER_S: Final = 10.0
BLOCK_BYTES: Final = 256 * 1024

_log = structlog.get_logger(__name__)


class StreamResponse(ASGIResponse):
    """Sends a SpeechStream with chunked transfer encoding, and closes it however it ends.

    Args:
        stream: that is sent.
        body: the bytes on the wire; the stream itself if they are those of the file.
        clock: of the time for the last words.
        last_words: sent before a cut, of the error that is the reason.
        headers: of the answer.
        media_type: of the answer.
    """

    __slots__ = ("_body", "_clock", "_last_words", "_stream")
    _should_set_content_length = False

    def __init__(
        self,
        stream: SpeechStream,
        body: AsyncGenerator[bytes, None] | SpeechStream,
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
                if isinstance(part, bytes):
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


class HeldAnswers:
    """Opens the files in which answers are held, and limits their sum.

    Args:
        max_bytes: of all answers.
        directory: for those that are too long for memory; by default the system's for such files.
    """

    def __init__(self, max_bytes: int = MAX_HELD_BYTES, directory: str | None = None) -> None:
        self._max_bytes = max_bytes
        self._directory = directory
        self._num_bytes = 0

    @asynccontextmanager
    async def open(self) -> AsyncIterator["HeldAnswer"]:
        """An empty file that is deleted at the end."""
        async with SpooledTemporaryFile[bytes](MAX_BYTES_IN_MEMORY, dir=self._directory) as file:
            answer = HeldAnswer(self, file)
            try:
                yield answer
            finally:
                self._num_bytes -= answer.num_bytes

    def take(self, num_bytes: int) -> None:
        """Count bytes; raises ServerOverloadedError beyond the limit."""
        if self._num_bytes + num_bytes > self._max_bytes:
            raise ServerOverloadedError(RETRY_AFTER_S)
        self._num_bytes += num_bytes


class HeldAnswer:
    """One answer. Made by `HeldAnswers`."""

    def __init__(self, answers: HeldAnswers, file: SpooledTemporaryFile[bytes]) -> None:
        self._answers = answers
        self._file = file
        self.num_bytes = 0

    async def write(self, part: bytes) -> None:
        """Append `part`.

        Raises:
            ServerOverloadedError: too much is held, or the disk takes no more.
        """
        self._answers.take(len(part))
        self.num_bytes += len(part)
        try:
            await self._file.write(part)
        except OSError as error:
            _log.error("speech.not_held", reason=str(error))
            raise ServerOverloadedError(RETRY_AFTER_S) from error

    async def read(self, head: bytes) -> AsyncGenerator[bytes, None]:
        """All of it in blocks, the first bytes replaced by `head`."""
        if head:
            yield head
        await self._file.seek(len(head))
        while block := await self._file.read(BLOCK_BYTES):
            yield block


class WholeResponse(StreamResponse):
    """Sends a SpeechStream once it is whole, and closes it however it ends.

    Args:
        stream: that is sent.
        held: where it is held meanwhile.
        clock: as for StreamResponse.
        headers: of the answer, asked for when it is whole.
        media_type: of the answer.
    """

    __slots__ = ("_held", "_last_headers")

    def __init__(
        self,
        stream: SpeechStream,
        held: HeldAnswers,
        clock: Clock,
        headers: Callable[[], dict[str, str]],
        media_type: str,
    ) -> None:
        super().__init__(stream, stream, clock, {}, media_type)
        self._held = held
        self._last_headers = headers

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Send the answer; raises SpeechError where not all of it could be made."""
        async with aclosing(self._stream), self._held.open() as answer:
            await until_disconnect(receive, self._stream.save(answer.write))
            self._body = answer.read(self._stream.head())
            self.headers.update(self._last_headers())
            self.headers["content-length"] = str(answer.num_bytes)
            await super().__call__(scope, receive, send)
