"""Audio that is sent with its length, once all of it is there.

It is held meanwhile: a short answer in memory, a longer one in a temporary file, so that many long
answers, and listeners who read them slowly, take disk and no memory.
"""

from collections.abc import AsyncGenerator, AsyncIterator, Callable
from contextlib import aclosing, asynccontextmanager
from typing import Final

import structlog
from anyio import SpooledTemporaryFile
from litestar.types import Receive, Scope, Send

from app.domain.errors import ServerOverloadedError
from app.domain.services.speech_stream import SpeechStream
from app.entrypoints.http.audio_response import StreamResponse
from app.entrypoints.http.disconnect import until_disconnect
from app.ports.clock import Clock

MAX_BYTES_IN_MEMORY: Final = 1024 * 1024
"""Of one answer: 16 s of 32 kHz WAV."""

MAX_HELD_BYTES: Final = 4 * 1024**3
"""Of all answers; the longest text, said as slowly as can be asked for, has 290 MB."""

RETRY_AFTER_S: Final = 10.0
BLOCK_BYTES: Final = 256 * 1024

_log = structlog.get_logger(__name__)


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
        media_type: likewise.
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
