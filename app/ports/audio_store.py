"""The ports to finished audio that is kept."""

from collections.abc import AsyncGenerator, AsyncIterable, Awaitable, Callable, Sequence
from contextlib import AbstractAsyncContextManager
from datetime import datetime
from typing import Protocol

import msgspec

from app.domain.audio import AudioFormat
from app.domain.errors import StoreError
from app.domain.segment import Caption


class StoredAudio(msgspec.Struct, frozen=True):
    """One kept file."""

    name: str  # `<stem>_<number>.<extension>`, unique in the store
    num_bytes: int  # its size
    created_at: datetime  # when it was published, UTC

    @property
    def audio_format(self) -> AudioFormat:
        """Of its bytes, as its name says."""
        return AudioFormat(self.name.rpartition(".")[2])

    @property
    def version(self) -> str:
        """Tells these bytes from others that have had or will have this name: size and time.

        Letters, digits, '-', '_' and '.' only.
        """
        created_at_us = round(self.created_at.timestamp() * 1e6)
        return f"{self.name}-{self.num_bytes:x}-{created_at_us:x}"


class OpenAudio(msgspec.Struct, frozen=True):
    """A kept file that is open.

    Its bytes stay, even if it is deleted meanwhile, where the storage can do that.
    """

    info: StoredAudio  # what was opened
    read_block: Callable[[int, int], Awaitable[bytes]]  # from a start up to an end, or fewer
    max_block_bytes: int

    async def read(self, start: int, end: int) -> AsyncGenerator[bytes, None]:
        """The bytes from `start` up to but not including `end`, in blocks, none of them empty.

        Raises:
            StoreError: the storage fails, or the file has become shorter than it was, or is gone.
        """
        while start < end:
            block = await self.read_block(start, min(start + self.max_block_bytes, end))
            if not block:
                raise StoreError("A file of the store became shorter while it was read.")
            yield block
            start += len(block)


class AudioStore(Protocol):
    """Keeps audio under sequential names.

    A file appears whole or not at all. Numbers rise within the store and are given once
    while a process uses it. Any method raises StoreError when the storage fails.
    """

    async def save(
        self,
        parts: AsyncIterable[bytes],
        *,
        stem: str,
        audio_format: AudioFormat,
        head: Callable[[], bytes] = bytes,
        captions: Callable[[], Sequence[Caption]] = tuple,
    ) -> StoredAudio:
        """Keep the joined `parts` under the next name of the store.

        Args:
            parts: the file from its beginning; an error raised by it is passed on, nothing is kept.
            stem: start of the name: letters, digits, '-' and '_', 1 to 64 of them.
            audio_format: gives the extension.
            head: called when all parts are written; its bytes replace the first ones.
            captions: called when all parts are written; kept beside the file if there are any, and
                removed with it.

        Raises:
            InvalidFileNameError: the stem has other characters.
            StoreFullError: no space or no number left.
        """

    def open_file(self, name: str) -> AbstractAsyncContextManager[OpenAudio]:
        """A file to be read; closed at the end of the context.

        Raises (on entering):
            InvalidFileNameError: the store never gives such a name.
            StoredAudioNotFoundError: no such file.
        """

    async def read_captions(self, name: str) -> Sequence[Caption]:
        """What is said when in a file.

        Raises:
            InvalidFileNameError: the store never gives such a name.
            StoredAudioNotFoundError: no such file, or none that was kept with captions.
        """

    async def list(self) -> Sequence[StoredAudio]:
        """All files, oldest number first."""

    async def delete(self, name: str) -> None:
        """Remove a file, and its captions.

        Raises:
            InvalidFileNameError: the store never gives such a name.
            StoredAudioNotFoundError: no such file.
        """

    async def clean_up(self) -> int:
        """Remove the oldest files until the store's limits on age, count and bytes hold.

        The bytes are those of the audio. Returns how many files were removed.
        """


class AudioStores(Protocol):
    """A store per owner, none of which sees the files of another.

    An owner is a name of lower-case letters, digits, '-' and '_', 1 to 32 of them, that begins with
    a letter or digit; None is a caller without a name. Each store has numbers and limits of its
    own.
    """

    async def for_owner(self, owner: str | None) -> AudioStore:
        """The store of `owner`, opened; made at the first use. Always the same object.

        Raises:
            StoreError: it cannot be opened now.
            ValueError: no such name is possible.
        """

    async def owners(self) -> Sequence[str | None]:
        """The owners that have a store: None, then all names in order, also those of earlier runs.

        Raises:
            StoreError: the storage fails.
        """
