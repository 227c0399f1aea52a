"""Finished audio as plain files in one directory that several processes may share.

Knows nothing of what the bytes mean. A file is written under a temporary name, synced and published
by a hard link, so readers and crashes meet whole files only. The directory is opened anew for every
call: a volume that was unmounted and came back is simply used again. Two files beside the audio
are locks: `.lock` for the one sweeper, `.sequence` for the one publisher; the latter also holds
the last number given, as a hint that may be lost.
"""

import asyncio
import errno
import fcntl
import os
import re
import secrets
import stat
import threading
from collections.abc import (
    AsyncGenerator,
    AsyncIterable,
    AsyncIterator,
    Callable,
    Iterable,
    Iterator,
    Sequence,
)
from contextlib import ExitStack, aclosing, asynccontextmanager, contextmanager, suppress
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path
from typing import Final, ParamSpec, TypeVar

import msgspec

from app.domain.audio import AudioFormat
from app.domain.errors import (
    InvalidFileNameError,
    StoredAudioNotFoundError,
    StoreError,
    StoreFullError,
)
from app.ports.audio_store import StoredAudio
from app.ports.clock import Clock

BLOCK_BYTES: Final = 64 * 1024
"""How much of a file is read at once."""

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
_FILE_MODE: Final = 0o640
_DIRECTORY_MODE: Final = 0o750
_FULL: Final = frozenset({errno.ENOSPC, errno.EDQUOT})
_CANNOT_LINK: Final = frozenset({errno.EPERM, errno.EOPNOTSUPP, errno.ENOSYS})
_NOT_A_FILE: Final = frozenset({errno.ENOENT, errno.ELOOP, errno.ENXIO})
_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)

P = ParamSpec("P")
T = TypeVar("T")


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
        await _in_thread(self._make_ready, self._clock.now())

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
        turns, file = _Turns(), _TempFile(self._directory)
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
        turns, file = _Turns(), _ReadFile()
        try:
            await turns.take(file.open, self._directory, name)
            async with aclosing(_read_blocks(turns, file)) as blocks:
                yield blocks
        finally:
            await turns.take_last(file.close)

    async def list(self) -> Sequence[StoredAudio]:
        return await _in_thread(self._list)

    async def delete(self, name: str) -> None:
        _check_name(name)
        if not await _in_thread(self._delete, name):
            raise StoredAudioNotFoundError(name)

    async def clean_up(self) -> int:
        """Also returns 0, having done nothing, while another process cleans up."""
        return await _in_thread(self._clean_up, self._clock.now())

    def _make_ready(self, now: datetime) -> None:
        self._directory.mkdir(mode=_DIRECTORY_MODE, parents=True, exist_ok=True)
        with _opened(self._directory) as dir_fd:
            _sweep_temp_files(dir_fd, now)
            # Taking the lock shows now, not at the first save, that nothing can be written here.
            with _locked(dir_fd, _SEQUENCE):
                self._last_number = _highest_number(dir_fd)

    def _publish(self, file: "_TempFile", stem: str, audio_format: AudioFormat) -> StoredAudio:
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

    def _link_next(self, file: "_TempFile", stem: str, audio_format: AudioFormat) -> str:
        # The link alone would refuse a taken name; only the lock keeps two stems off one number.
        with _locked(file.dir_fd, _SEQUENCE) as sequence_fd:
            for number in self._next_numbers(file.dir_fd, sequence_fd):
                _write_hint(sequence_fd, number)
                self._last_number = number
                name = f"{stem}_{number:06d}.{audio_format}"
                if _link(file, name):
                    return name
        raise StoreFullError("The store of finished audio has no free number left.")

    def _next_numbers(self, dir_fd: int, sequence_fd: int) -> Iterable[int]:
        hint = _read_hint(sequence_fd)
        last = max(self._last_number, _highest_number(dir_fd) if hint is None else hint)
        return range(last + 1, min(last + MAX_NUMBER_TRIES, _MAX_NUMBER) + 1)

    def _list(self) -> Sequence[StoredAudio]:
        with _opened(self._directory) as dir_fd:
            return sorted(_scan(dir_fd), key=lambda file: (_number(file.name), file.name))

    def _delete(self, name: str) -> bool:
        with _opened(self._directory) as dir_fd:
            return _lstat_regular(dir_fd, name) is not None and _unlink(dir_fd, name)

    def _clean_up(self, now: datetime) -> int:
        with (
            _opened(self._directory) as dir_fd,
            suppress(BlockingIOError),
            _locked(dir_fd, _SWEEPER_LOCK, fcntl.LOCK_EX | fcntl.LOCK_NB),
        ):
            surplus = _find_surplus(tuple(_scan(dir_fd)), self._limits, now)
            return sum(_unlink(dir_fd, file.name) for file in surplus)
        return 0


