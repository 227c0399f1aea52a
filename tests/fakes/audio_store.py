"""An audio store in memory that remembers what it was given."""

import asyncio
import re
from collections.abc import AsyncIterable, AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from datetime import datetime
from typing import Final

import msgspec

from app.domain.audio import AudioFormat
from app.domain.errors import (
    CaptionsNotFoundError,
    InvalidFileNameError,
    StoredAudioNotFoundError,
)
from app.domain.segment import Caption
from app.ports.audio_store import OpenAudio, StoredAudio
from app.ports.clock import Clock

BLOCK_BYTES: Final = 64 * 1024

_STEM: Final = re.compile(r"[A-Za-z0-9_-]{1,64}")
_NAME: Final = re.compile(rf"[A-Za-z0-9_-]{{1,64}}_[0-9]{{6,18}}\.({'|'.join(AudioFormat)})")
_OWNER: Final = re.compile(r"[a-z0-9][a-z0-9_-]{0,31}")


class SavedAudio(msgspec.Struct, frozen=True):
    """What one `save` was asked to keep, and the name it gave."""

    name: str
    stem: str
    audio_format: AudioFormat
    content: bytes
    captions: tuple[Caption, ...]
    created_at: datetime


class FakeAudioStore:
    """An AudioStore; limits of 0 mean none.

    Attributes:
        is_open: from `open` on.
        saved: every save that succeeded, in order, also of files deleted since.
        fail_with: raised by every method while it is set.
        may_take: `save` waits for it before each part and before the end.
    """

    def __init__(
        self, clock: Clock, *, max_files: int = 0, max_bytes: int = 0, max_age_s: float = 0.0
    ) -> None:
        self.is_open = False
        self.saved: list[SavedAudio] = []
        self.fail_with: Exception | None = None
        self.may_take = asyncio.Event()
        self.may_take.set()
        self._clock = clock
        self._max_files = max_files
        self._max_bytes = max_bytes
        self._max_age_s = max_age_s
        self._kept: dict[str, SavedAudio] = {}

    async def open(self) -> None:
        self._fail_if_told()
        self.is_open = True

    async def save(
        self,
        parts: AsyncIterable[bytes],
        *,
        stem: str,
        audio_format: AudioFormat,
        head: Callable[[], bytes] = bytes,
        captions: Callable[[], Sequence[Caption]] = tuple,
    ) -> StoredAudio:
        if not _STEM.fullmatch(stem):
            raise InvalidFileNameError
        content = bytearray()
        async for part in parts:
            await self.may_take.wait()
            self._fail_if_told()
            content += part
        await self.may_take.wait()
        self._fail_if_told()
        first = head()
        content[: len(first)] = first
        name = f"{stem}_{len(self.saved) + 1:06d}.{audio_format}"
        file = SavedAudio(
            name, stem, audio_format, bytes(content), tuple(captions()), self._clock.now()
        )
        self.saved.append(file)
        self._kept[name] = file
        return _describe(file)

    @asynccontextmanager
    async def open_file(self, name: str) -> AsyncIterator[OpenAudio]:
        file = self._find(name)

        async def read_block(start: int, end: int) -> bytes:
            return file.content[start:end]

        yield OpenAudio(_describe(file), read_block, BLOCK_BYTES)

    async def read_captions(self, name: str) -> Sequence[Caption]:
        captions = self._find(name).captions
        if not captions:
            raise CaptionsNotFoundError(name)
        return captions

    async def list(self) -> Sequence[StoredAudio]:
        self._fail_if_told()
        return [_describe(file) for file in self._kept.values()]

    async def delete(self, name: str) -> None:
        del self._kept[self._find(name).name]

    async def clean_up(self) -> int:
        self._fail_if_told()
        num_removed = 0
        while self._kept and self._is_over_a_limit():
            del self._kept[next(iter(self._kept))]
            num_removed += 1
        return num_removed

    def _fail_if_told(self) -> None:
        if self.fail_with is not None:
            raise self.fail_with

    def _find(self, name: str) -> SavedAudio:
        if not _NAME.fullmatch(name):
            raise InvalidFileNameError
        self._fail_if_told()
        if name not in self._kept:
            raise StoredAudioNotFoundError(name)
        return self._kept[name]

    def _is_over_a_limit(self) -> bool:
        oldest = next(iter(self._kept.values()))
        num_bytes = sum(len(file.content) for file in self._kept.values())
        age_s = (self._clock.now() - oldest.created_at).total_seconds()
        return (
            0 < self._max_files < len(self._kept)
            or 0 < self._max_bytes < num_bytes
            or 0 < self._max_age_s < age_s
        )


def _describe(file: SavedAudio) -> StoredAudio:
    return StoredAudio(name=file.name, num_bytes=len(file.content), created_at=file.created_at)


class FakeAudioStores:
    """AudioStores in memory.

    Attributes:
        by_owner: every store so far, opened.
        fail_with: raised by `for_owner` and `owners` while it is set.
    """

    def __init__(self, clock: Clock) -> None:
        self.by_owner: dict[str | None, FakeAudioStore] = {None: FakeAudioStore(clock)}
        self.fail_with: Exception | None = None
        self._clock = clock

    async def for_owner(self, owner: str | None) -> FakeAudioStore:
        if self.fail_with is not None:
            raise self.fail_with
        if owner is not None and not _OWNER.fullmatch(owner):
            raise ValueError(f"{owner!r} cannot be the name of an owner")
        store = self.by_owner.setdefault(owner, FakeAudioStore(self._clock))
        if not store.is_open:
            await store.open()
        return store

    async def owners(self) -> Sequence[str | None]:
        if self.fail_with is not None:
            raise self.fail_with
        return [None, *sorted(owner for owner in self.by_owner if owner is not None)]
