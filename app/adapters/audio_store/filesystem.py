"""Finished audio as plain files in one directory that several processes may share.

Knows nothing of what the bytes mean. A file is written under a temporary name, synced and published
by a hard link, so readers and crashes meet whole files only. The directory is opened anew for every
call: a volume that was unmounted and came back is simply used again. Two files beside the audio
are locks: `.lock` for the one sweeper, `.sequence` for the one publisher; the latter also holds
the last number given, as a hint that may be lost.
"""

import errno
import fcntl
import os
import re
import stat
from collections.abc import (
    AsyncIterable,
    AsyncIterator,
    Callable,
    Iterable,
    Iterator,
    Sequence,
)
from contextlib import ExitStack, aclosing, asynccontextmanager, contextmanager, suppress
from datetime import datetime, timedelta
from pathlib import Path
from typing import Final

import msgspec

from app.adapters.audio_store.files import (
    EPOCH,
    FILE_MODE,
    ReadFile,
    TempFile,
    Turns,
    in_thread,
    link,
    opened_directory,
    read_blocks,
    write_all,
)
from app.domain.audio import AudioFormat
from app.domain.errors import (
    InvalidFileNameError,
    StoredAudioNotFoundError,
    StoreFullError,
)
from app.ports.audio_store import StoredAudio
from app.ports.clock import Clock

MAX_NUMBER_TRIES: Final = 10_000
"""How many taken names in a row `save` skips before it gives up."""

TEMP_MAX_AGE_S: Final = 3600.0
"""A temporary file not written to for so long has no writer any more."""

ORPHAN_MAX_AGE_S: Final = 60.0
"""The same where the writer's process is gone. Not zero: in another container of the same volume a
living process has a number that looks dead from here."""

_MAX_NUMBER: Final = 10**18 - 1
_STEM: Final = re.compile(r"[A-Za-z0-9_-]{1,64}")
_NAME: Final = re.compile(
    rf"{_STEM.pattern}_(?P<number>[0-9]{{6}}|[1-9][0-9]{{6,17}})\.(?:{'|'.join(AudioFormat)})"
)
_TEMP_NAME: Final = re.compile(r"\.tmp-(?P<pid>[1-9][0-9]{0,6})-[0-9a-f]{16}")
_SEQUENCE: Final = ".sequence"
_SWEEPER_LOCK: Final = ".lock"
_DIRECTORY_MODE: Final = 0o750


class StoreLimits(msgspec.Struct, frozen=True):
    """What `clean_up` keeps; 0 means no limit.

    Attributes:
        max_files: how many files.
        max_bytes: of all files together.
        max_age_s: of each file, in seconds.
    """

    max_files: int = 0
    max_bytes: int = 0
    max_age_s: float = 0.0


class FilesystemAudioStore:
    """An AudioStore in `directory`, which `open` makes if it is missing.

    Numbers are shared by all processes on the directory. A save cancelled in its very last step may
    still be kept, whole.
    """

    def __init__(self, directory: Path, limits: StoreLimits, clock: Clock) -> None:
        self._directory = directory
        self._limits = limits
        self._clock = clock
        self._last_number = 0

    async def open(self) -> None:
        await in_thread(self._make_ready, self._clock.now())

    async def close(self) -> None:
        self._last_number = 0

    async def save(
        self,
        parts: AsyncIterable[bytes],
        *,
        stem: str,
        audio_format: AudioFormat,
        head: Callable[[], bytes] = bytes,
    ) -> StoredAudio:
        if not _STEM.fullmatch(stem):
            raise InvalidFileNameError
        turns, file = Turns(), TempFile(self._directory)
        try:
            await turns.take(file.create)
            async for part in parts:
                await turns.take(file.append, part)
            await turns.take(file.seal, head(), self._clock.now())
            return await turns.take(self._publish, file, stem, audio_format)
        finally:
            await turns.take_last(file.discard)

    @asynccontextmanager
    async def read(self, name: str) -> AsyncIterator[AsyncIterator[bytes]]:
        _check_name(name)
        turns, file = Turns(), ReadFile()
        try:
            await turns.take(file.open, self._directory, name)
            async with aclosing(read_blocks(turns, file)) as blocks:
                yield blocks
        finally:
            await turns.take_last(file.close)

    async def list(self) -> Sequence[StoredAudio]:
        return await in_thread(self._list)

    async def delete(self, name: str) -> None:
        _check_name(name)
        if not await in_thread(self._delete, name):
            raise StoredAudioNotFoundError(name)

    async def clean_up(self) -> int:
        """Also returns 0, having done nothing, while another process cleans up."""
        return await in_thread(self._clean_up, self._clock.now())

    def _make_ready(self, now: datetime) -> None:
        self._directory.mkdir(mode=_DIRECTORY_MODE, parents=True, exist_ok=True)
        with opened_directory(self._directory) as dir_fd:
            _sweep_temp_files(dir_fd, now)
            # Taking the lock shows now, not at the first save, that nothing can be written here.
            with _locked(dir_fd, _SEQUENCE):
                self._last_number = _highest_number(dir_fd)

    def _publish(self, file: TempFile, stem: str, audio_format: AudioFormat) -> StoredAudio:
        name = self._link_next(file, stem, audio_format)
        try:
            file.remove()
            os.fsync(file.dir_fd)
        except OSError:
            # The caller will be told that nothing is kept; this makes it true if it can be.
            with suppress(OSError):
                os.unlink(name, dir_fd=file.dir_fd)
            raise
        return _describe(name, os.fstat(file.fd))

    def _link_next(self, file: TempFile, stem: str, audio_format: AudioFormat) -> str:
        # The link alone would refuse a taken name; only the lock keeps two stems off one number.
        with _locked(file.dir_fd, _SEQUENCE) as sequence_fd:
            for number in self._next_numbers(file.dir_fd, sequence_fd):
                _write_hint(sequence_fd, number)
                self._last_number = number
                name = f"{stem}_{number:06d}.{audio_format}"
                if link(file, name):
                    return name
        raise StoreFullError("The store of finished audio has no free number left.")

    def _next_numbers(self, dir_fd: int, sequence_fd: int) -> Iterable[int]:
        hint = _read_hint(sequence_fd)
        last = max(self._last_number, _highest_number(dir_fd) if hint is None else hint)
        return range(last + 1, min(last + MAX_NUMBER_TRIES, _MAX_NUMBER) + 1)

    def _list(self) -> Sequence[StoredAudio]:
        with opened_directory(self._directory) as dir_fd:
            return sorted(_scan(dir_fd), key=lambda file: (_number(file.name), file.name))

    def _delete(self, name: str) -> bool:
        with opened_directory(self._directory) as dir_fd:
            return _lstat_regular(dir_fd, name) is not None and _unlink(dir_fd, name)

    def _clean_up(self, now: datetime) -> int:
        with (
            opened_directory(self._directory) as dir_fd,
            suppress(BlockingIOError),
            _locked(dir_fd, _SWEEPER_LOCK, fcntl.LOCK_EX | fcntl.LOCK_NB),
        ):
            surplus = _find_surplus(tuple(_scan(dir_fd)), self._limits, now)
            return sum(_unlink(dir_fd, file.name) for file in surplus)
        return 0


