"""An answer on its way out, part by part; stored at the same time if that was asked for."""

from collections.abc import AsyncGenerator, Awaitable, Callable

import msgspec

from app.domain.captions import Caption
from app.domain.errors import StoreError
from app.domain.segment import TextSegment
from app.domain.services.audio_library import Recording
from app.domain.services.speech_job import SpeechJob
from app.ports.audio_store import StoredAudio


class StoreOutcome(msgspec.Struct, frozen=True):
    """What became of a file that was to be stored: it is there, or the store failed."""

    file: StoredAudio | None
    error: StoreError | None = None


# Bytes of the file, a caption once the bytes before it have said a segment, or, as the last part,
# what became of the file that was to be stored.
Part = bytes | Caption | StoreOutcome


class SpeechStream:
    """The parts of one answer. Made by `SpeechService`; iterate once, then `aclose`.

    None of the bytes are empty. A codec may hold back the last bytes of a segment until more come.
    Raises SpeechError when it breaks off.
    """

    def __init__(self, job: SpeechJob, parts: AsyncGenerator[Part, None]) -> None:
        self.encoding = job.encoding  # of the bytes
        self.params = job.params
        self.report = job.report
        self.captions = job.captions
        self._job = job
        self._parts = parts
        self._first: Part | None = None
        self._recording: Recording | None = None
        self.stored: StoreOutcome | None = None  # what became of the file, once known

    @property
    def current_segment(self) -> TextSegment | None:
        """The segment that has begun and is not whole."""
        return self._job.current_segment

    async def prime(self) -> None:
        """Make the first part, so that a failure shows before anything is sent.

        Raises:
            SpeechError: synthesis failed, or took longer than the caller waits; it is closed then.
        """
        try:
            self._first = await self._job.in_time(anext(self._parts, None))
        except BaseException:
            await self.aclose()
            raise

    def store_in(self, recording: Recording) -> None:
        """Store the bytes that are still to come; `stored` is then the last part."""
        self._recording = recording

    def __aiter__(self) -> "SpeechStream":
        return self

    async def __anext__(self) -> Part:
        part, self._first = self._first, None
        if part is None:
            part = await anext(self._parts, None)
        if self._recording is None or self.stored is not None:
            if part is None:
                raise StopAsyncIteration
        elif part is None:
            try:
                file = await self._recording.finish(head=self.head(), captions=self.captions)
                part = self.stored = StoreOutcome(file)
            except StoreError as error:
                part = self.stored = StoreOutcome(None, error)
        elif isinstance(part, bytes):
            await self._recording.write(part)
        return part

    async def save(self, write: Callable[[bytes], Awaitable[None]]) -> None:
        """Write the whole file; its first bytes are then to be replaced by `head()`.

        Raises:
            SpeechError: synthesis broke off, or took longer than the caller waits.
        """

        async def write_all() -> None:
            async for part in self:
                if isinstance(part, bytes):
                    await write(part)

        await self._job.in_time(write_all())

    def head(self) -> bytes:
        """See AudioEncoder.head; for callers that write the bytes to a file."""
        return self._job.encoder.head()

    async def aclose(self) -> None:
        """Stop the work if it is not done."""
        await self._parts.aclose()
        self._job.end(GeneratorExit())  # a generator that was never begun has not said so
        if self._recording is not None:
            await self._recording.aclose()
