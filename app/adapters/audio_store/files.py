"""Files of the store while they are open: one being written, one being read.

Knows nothing of numbers and limits. All calls on one file are made in worker threads, one at a
time, and the file is closed after the last of them, whatever was cancelled meanwhile.
"""

import asyncio
import errno
import math
import os
import re
import secrets
import shutil
import stat
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path
from typing import Final, ParamSpec, TypeVar

import msgspec

from app.adapters.audio_store.rules import LEFTOVER_MAX_AGE_S, NAME, decode_captions
from app.domain.errors import (
    CaptionsNotFoundError,
    StoredAudioNotFoundError,
    StoreError,
    StoreFullError,
)
from app.domain.segment import Caption

BLOCK_BYTES: Final = 64 * 1024  # how much of a file is read at once

EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
FILE_MODE: Final = 0o640

_FULL: Final = frozenset({errno.ENOSPC, errno.EDQUOT})
_CANNOT_LINK: Final = frozenset({errno.EPERM, errno.EOPNOTSUPP, errno.ENOSYS})
_NOT_A_FILE: Final = frozenset({errno.ENOENT, errno.ELOOP, errno.ENXIO})

P = ParamSpec("P")
T = TypeVar("T")


class Turns:
    """Work on one open file, in worker threads, one call at a time.

    A cancelled task leaves its thread running. Were the file closed at once, its descriptor could
    become another file's while the thread still writes; so the last turn waits for that thread.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._is_over = False

    async def take(self, work: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        """Run `work` after the turn before it."""

        def turn() -> T:
            with self._lock:
                if self._is_over:
                    raise StoreError("The file is closed.")
                return work(*args, **kwargs)

        return await in_thread(turn)

    async def take_last(self, work: Callable[[], None]) -> None:
        """Run `work` even if cancelled meanwhile, and nothing after it."""

        def turn() -> None:
            with self._lock:
                self._is_over = True
                work()

        await asyncio.shield(in_thread(turn))


class TempFile:
    """A file being written, not yet visible under a name of the store."""

    def __init__(self, directory: Path) -> None:
        self.name = f".tmp-{os.getpid()}-{secrets.token_hex(8)}"
        self.dir_fd = -1
        self.fd = -1
        self._directory = directory
        self._num_bytes = 0

    @property
    def is_created(self) -> bool:
        return self.fd != -1

    def create(self) -> None:
        self.dir_fd = open_directory(self._directory)
        flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
        self.fd = os.open(self.name, flags, FILE_MODE, dir_fd=self.dir_fd)

    def append(self, part: bytes) -> None:
        write_all(self.fd, part, self._num_bytes)
        self._num_bytes += len(part)

    def seal(self, head: bytes, created_at: datetime) -> None:
        """Put `head` over the first bytes and make the content survive a power cut."""
        write_all(self.fd, head, 0)
        # Ages are judged by our clock, so the file's time comes from it as well.
        created_at_ns = (created_at - EPOCH) // timedelta(microseconds=1) * 1000
        os.utime(self.fd, ns=(created_at_ns, created_at_ns))
        # Never tried twice: after a failed fsync the kernel may have dropped the pages.
        os.fsync(self.fd)

    def remove(self) -> None:
        os.unlink(self.name, dir_fd=self.dir_fd)

    def discard(self) -> None:
        """Close, and remove what was not published; never raises.

        A file that cannot be removed is left to the sweep of a later start.
        """
        if self.is_created:
            with suppress(OSError):
                self.remove()
            close(self.fd)
        if self.dir_fd != -1:
            close(self.dir_fd)


class ReadFile:
    """A kept file being read. Deleting its name does not harm it."""

    def __init__(self) -> None:
        self._fd = -1

    def open(self, directory: Path, name: str) -> os.stat_result:
        """The state of what was opened; asked of the descriptor, as the name may pass on."""
        # O_NONBLOCK: a named pipe would hold the thread until somebody writes to it.
        flags = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
        with opened_directory(directory) as dir_fd:
            try:
                self._fd = os.open(name, flags, dir_fd=dir_fd)
            except OSError as error:
                if error.errno in _NOT_A_FILE:
                    raise StoredAudioNotFoundError(name) from error
                raise
        status = os.fstat(self._fd)
        if not stat.S_ISREG(status.st_mode):
            raise StoredAudioNotFoundError(name)
        return status

    def read_at(self, start: int, end: int) -> bytes:
        return os.pread(self._fd, end - start, start)

    def read_all(self) -> bytes:
        """For small files: all of it."""
        return b"".join(iter(partial(os.read, self._fd, BLOCK_BYTES), b""))

    def close(self) -> None:
        if self._fd != -1:
            close(self._fd)


def link(file: TempFile, name: str) -> bool:
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


def lstat_regular(dir_fd: int, name: str) -> os.stat_result | None:
    """None for what is gone, and for links, pipes, devices and directories."""
    try:
        status = os.lstat(name, dir_fd=dir_fd)
    except FileNotFoundError:
        return None
    return status if stat.S_ISREG(status.st_mode) else None


def unlink(dir_fd: int, name: str) -> bool:
    """Remove, or say that somebody else was first."""
    try:
        os.unlink(name, dir_fd=dir_fd)
    except FileNotFoundError:
        return False
    return True


NUM_THREADS: Final = 4  # of all stores: a disk that hangs takes these, and none that make speech

_threads: Final = ThreadPoolExecutor(NUM_THREADS, thread_name_prefix="audio-store")


async def in_thread(work: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
    """Run `work` in a thread of the store; an OSError becomes a StoreError that shows no path."""
    loop = asyncio.get_running_loop()
    try:
        return await loop.run_in_executor(_threads, partial(work, *args, **kwargs))
    except OSError as error:
        raise _as_store_error(error) from error


def _as_store_error(error: OSError) -> StoreError:
    # str(error) would show the path to clients; the number's own text does not.
    if error.errno in _FULL:
        return StoreFullError("No space is left in the store of finished audio.")
    reason = os.strerror(error.errno) if error.errno else type(error).__name__
    return StoreError(f"The store of finished audio failed: {reason}.")


def open_directory(directory: Path) -> int:
    """A descriptor of the directory, to be closed by the caller."""
    # Links are followed here: which directory is the store is the operator's word.
    return os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)


@contextmanager
def opened_directory(directory: Path) -> Iterator[int]:
    """The same, closed at the end."""
    dir_fd = open_directory(directory)
    try:
        yield dir_fd
    finally:
        close(dir_fd)


def close(fd: int) -> None:
    """Give a descriptor back; never raises.

    It is given back whatever the system reports, and what must survive was synced before.
    """
    with suppress(OSError):
        os.close(fd)


def write_all(fd: int, data: bytes, offset: int) -> None:
    """Write all of `data` at `offset`, however much one call takes."""
    rest = memoryview(data)
    while rest:
        num_written = os.pwrite(fd, rest, offset)
        rest = rest[num_written:]
        offset += num_written


_SIDECAR: Final = re.compile(rf"\.(?P<audio>{NAME.pattern})\.captions")


def sidecar_of(name: str) -> str:
    """Where the captions of audio are: a hidden file, which no name of audio can reach."""
    return f".{name}.captions"


def audio_of(sidecar: str) -> str | None:
    """The audio that captions belong to; None if the name is not one of captions."""
    match = _SIDECAR.fullmatch(sidecar)
    return match["audio"] if match else None


def write_sidecar(file: TempFile, captions: Sequence[Caption], created_at: datetime) -> None:
    """Write `captions` so that they survive a power cut; no file is made if there are none."""
    if captions:
        file.create()
        file.append(msgspec.json.encode(captions))
        file.seal(b"", created_at)


def put_sidecar(file: TempFile, dir_fd: int, name: str) -> None:
    """Give audio that was just published its captions; nobody else may hold the name.

    What lies there already is of a file that is gone: a crash left it, and it must not pass for
    the captions of this one.
    """
    if file.is_created:
        os.rename(file.name, sidecar_of(name), src_dir_fd=dir_fd, dst_dir_fd=dir_fd)
    else:
        unlink(dir_fd, sidecar_of(name))


def read_sidecar(directory: Path, name: str) -> Sequence[Caption]:
    """The captions of audio; raises CaptionsNotFoundError if it has none."""
    file = ReadFile()
    try:
        file.open(directory, sidecar_of(name))
        return decode_captions(file.read_all())
    except StoredAudioNotFoundError as error:
        raise CaptionsNotFoundError(name) from error
    finally:
        file.close()


ORPHAN_MAX_AGE_S: Final = 60.0
"""As LEFTOVER_MAX_AGE_S, where the writer's process is gone. Not zero: in another container of the
same volume a living process has a number that looks dead from here."""

_TEMP_NAME: Final = re.compile(r"\.tmp-(?P<pid>[1-9][0-9]{0,6})-[0-9a-f]{16}")


def sweep(dir_fd: int, now: datetime) -> None:
    """Remove what no writer will finish, and captions whose audio is gone."""
    for name in os.listdir(dir_fd):
        temp, audio = _TEMP_NAME.fullmatch(name), audio_of(name)
        status = lstat_regular(dir_fd, name) if temp or audio else None
        if status is None or (audio and lstat_regular(dir_fd, audio)):
            continue
        age_s = now.timestamp() - status.st_mtime
        is_orphan = temp and age_s > ORPHAN_MAX_AGE_S and not _is_running(int(temp["pid"]))
        if is_orphan or age_s > LEFTOVER_MAX_AGE_S:
            # In a directory shared with other users theirs are theirs to remove.
            with suppress(PermissionError):
                unlink(dir_fd, name)


def _is_running(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except OSError as error:
        return error.errno != errno.ESRCH
    return True


START_WAIT_S: Final = 0.1  # for the first answer; a disk that is there gives it at once


class FreeSpace:
    """Of the volume that `directory` is in, or will be."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory.absolute()
        self._num_bytes = math.nan
        self._begin_to_ask()
        self._asking.join(START_WAIT_S)

    def __call__(self) -> float:
        """Bytes, as of the call before; NaN where it cannot be told or the disk does not answer."""
        if self._asking.is_alive():
            return math.nan
        num_bytes = self._num_bytes
        self._begin_to_ask()
        return num_bytes

    def _begin_to_ask(self) -> None:
        def ask() -> None:
            try:
                directories = (self._directory, *self._directory.parents)
                existing = next(path for path in directories if path.exists())
                self._num_bytes = float(shutil.disk_usage(existing).free)
            except OSError:
                self._num_bytes = math.nan

        self._asking = threading.Thread(target=ask, name="store-space", daemon=True)
        self._asking.start()
