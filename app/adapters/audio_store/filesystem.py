"""Finished audio as plain files in one directory that several processes may share.

Knows nothing of what the bytes mean. A file is written under a temporary name, synced and published
by a hard link, so readers and crashes meet whole files only. The directory is opened again for
every call: a volume that was unmounted and came back is simply used again. Two files beside the
audio are locks: `.lock` for the one sweeper, `.sequence` for the one publisher; the latter also
holds the last number given, as a hint that may be lost. Captions lie beside their audio, hidden.
"""

import asyncio
import fcntl
import os
from collections.abc import (
    AsyncIterable,
    AsyncIterator,
    Callable,
    Iterator,
    Sequence,
)
from contextlib import asynccontextmanager, contextmanager, suppress
from datetime import datetime, timedelta
from pathlib import Path
from typing import Final

from app.adapters.audio_store.files import (
    BLOCK_BYTES,
    EPOCH,
    FILE_MODE,
    ReadFile,
    TempFile,
    Turns,
    close,
    in_thread,
    link,
    lstat_regular,
    opened_directory,
    put_sidecar,
    read_sidecar,
    sidecar_of,
    sweep,
    unlink,
    write_all,
    write_sidecar,
)
from app.adapters.audio_store.rules import (
    MAX_NUMBER,
    StoreLimits,
    check_name,
    check_stem,
    directory_of,
    find_surplus,
    is_audio,
    last_number,
    number_of,
    owner_of,
)
from app.domain.audio import AudioFormat
from app.domain.errors import StoredAudioNotFoundError, StoreFullError
from app.domain.segment import Caption
from app.ports.audio_store import OpenAudio, StoredAudio
from app.ports.clock import Clock

MAX_NUMBER_TRIES: Final = 10_000  # how many taken names in a row `save` skips before it gives up

_SEQUENCE: Final = ".sequence"
_SWEEPER_LOCK: Final = ".lock"
_DIRECTORY_MODE: Final = 0o750


class FilesystemAudioStore:
    """An AudioStore in `directory`. Call `open` before anything else.

    Numbers are shared by all processes on the directory. A save cancelled in its very last step may
    still be kept, whole.
    """

    def __init__(self, directory: Path, limits: StoreLimits, clock: Clock) -> None:
        self._directory = directory
        self._limits = limits
        self._clock = clock
        self._last_number = 0

    async def open(self) -> None:
        """Make ready: create what is missing, remove what a crash left half-written."""

        def make_ready(now: datetime) -> None:
            self._directory.mkdir(mode=_DIRECTORY_MODE, parents=True, exist_ok=True)
            # Taking the lock shows now, not at the first save, that nothing can be written here.
            with opened_directory(self._directory) as dir_fd, _locked(dir_fd, _SEQUENCE):
                self._last_number = _highest_number(dir_fd)
                sweep(dir_fd, now)

        await in_thread(make_ready, self._clock.now())

    async def save(
        self,
        parts: AsyncIterable[bytes],
        *,
        stem: str,
        audio_format: AudioFormat,
        head: Callable[[], bytes] = bytes,
        captions: Callable[[], Sequence[Caption]] = tuple,
    ) -> StoredAudio:
        check_stem(stem)
        turns, file, sidecar = Turns(), TempFile(self._directory), TempFile(self._directory)

        def discard() -> None:
            file.discard()
            sidecar.discard()

        try:
            await turns.take(file.create)
            async for part in parts:
                await turns.take(file.append, part)
            now = self._clock.now()
            await turns.take(file.seal, head(), now)
            await turns.take(write_sidecar, sidecar, captions(), now)
            return await turns.take(self._publish, file, sidecar, f"{stem}_{{:06d}}.{audio_format}")
        finally:
            await turns.take_last(discard)

    @asynccontextmanager
    async def open_file(self, name: str) -> AsyncIterator[OpenAudio]:
        check_name(name)
        turns, file = Turns(), ReadFile()

        async def read_block(start: int, end: int) -> bytes:
            return await turns.take(file.read_at, start, end)

        try:
            status = await turns.take(file.open, self._directory, name)
            yield OpenAudio(_describe(name, status), read_block, BLOCK_BYTES)
        finally:
            await turns.take_last(file.close)

    async def read_captions(self, name: str) -> Sequence[Caption]:
        check_name(name)

        def read() -> Sequence[Caption]:
            with opened_directory(self._directory) as dir_fd:
                if lstat_regular(dir_fd, name) is None:
                    raise StoredAudioNotFoundError(name)
            return read_sidecar(self._directory, name)

        return await in_thread(read)

    async def list(self) -> Sequence[StoredAudio]:
        def find() -> Sequence[StoredAudio]:
            with opened_directory(self._directory) as dir_fd:
                return sorted(_scan(dir_fd), key=lambda file: (number_of(file.name), file.name))

        return await in_thread(find)

    async def delete(self, name: str) -> None:
        check_name(name)

        def remove() -> bool:
            with opened_directory(self._directory) as dir_fd:
                return lstat_regular(dir_fd, name) is not None and _remove(dir_fd, name)

        if not await in_thread(remove):
            raise StoredAudioNotFoundError(name)

    async def clean_up(self) -> int:
        """Also returns 0, having done nothing, while another process cleans up."""

        def remove_surplus(now: datetime) -> int:
            with (
                opened_directory(self._directory) as dir_fd,
                suppress(BlockingIOError),
                _locked(dir_fd, _SWEEPER_LOCK, fcntl.LOCK_EX | fcntl.LOCK_NB),
            ):
                surplus = find_surplus(tuple(_scan(dir_fd)), self._limits, now)
                return sum(_remove(dir_fd, file.name) for file in surplus)
            return 0

        return await in_thread(remove_surplus, self._clock.now())

    def _publish(self, file: TempFile, sidecar: TempFile, pattern: str) -> StoredAudio:
        status = os.fstat(file.fd)  # while nothing is published that a failure would leave
        # The link alone would refuse a taken name; only the lock keeps two stems off one number.
        with _locked(file.dir_fd, _SEQUENCE) as sequence_fd:
            hint, _, _ = os.pread(sequence_fd, 32, 0).partition(b"\n")
            written = last_number(hint)
            last = max(
                self._last_number, _highest_number(file.dir_fd) if written is None else written
            )
            for number in range(last + 1, min(last + MAX_NUMBER_TRIES, MAX_NUMBER) + 1):
                # First: a crash in between leaves a gap, after the link it could give it twice.
                write_all(sequence_fd, b"%d\n" % number, 0)
                self._last_number = number
                name = pattern.format(number)
                if link(file, name):
                    with _kept_only_without_error(file.dir_fd, name):
                        put_sidecar(sidecar, file.dir_fd, name)
                    break
            else:
                raise StoreFullError("The store of finished audio has no free number left.")
        with _kept_only_without_error(file.dir_fd, name):
            file.remove()
            os.fsync(file.dir_fd)
        return _describe(name, status)