class _Turns:
    """Work on one open file, in worker threads, one call at a time.

    A cancelled task leaves its thread running. Were the file closed at once, its descriptor could
    become another file's while the thread still writes; so the last turn waits for that thread.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._is_over = False

    async def take(self, work: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        """Run `work` after the turn before it."""
        return await _in_thread(self._take, partial(work, *args, **kwargs))

    async def take_last(self, work: Callable[[], None]) -> None:
        """Run `work` even if cancelled meanwhile, and nothing after it."""
        await asyncio.shield(_in_thread(self._take_last, work))

    def _take(self, work: Callable[[], T]) -> T:
        with self._lock:
            if self._is_over:
                raise StoreError("The file is closed.")
            return work()

    def _take_last(self, work: Callable[[], None]) -> None:
        with self._lock:
            self._is_over = True
            work()


class _TempFile:
    """A file being written, not yet visible under a name of the store."""

    def __init__(self, directory: Path) -> None:
        self.name = f".tmp-{os.getpid()}-{secrets.token_hex(8)}"
        self.dir_fd = -1
        self.fd = -1
        self._directory = directory
        self._num_bytes = 0

    def create(self) -> None:
        self.dir_fd = _open_directory(self._directory)
        flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
        self.fd = os.open(self.name, flags, _FILE_MODE, dir_fd=self.dir_fd)

    def append(self, part: bytes) -> None:
        _write_all(self.fd, part, self._num_bytes)
        self._num_bytes += len(part)

    def seal(self, head: bytes, created_at: datetime) -> None:
        """Put `head` over the first bytes and make the content survive a power cut."""
        _write_all(self.fd, head, 0)
        # Ages are judged by our clock, so the file's time comes from it as well.
        created_at_ns = (created_at - _EPOCH) // timedelta(microseconds=1) * 1000
        os.utime(self.fd, ns=(created_at_ns, created_at_ns))
        # Never tried twice: after a failed fsync the kernel may have dropped the pages.
        os.fsync(self.fd)

    def remove(self) -> None:
        os.unlink(self.name, dir_fd=self.dir_fd)

    def discard(self) -> None:
        """Close, and remove what was not published; never raises.

        A file that cannot be removed is left to the sweep of a later start.
        """
        if self.fd != -1:
            with suppress(OSError):
                self.remove()
            with suppress(OSError):
                os.close(self.fd)
        if self.dir_fd != -1:
            os.close(self.dir_fd)


class _ReadFile:
    """A kept file being read. Deleting its name does not harm it."""

    def __init__(self) -> None:
        self._fd = -1

    def open(self, directory: Path, name: str) -> None:
        # O_NONBLOCK: a named pipe would hold the thread until somebody writes to it.
        flags = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
        with _opened(directory) as dir_fd:
            try:
                self._fd = os.open(name, flags, dir_fd=dir_fd)
            except OSError as error:
                if error.errno in _NOT_A_FILE:
                    raise StoredAudioNotFoundError(name) from error
                raise
        if not stat.S_ISREG(os.fstat(self._fd).st_mode):
            raise StoredAudioNotFoundError(name)

    def read_block(self) -> bytes:
        return os.read(self._fd, BLOCK_BYTES)

    def close(self) -> None:
        if self._fd != -1:
            os.close(self._fd)


async def _in_thread(work: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
    try:
        return await asyncio.to_thread(work, *args, **kwargs)
    except OSError as error:
        raise _as_store_error(error) from error


def _as_store_error(error: OSError) -> StoreError:
    # str(error) would show the path to clients; the number's own text does not.
    if error.errno in _FULL:
        return StoreFullError("No space is left in the store of finished audio.")
    reason = os.strerror(error.errno) if error.errno else type(error).__name__
    return StoreError(f"The store of finished audio failed: {reason}.")


async def _read_blocks(turns: _Turns, file: _ReadFile) -> AsyncGenerator[bytes, None]:
    while block := await turns.take(file.read_block):
        yield block


def _check_name(name: str) -> None:
    if not _NAME.fullmatch(name):
        raise InvalidFileNameError


def _number(name: str) -> int:
    match = _NAME.fullmatch(name)
    return int(match["number"]) if match else 0


def _open_directory(directory: Path) -> int:
    # Links are followed here: which directory is the store is the operator's word.
    return os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)


@contextmanager
def _opened(directory: Path) -> Iterator[int]:
    dir_fd = _open_directory(directory)
    try:
        yield dir_fd
    finally:
        os.close(dir_fd)


@contextmanager
def _locked(dir_fd: int, name: str, operation: int = fcntl.LOCK_EX) -> Iterator[int]:
    flags = os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC
    fd = os.open(name, flags, _FILE_MODE, dir_fd=dir_fd)
    with ExitStack() as on_exit:
        on_exit.callback(os.close, fd)
        fcntl.flock(fd, operation)
        # Closing alone would leave it locked while a child forked meanwhile lives.
        on_exit.callback(fcntl.flock, fd, fcntl.LOCK_UN)
        yield fd


def _link(file: _TempFile, name: str) -> bool:
    """Publish, or say that the name is taken."""
    dir_fd = file.dir_fd
    try:
        os.link(file.name, name, src_dir_fd=dir_fd, dst_dir_fd=dir_fd, follow_symlinks=False)
    except FileExistsError:
        return False
    except OSError as error:
        if error.errno in _CANNOT_LINK:
            raise StoreError("The file system of the store cannot make hard links.") from error
        raise
    return True


def _read_hint(sequence_fd: int) -> int | None:
    line, _, _ = os.pread(sequence_fd, 32, 0).partition(b"\n")
    return int(line) if re.fullmatch(rb"[0-9]{1,18}", line) else None


def _write_hint(sequence_fd: int, number: int) -> None:
    # Before the link: a crash in between leaves a gap, the other order could give a number twice.
    _write_all(sequence_fd, b"%d\n" % number, 0)


def _write_all(fd: int, data: bytes, offset: int) -> None:
    rest = memoryview(data)
    while rest:
        num_written = os.pwrite(fd, rest, offset)
        rest = rest[num_written:]
        offset += num_written


def _highest_number(dir_fd: int) -> int:
    # Whatever bears the name counts, a directory too: the number is not free.
    return max((_number(name) for name in os.listdir(dir_fd)), default=0)


def _scan(dir_fd: int) -> Iterator[StoredAudio]:
    for name in filter(_NAME.fullmatch, os.listdir(dir_fd)):
        status = _lstat_regular(dir_fd, name)
        if status is not None:
            yield _describe(name, status)


def _describe(name: str, status: os.stat_result) -> StoredAudio:
    created_at = _EPOCH + timedelta(microseconds=status.st_mtime_ns // 1000)
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
