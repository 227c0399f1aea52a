"""An answer on its way out, part by part."""

from collections.abc import AsyncGenerator, Awaitable, Callable

import msgspec

from app.domain.audio import AudioEncoding
from app.domain.captions import Caption
from app.domain.errors import StoreError
from app.domain.services.request_watch import RequestWatch
from app.domain.speech import SynthesisParams
from app.ports.audio_encoder import AudioEncoder
from app.ports.audio_store import StoredAudio


class Kept(msgspec.Struct, frozen=True):
    """What became of a file that was to be kept: it is there, or the store failed."""

    file: StoredAudio | None
    error: StoreError | None = None


Part = bytes | Caption | Kept
"""Of an answer: bytes of the file, what the bytes since the last caption have said, or, last, the
file that was kept of it."""


class SpeechStream:
    """One answer on its way out. Made by `SpeechService`; iterate once, then `aclose`.

    Attributes:
        encoding: format and sample rate of the bytes.
        params: how it is spoken.
        report: how far it is.
        transcript: what has been said.
        kept: what became of the file, once known, if it was to be kept.
    """

    def __init__(
        self,
        encoding: AudioEncoding,
        params: SynthesisParams,
        watch: RequestWatch,
        encoder: AudioEncoder,
        parts: AsyncGenerator[Part, None],
    ) -> None:
        self.encoding = encoding
        self.params = params
        self.report = watch.report
        self.transcript = watch.transcript
        self._watch = watch
        self._encoder = encoder
        self._parts = parts
        self._sources = [parts]
        self.kept: Kept | None = None

    async def prime(self) -> None:
        """Make the first bytes, so that a failure to speak shows before anything is sent.

        Raises:
            SpeechError: speaking failed, or took longer than the caller waits.
        """
        first = await self._watch.in_time(_next_part(self._parts))
        self.pass_through(lambda rest: _after(first, rest))

    def pass_through(
        self, change: Callable[[AsyncGenerator[Part, None]], AsyncGenerator[Part, None]]
    ) -> None:
        """Have all that is still to come pass `change`."""
        self._parts = change(self._parts)
        self._sources.append(self._parts)

    async def parts(self) -> AsyncGenerator[Part, None]:
        """The file, none of its bytes empty, and a caption after the bytes of each segment.

        A codec may hold back the last bytes of a segment until more come. Raises SpeechError when
        it breaks off.
        """
        async for part in self._parts:
            if isinstance(part, Kept):
                self.kept = part
            yield part

    async def __aiter__(self) -> AsyncGenerator[bytes, None]:
        """The file alone, part by part."""
        async for part in self.parts():
            if isinstance(part, bytes):
                yield part

    async def save(self, write: Callable[[bytes], Awaitable[None]]) -> None:
        """Write the whole file; its first bytes are then to be replaced by `head()`.

        Raises:
            SpeechError: speaking broke off, or took longer than the caller waits.
        """
        await self._watch.in_time(self._write_all(write))

    async def _write_all(self, write: Callable[[bytes], Awaitable[None]]) -> None:
        async for part in self:
            await write(part)

    def head(self) -> bytes:
        """See AudioEncoder.head; for whoever writes the parts to a file."""
        return self._encoder.head()

    async def aclose(self) -> None:
        """Stop the work if it is not done."""
        for source in reversed(self._sources):
            await source.aclose()


async def _next_part(parts: AsyncGenerator[Part, None]) -> Part:
    return await anext(parts, b"")


async def _after(first: Part, rest: AsyncGenerator[Part, None]) -> AsyncGenerator[Part, None]:
    if first:
        yield first
    async for part in rest:
        yield part
