"""Audio of segments on disk, a file each, bounded in bytes; the least recently used go first.

All files are touched by one thread of its own, so a slow disk holds up nothing but its own hits. A
disk that fails is a cache that is empty: it is logged, and speech goes on. A directory belongs to
one server.
"""

import asyncio
import os
import re
import secrets
import stat
from collections import OrderedDict
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import Final, TypeVar

import structlog

from app.adapters.speech.segment_bytes import Chunks, from_bytes, to_bytes
from app.ports.clock import Clock

SUFFIX: Final = ".speech"
DIRECTORY_MODE: Final = 0o700
FILE_MODE: Final = 0o600  # what people had synthesized is nobody else's business

# Beyond these nothing is written: the disk is slower than the model, and memory is not for that.
MAX_WAITING_WRITES: Final = 64

_ENTRY: Final = re.compile(r"([0-9a-f]{64})" + re.escape(SUFFIX))
_PARTIAL: Final = re.compile(r"\.[0-9a-f]{64}\.[0-9a-f]{16}\.part")

_log = structlog.get_logger(__name__)

T = TypeVar("T")


class DiskCache:
    """Entries by key, each a file named `<key>.speech` that is there whole or not at all.

    A file of that name that is damaged or of another version is removed when it is met; files with
    other names are not touched. `num_bytes` of all files are never more than `max_bytes`.
    """

    def __init__(self, directory: Path, max_bytes: int, clock: Clock) -> None:
        self._directory = directory
        self._max_bytes = max_bytes
        self._clock = clock
        self._executor: ThreadPoolExecutor | None = None
        self._writing: set[asyncio.Future[None]] = set()
        self._logged: set[int | None] = set()
        self.num_bytes = 0
        # By key, what was used longest ago first. Each step on it is one call, which is atomic, so
        # the event loop may look and move entries while the thread adds and removes them.
        self._num_bytes_of: OrderedDict[str, int] = OrderedDict()

    def __contains__(self, key: str) -> bool:
        return key in self._num_bytes_of

    async def open(self) -> None:
        """Find what an earlier process kept."""
        self._executor = ThreadPoolExecutor(1, thread_name_prefix="disk-cache")
        await self._in_thread(self._find_all)

    async def close(self) -> None:
        """Wait for what is being written. May be called without `open`, and twice."""
        await asyncio.gather(*self._writing, return_exceptions=True)
        if self._executor is not None:
            self._executor.shutdown(wait=False)
            self._executor = None

    async def read(self, key: str) -> Chunks | None:
        """The chunks of an entry, which is then the one used last."""
        if key not in self._num_bytes_of:
            return None
        return await self._in_thread(partial(self._read, key))

    def write(self, key: str, chunks: Chunks) -> None:
        """Begin to keep an entry, if it is new; returns at once."""
        if key in self._num_bytes_of or len(self._writing) >= MAX_WAITING_WRITES:
            return
        writing = asyncio.ensure_future(self._in_thread(partial(self._write, key, chunks)))
        self._writing.add(writing)
        writing.add_done_callback(self._writing.discard)

    def touch(self, key: str) -> None:
        """An entry was used without being read."""
        with suppress(KeyError):
            self._num_bytes_of.move_to_end(key)

    async def _in_thread(self, work: Callable[[], T]) -> T | None:
        """The result of `work`; None if the disk fails or is closed."""
        if self._executor is None:
            return None
        try:
            return await asyncio.get_running_loop().run_in_executor(self._executor, work)
        except OSError as error:
            if error.errno not in self._logged:
                self._logged.add(error.errno)
                reason = os.strerror(error.errno) if error.errno else type(error).__name__
                _log.warning("cache.disk_failed", directory=str(self._directory), reason=reason)
            return None

    def _find_all(self) -> None:
        self._directory.mkdir(DIRECTORY_MODE, parents=True, exist_ok=True)
        found: list[tuple[float, str, int]] = []
        for path in self._directory.iterdir():
            entry = _ENTRY.fullmatch(path.name)
            if entry is not None:
                status = path.lstat()
                found.append((status.st_mtime, entry[1], status.st_size))
            elif _PARTIAL.fullmatch(path.name):
                path.unlink(missing_ok=True)
        for _, key, num_bytes in sorted(found):
            self._add(key, num_bytes)
        self._make_room(0)

    def _read(self, key: str) -> Chunks | None:
        path = self._path(key)
        # O_NONBLOCK: a named pipe would hold the thread until somebody writes to it.
        flags = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
        try:
            with os.fdopen(os.open(path, flags), "rb") as file:
                status = os.fstat(file.fileno())
                is_ours = stat.S_ISREG(status.st_mode) and status.st_size <= self._max_bytes
                chunks = from_bytes(key, file.read()) if is_ours else None
        except OSError:
            self._forget(key)
            raise
        if chunks is None:
            _log.warning("cache.file_damaged", path=str(path))
            self._remove(key)
            return None
        now = self._clock.now().timestamp()
        with suppress(OSError):  # a disk that can only be read
            os.utime(path, (now, now))
        self.touch(key)
        return chunks

    def _write(self, key: str, chunks: Chunks) -> None:
        content = to_bytes(key, chunks)
        if key in self._num_bytes_of or len(content) > self._max_bytes:
            return
        self._make_room(len(content))
        partial_path = self._directory / f".{key}.{secrets.token_hex(8)}.part"
        try:
            self._write_new(partial_path, content)
            partial_path.replace(self._path(key))
        except OSError:
            with suppress(OSError):
                partial_path.unlink()
            raise
        self._add(key, len(content))

    def _write_new(self, path: Path, content: bytes) -> None:
        flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
        now = self._clock.now().timestamp()
        with os.fdopen(os.open(path, flags, FILE_MODE), "wb") as file:
            file.write(content)
            file.flush()  # a write after it would set the time again
            os.utime(file.fileno(), (now, now))

    def _make_room(self, num_bytes: int) -> None:
        while self._num_bytes_of and self.num_bytes + num_bytes > self._max_bytes:
            self._remove(next(iter(self._num_bytes_of)))

    def _remove(self, key: str) -> None:
        self._forget(key)
        self._path(key).unlink(missing_ok=True)

    def _add(self, key: str, num_bytes: int) -> None:
        self._num_bytes_of[key] = num_bytes
        self.num_bytes += num_bytes

    def _forget(self, key: str) -> None:
        self.num_bytes -= self._num_bytes_of.pop(key, 0)

    def _path(self, key: str) -> Path:
        return self._directory / f"{key}{SUFFIX}"