def _remove(dir_fd: int, name: str) -> bool:
    """Remove audio and its captions, or say that somebody else was first."""
    unlink(dir_fd, sidecar_of(name))
    return unlink(dir_fd, name)


@contextmanager
def _kept_only_without_error(dir_fd: int, name: str) -> Iterator[None]:
    """The caller is told that nothing is kept; this makes it true if it can be."""
    try:
        yield
    except OSError:
        for each in (name, sidecar_of(name)):
            with suppress(OSError):
                unlink(dir_fd, each)
        raise


@contextmanager
def _locked(dir_fd: int, name: str, operation: int = fcntl.LOCK_EX) -> Iterator[int]:
    flags = os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC
    fd = os.open(name, flags, FILE_MODE, dir_fd=dir_fd)
    try:
        fcntl.flock(fd, operation)
        try:
            yield fd
        finally:
            # Closing alone would leave it locked while a child forked meanwhile lives. Nothing is
            # undone for an unlocking that fails: it must not pass for a failure of other work.
            with suppress(OSError):
                fcntl.flock(fd, fcntl.LOCK_UN)
    finally:
        close(fd)


def _highest_number(dir_fd: int) -> int:
    # Whatever bears the name counts, a directory too: the number is not free.
    return max((number_of(name) for name in os.listdir(dir_fd)), default=0)


def _scan(dir_fd: int) -> Iterator[StoredAudio]:
    for name in filter(is_audio, os.listdir(dir_fd)):
        status = lstat_regular(dir_fd, name)
        if status is not None:
            yield _describe(name, status)


def _describe(name: str, status: os.stat_result) -> StoredAudio:
    created_at = EPOCH + timedelta(microseconds=status.st_mtime_ns // 1000)
    return StoredAudio(name=name, num_bytes=status.st_size, created_at=created_at)


class FilesystemAudioStores:
    """AudioStores in `directory`; `limits` hold for each owner."""

    def __init__(self, directory: Path, limits: StoreLimits, clock: Clock) -> None:
        self._directory = directory
        self._limits = limits
        self._clock = clock
        self._opened: dict[str | None, FilesystemAudioStore] = {}
        self._opening = asyncio.Lock()

    async def for_owner(self, owner: str | None) -> FilesystemAudioStore:
        directory = self._directory if owner is None else self._directory / directory_of(owner)
        async with self._opening:
            store = self._opened.get(owner)
            if store is None:
                store = FilesystemAudioStore(directory, self._limits, self._clock)
                await store.open()
                self._opened[owner] = store
        return store

    async def owners(self) -> Sequence[str | None]:
        def find() -> Sequence[str]:
            with os.scandir(self._directory) as entries:
                # What is foreign is not even looked at: a link to itself cannot be.
                owners = [
                    owner
                    for entry in entries
                    if (owner := owner_of(entry.name)) and entry.is_dir(follow_symlinks=False)
                ]
            return sorted(owners)

        return [None, *await in_thread(find)]
