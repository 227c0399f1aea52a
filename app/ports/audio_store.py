"""The port to finished audio that is kept."""

from collections.abc import AsyncIterable, AsyncIterator, Callable, Sequence
from contextlib import AbstractAsyncContextManager
from datetime import datetime
from typing import Protocol

import msgspec

from app.domain.audio import AudioFormat


class StoredAudio(msgspec.Struct, frozen=True):
    """One kept file.

    Attributes:
        name: `<stem>_<number>.<extension>`, unique in the store.
        num_bytes: its size.
        created_at: when it was published, UTC.
    """

    name: str
    num_bytes: int
    created_at: datetime


class AudioStore(Protocol):
    """Keeps audio under sequential names.

    A file appears whole or not at all. Numbers rise within the store and are not given twice while
    it is open. Any method raises StoreError when the storage fails.
    """

    async def open(self) -> None:
        """Make ready: create what is missing, remove what a crash left half-written."""
        ...

    async def close(self) -> None:
        """Give back what `open` took. May be called without `open`, and twice."""
        ...

    async def save(
        self,
        parts: AsyncIterable[bytes],
        *,
        stem: str,
        audio_format: AudioFormat,
        head: Callable[[], bytes] = bytes,
    ) -> StoredAudio:
        """Keep the joined `parts` under the next name of the store.

        Args:
            parts: the file from its beginning; an error raised by it is passed on, nothing is kept.
            stem: start of the name: letters, digits, '-' and '_', 1 to 64 of them.
            audio_format: gives the extension.
            head: called when all parts are written; its bytes replace the first ones.

        Raises:
            InvalidFileNameError: the stem has other characters.
            StoreFullError: no space or no number left.
        """
        ...

    def read(self, name: str) -> AbstractAsyncContextManager[AsyncIterator[bytes]]:
        """The bytes of a file, which arrive whole even if it is deleted meanwhile.

        Raises (on entering):
            InvalidFileNameError: the store never gives such a name.
            StoredAudioNotFoundError: no such file.
        """
        ...

    async def list(self) -> Sequence[StoredAudio]:
        """All files, oldest number first."""
        ...

    async def delete(self, name: str) -> None:
        """Remove a file.

        Raises:
            InvalidFileNameError: the store never gives such a name.
            StoredAudioNotFoundError: no such file.
        """
        ...

    async def clean_up(self) -> int:
        """Remove the oldest files until the store's limits on age, count and bytes hold.

        Returns how many were removed.
        """
        ...
