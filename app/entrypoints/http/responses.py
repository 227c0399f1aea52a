"""Speech on its way to a client: chunk by chunk, or with its length once all of it is there.

A failure after the first byte cuts the connection: the status is sent already, and a body that ends
cleanly would pass for a whole one. A whole answer is held before it is sent: a short one in memory,
a longer one in a temporary file, so that many long answers and slow clients take disk, not memory.
"""

import asyncio
import math
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable
from contextlib import aclosing, asynccontextmanager, suppress
from typing import Any, Final, TypeVar

import structlog
from anyio import SpooledTemporaryFile
from litestar.response.base import ASGIResponse
from litestar.types import Receive, Scope, Send

from app.domain import errors
from app.domain.services.speech_stream import SpeechStream
from app.domain.services.time_limit import unless, within
from app.entrypoints.connections import FAREWELL_S, Quota, QuotaShare
from app.entrypoints.http.errors import ClientDisconnectedError
from app.ports.clock import Clock

# Ends of an answer that the operator has caused.
EXPECTED_CUTS: Final = (errors.InvalidApiKeyError, errors.ServerDrainingError)

MAX_BYTES_IN_MEMORY: Final = 1024 * 1024  # of one answer: 16 s of 32 kHz WAV
MAX_HELD_BYTES: Final = 4 * 1024**3  # of all answers; the longest and slowest text has 290 MB
RETRY_AFTER_S: Final = 10.0  # when too much is held
BLOCK_BYTES: Final = 256 * 1024

T = TypeVar("T")

_log = structlog.get_logger(__name__)


class StreamResponse(ASGIResponse):
    """Sends a SpeechStream with chunked transfer encoding, and closes it however it ends.

    `body` has the bytes on the wire; it is the stream itself if they are those of the file.
    `last_words` are sent before a cut, of the error that is the reason.
    """

    _should_set_content_length = False  # of the framework

    def __init__(
        self,
        stream: SpeechStream,
        body: AsyncGenerator[bytes, None] | SpeechStream,
        clock: Clock,
        headers: dict[str, str],
        last_words: Callable[[Exception], bytes] = lambda _: b"",
    ) -> None:
        super().__init__(headers=headers)
        self._stream = stream
        self._body = body
        self._clock = clock
        self._last_words = last_words

    async def send_body(self, send: Send, receive: Receive) -> None:
        """Send what the stream gives; returning before its end makes the server cut."""
        try:
            await until_disconnect(receive, send_parts(send, self._body))
        except ClientDisconnectedError:
            _log.info("speech.client_left")
        except Exception as error:  # noqa: BLE001 - no handler is called after the first byte
            if isinstance(error, errors.SpeechError):
                write = _log.warning if isinstance(error, EXPECTED_CUTS) else _log.error
                write("speech.cut", error=error.code)
            else:
                _log.error("speech.cut", error="internal_error", exc_info=error)
            if words := self._last_words(error):
                # Others that read nothing are cut by the connection's own limit.
                limit_s = FAREWELL_S if isinstance(error, EXPECTED_CUTS) else math.inf
                sending = send({"type": "http.response.body", "body": words, "more_body": True})
                with suppress(OSError):  # the client may have left meanwhile, or read nothing
                    await within(self._clock, limit_s, sending)
        finally:
            await self._stream.aclose()


async def send_parts(send: Send, parts: AsyncGenerator[Any, None] | SpeechStream) -> None:
    """Send the bytes among `parts` as a body, to its end, and close them."""
    async with aclosing(parts):
        async for part in parts:
            if isinstance(part, bytes):
                await send({"type": "http.response.body", "body": part, "more_body": True})
    await send({"type": "http.response.body", "body": b"", "more_body": False})


async def until_disconnect(receive: Receive, work: Awaitable[T]) -> T:
    """The result of `work`, which is cancelled when `receive` of a request with its body read ends.

    Raises ClientDisconnectedError, InvalidApiKeyError if its key was revoked, or
    ServerDrainingError if the server's time to stop is over.
    """
    reason: Exception | None = None

    async def watch() -> None:
        nonlocal reason
        try:
            while (await receive())["type"] != "http.disconnect":
                pass
        except Exception as error:  # noqa: BLE001 - raised by `unless`
            reason = error

    watching = asyncio.create_task(watch())
    try:
        return await unless(work, {watching: lambda: reason or ClientDisconnectedError()})
    finally:
        watching.cancel()
        await asyncio.wait({watching})
        reason = None  # it holds this frame, which must not hold it


@asynccontextmanager
async def hold_answer(held: Quota, directory: str | None = None) -> AsyncIterator["HeldAnswer"]:
    """An empty answer, on disk once it is too long for memory; all of them share `held`."""
    share = QuotaShare(held)
    try:
        async with SpooledTemporaryFile[bytes](MAX_BYTES_IN_MEMORY, dir=directory) as file:
            yield HeldAnswer(file, share)
    finally:
        share.resize(0)


class HeldAnswer:
    """One answer. Made by `hold_answer`."""

    def __init__(self, file: SpooledTemporaryFile[bytes], share: QuotaShare) -> None:
        self._file = file
        self._share = share

    @property
    def num_bytes(self) -> int:
        """So far."""
        return self._share.used

    async def write(self, part: bytes) -> None:
        """Append `part`; raises ServerOverloadedError if all hold too much, or the disk is full."""
        if not self._share.resize(self.num_bytes + len(part)):
            raise errors.ServerOverloadedError(RETRY_AFTER_S)
        try:
            await self._file.write(part)
        except OSError as error:
            _log.error("speech.not_held", reason=str(error))
            raise errors.ServerOverloadedError(RETRY_AFTER_S) from error

    async def read(self, head: bytes) -> AsyncGenerator[bytes, None]:
        """All of it in blocks, the first bytes replaced by `head`."""
        if head:
            yield head
        await self._file.seek(len(head))
        while block := await self._file.read(BLOCK_BYTES):
            yield block


class WholeResponse(ASGIResponse):
    """Sends a SpeechStream once it is whole, and closes it however it ends.

    `make_headers` is called then; the other arguments are as for StreamResponse.
    """

    def __init__(
        self,
        stream: SpeechStream,
        held: Quota,
        clock: Clock,
        make_headers: Callable[[], dict[str, str]],
    ) -> None:
        super().__init__()
        self._stream = stream
        self._held = held
        self._clock = clock
        self._make_headers = make_headers

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Send the answer; raises SpeechError where not all of it could be made."""
        stream = self._stream
        async with aclosing(stream), hold_answer(self._held) as answer:
            await until_disconnect(receive, stream.save(answer.write))
            headers = self._make_headers() | {"content-length": str(answer.num_bytes)}
            body = answer.read(stream.head())
            response = StreamResponse(stream, body, self._clock, headers)
            await response(scope, receive, send)