def _check_name(name: str) -> None:
    if not _NAME.fullmatch(name):
        raise InvalidFileNameError


def _number(name: str) -> int:
    match = _NAME.fullmatch(name)
    return int(match["number"]) if match else 0


@contextmanager
def _locked(dir_fd: int, name: str, operation: int = fcntl.LOCK_EX) -> Iterator[int]:
    flags = os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC
    fd = os.open(name, flags, FILE_MODE, dir_fd=dir_fd)
    with ExitStack() as on_exit:
        on_exit.callback(os.close, fd)
        fcntl.flock(fd, operation)
        # Closing alone would leave it locked while a child forked meanwhile lives.
        on_exit.callback(fcntl.flock, fd, fcntl.LOCK_UN)
        yield fd


def _read_hint(sequence_fd: int) -> int | None:
    line, _, _ = os.pread(sequence_fd, 32, 0).partition(b"\n")
    return int(line) if re.fullmatch(rb"[0-9]{1,18}", line) else None


def _write_hint(sequence_fd: int, number: int) -> None:
    # Before the link: a crash in between leaves a gap, the other order could give a number twice.
    write_all(sequence_fd, b"%d\n" % number, 0)


def _highest_number(dir_fd: int) -> int:
    # Whatever bears the name counts, a directory too: the number is not free.
    return max((_number(name) for name in os.listdir(dir_fd)), default=0)


def _scan(dir_fd: int) -> Iterator[StoredAudio]:
    for name in filter(_NAME.fullmatch, os.listdir(dir_fd)):
        status = _lstat_regular(dir_fd, name)
        if status is not None:
            yield _describe(name, status)


def _describe(name: str, status: os.stat_result) -> StoredAudio:
    created_at = EPOCH + timedelta(microseconds=status.st_mtime_ns // 1000)
    return StoredAudio(name=name, num_bytes=status.st_size, created_at=created_at)


def _lstat_regular(dir_fd: int, name: str) -> os.stat_result | None:
    """None for what is gone, and for links, pipes, devices and directories."""
    try:
        status = os.lstat(name, dir_fd=dir_fd)
    except FileNotFoundError:
        return None
    return status if stat.S_ISREG(status.st_mode) else None


def _unlink(dir_fd: int, name: str) -> bool:
    """Remove, or say that somebody else was first."""
    try:
        os.unlink(name, dir_fd=dir_fd)
    except FileNotFoundError:
        return False
    return True


def _find_surplus(
    files: Sequence[StoredAudio], limits: StoreLimits, now: datetime
) -> Sequence[StoredAudio]:
    """The fewest of the oldest files without which the limits hold."""
    oldest_first = sorted(files, key=lambda file: (file.created_at, _number(file.name)))
    num_bytes = sum(file.num_bytes for file in files)
    for index, file in enumerate(oldest_first):
        age_s = (now - file.created_at).total_seconds()
        is_too_old = 0 < limits.max_age_s < age_s
        is_too_many = 0 < limits.max_files < len(files) - index
        if not (is_too_old or is_too_many or 0 < limits.max_bytes < num_bytes):
            return oldest_first[:index]
        num_bytes -= file.num_bytes
    return oldest_first


def _sweep_temp_files(dir_fd: int, now: datetime) -> None:
    for name in filter(_TEMP_NAME.fullmatch, os.listdir(dir_fd)):
        status = _lstat_regular(dir_fd, name)
        if status is not None and _is_abandoned(name, status, now):
            # In a directory shared with other users theirs are theirs to remove.
            with suppress(PermissionError):
                _unlink(dir_fd, name)


def _is_abandoned(name: str, status: os.stat_result, now: datetime) -> bool:
    match = _TEMP_NAME.fullmatch(name)
    age_s = now.timestamp() - status.st_mtime
    if match is None or age_s <= ORPHAN_MAX_AGE_S:
        return False
    return age_s > TEMP_MAX_AGE_S or not _is_running(int(match["pid"]))


def _is_running(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except OSError as error:
        return error.errno != errno.ESRCH
    return True
