"""Audio of segments beyond the process: on disk, and where several servers share what they make."""

import asyncio
import hashlib
import os
import re
import secrets
import stat
from collections import OrderedDict
from collections.abc import Callable, Coroutine
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import Final, TypeVar

import msgspec
import numpy as np
import structlog

from app.domain.audio import AudioChunk
from app.domain.errors import InvalidAudioError
from app.ports.clock import Clock
from app.ports.shared_state import Claim, SharedCache

SUFFIX: Final = ".speech"
DIRECTORY_MODE: Final = 0o700
FILE_MODE: Final = 0o600  # what people had synthesized is nobody else's business

# Beyond these nothing is written: the disk is slower than the model, and memory is not for that.
MAX_WAITING_WRITES: Final = 64

_ENTRY: Final = re.compile(r"([0-9a-f]{64})" + re.escape(SUFFIX))
_PARTIAL: Final = re.compile(r"\.[0-9a-f]{64}\.[0-9a-f]{16}\.part")

_log = structlog.get_logger(__name__)

T = TypeVar("T")

SAMPLE_TYPE: Final = np.dtype("<f4")

Chunks = tuple[AudioChunk, ...]  # all of one segment, in order

_encoder: Final = msgspec.msgpack.Encoder(
    enc_hook=lambda samples: np.ndarray.astype(samples, SAMPLE_TYPE, copy=False).tobytes()
)
_decoder: Final = msgspec.msgpack.Decoder(
    Chunks, dec_hook=lambda _, stored: np.frombuffer(stored, SAMPLE_TYPE).astype(np.float32)
)
_NUM_CHECKSUM_BYTES: Final = hashlib.sha256().digest_size


def checksum(key: str, body: bytes) -> bytes:
    """SHA-256 of a key, the fields that a chunk has in this version, and encoded chunks."""
    return hashlib.sha256(repr((key, AudioChunk.__struct_fields__)).encode() + body).digest()


def to_bytes(key: str, chunks: Chunks) -> bytes:
    """A checksum, then all fields of all chunks in MessagePack; samples little-endian float32."""
    body = _encoder.encode(chunks)
    return checksum(key, body) + body


def from_bytes(key: str, content: bytes) -> Chunks | None:
    """The same chunks, bit by bit; None if damaged, of another key or of another version."""
    body = content[_NUM_CHECKSUM_BYTES:]
    if checksum(key, body) != content[:_NUM_CHECKSUM_BYTES]:
        return None
    try:
        return _decoder.decode(body)
    except (msgspec.MsgspecError, ValueError, RecursionError, InvalidAudioError):
        return None


class DiskCache:
    """Entries by key, each a file named `<key>.speech` that is there whole or not at all.

    All files are touched by one thread of its own, so a slow disk holds up nothing but its own
    hits. A disk that fails is a cache that is empty: it is logged, and speech goes on. The least
    recently used entries go first. A directory belongs to one server. A file of that name that is
    damaged or of another version is removed when it is met; files with other names are not touched.
    `num_bytes` of all files are never more than `max_bytes`.
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


POLL_S: Final = 0.02  # a fifth of the time to first audio; costs 50 small commands per second

MIN_LEASE_S: Final = 1.0  # what is short takes longer to make than to play
MAX_LEASE_S: Final = 5.0

# Beyond these nothing is written: Valkey is slower than the model, and memory is not for that.
MAX_WRITES: Final = 8


class SharedSegments:
    """Segments in a SharedCache. Nothing is written before the audio was handed out.

    Single flight across servers: the first one to ask is granted a lease and makes the segment; the
    others look for it every `POLL_S`. They get it once it is whole. A maker that fails gives its
    lease back, and the next one to look takes over; so it does when the lease of a maker that died
    expires.

    Lease and waiting last as long as the segment plays, and `MAX_LEASE_S` at most: a server that
    keeps ahead of playback makes most segments in that time, nobody waits long for one that died,
    and a lease need not be renewed. A server that has waited for so long makes the segment without
    a lease.
    """

    def __init__(self, cache: SharedCache, clock: Clock) -> None:
        self._cache = cache
        self._clock = clock
        self._granted: set[str] = set()  # holders of leases
        self._writing: set[asyncio.Task[None]] = set()
        self.open = cache.open
        self.count = cache.count

    async def close(self) -> None:
        """Wait for what is being written, and disconnect. May be called without `open`."""
        await asyncio.gather(*self._writing, return_exceptions=True)
        await self._cache.close()

    async def find(self, key: str, holder: str, play_s: float) -> Chunks | None:
        """The segment, if another server has made it or does so in time; None: it is to be made.

        Once it is made, call `write`, and in any case `release`, with the same `holder`, which is
        another one each time. `play_s` is its playing time, in seconds, about.
        """
        wait_s = min(max(MIN_LEASE_S, play_s), MAX_LEASE_S)
        give_up_at = self._clock.monotonic() + wait_s
        while (claim := await self._cache.claim(key, holder, wait_s)) is Claim.TAKEN:
            if self._clock.monotonic() >= give_up_at:
                return None
            await self._clock.sleep(POLL_S)
        if claim is Claim.STORED:
            content = await self._cache.read(key)
            if content is None:
                return None
            if chunks := await asyncio.to_thread(from_bytes, key, content):
                return chunks
        if claim is not None:  # granted, or damaged: what is made replaces it
            self._granted.add(holder)
        return None

    def write(self, key: str, holder: str, chunks: Chunks) -> None:
        """Begin to keep a segment that `find` let this server make; returns at once."""
        if holder in self._granted and len(self._writing) < MAX_WRITES:
            self._granted.remove(holder)
            self._begin(self._write(key, holder, chunks))

    def release(self, key: str, holder: str) -> None:
        """Let others make a segment that was not written; returns at once."""
        if holder in self._granted:
            self._granted.remove(holder)
            self._begin(self._cache.release(key, holder))

    async def _write(self, key: str, holder: str, chunks: Chunks) -> None:
        content = await asyncio.to_thread(to_bytes, key, chunks)
        await self._cache.write(key, holder, content)

    def _begin(self, work: Coroutine[None, None, None]) -> None:
        task = asyncio.create_task(work)
        self._writing.add(task)
        task.add_done_callback(self._writing.discard)
