"""Objects in a bucket of S3-compatible storage, through obstore. Knows nothing of audio.

Endpoint, region and credentials are those of the usual environment variables (AWS_...), which
obstore reads itself. Every call ends within about twice `TIMEOUT_S` for each request that it makes.
"""

import asyncio
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from functools import partial
from typing import IO, Final, ParamSpec, TypeVar

from app.domain.errors import StoreError

TIMEOUT_S: Final = 10.0  # of one request, with its answer; and for trying again what failed
MAX_RETRIES: Final = 3  # of a request that was refused or answered with 5xx

PART_BYTES: Final = 5 * 1024 * 1024  # smallest part of a multipart upload that S3 allows
MAX_PARTS_IN_FLIGHT: Final = 2  # of one upload, so that it takes few times PART_BYTES of memory


P = ParamSpec("P")
T = TypeVar("T")


class Bucket:
    """The objects of one bucket. Every method raises StoreError when the storage fails."""

    def __init__(self, name: str, timeout_s: float = TIMEOUT_S) -> None:
        """Opens nothing; raises ImportError without obstore."""
        from obstore.store import S3Store

        timeout = timedelta(seconds=timeout_s)
        self._store = S3Store(
            name,
            client_options={"timeout": timeout, "allow_http": True},
            retry_config={"max_retries": MAX_RETRIES, "retry_timeout": timeout},
        )

    async def read(self, key: str) -> tuple[bytes, str | None] | None:
        """A small object and its ETag; None if there is none."""

        def read() -> tuple[bytes, str | None] | None:
            try:
                found = self._store.get(key)
            except FileNotFoundError:
                return None
            return bytes(found.bytes()), found.meta["e_tag"]

        return await _in_thread(read)

    async def read_range(self, key: str, start: int, end: int) -> bytes:
        """The bytes from `start` up to but not including `end`; an error if it is gone."""
        return await _in_thread(lambda: bytes(self._store.get_range(key, start=start, end=end)))

    async def write(self, key: str, content: IO[bytes]) -> None:
        """Make or replace an object, as a whole; a large file goes in parts."""
        await _in_thread(
            partial(self._store.put, chunk_size=PART_BYTES, max_concurrency=MAX_PARTS_IN_FLIGHT),
            key,
            content,
        )

    async def write_if(self, key: str, content: IO[bytes], e_tag: str | None) -> bool:
        """Replace the object with this ETag, or make one where none is (None).

        Says whether it was done; if not, somebody else was first.
        """
        from obstore.exceptions import AlreadyExistsError, PreconditionError

        def write() -> bool:
            try:
                self._store.put(key, content, mode="create" if e_tag is None else {"e_tag": e_tag})
            except (AlreadyExistsError, PreconditionError):
                return False
            return True

        return await _in_thread(write)

    async def list(self, prefix: str) -> Sequence[tuple[str, int]]:
        """Key and bytes of all objects below a prefix of whole segments, in any order."""
        found = await _in_thread(lambda: self._store.list(prefix).collect())
        return [(each["path"], each["size"]) for each in found]

    async def list_directories(self, prefix: str) -> Sequence[str]:
        """The prefixes that are one segment longer."""
        found = await _in_thread(lambda: self._store.list_with_delimiter(prefix))
        return found["common_prefixes"]

    async def delete(self, keys: Sequence[str]) -> None:
        """Remove objects, if they are there."""
        await _in_thread(self._store.delete, keys)


NUM_THREADS: Final = 32  # of all buckets: how many requests are on their way at the same time

_threads: Final = ThreadPoolExecutor(NUM_THREADS, thread_name_prefix="object-storage")


async def _in_thread(work: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
    """Run `work` in a thread; the message of its error shows neither address nor key.

    obstore's own coroutines are not used: they end in native threads that call Python, which
    aborts a process that is about to exit. For the same reason nothing but files is given to it:
    bytes would be freed in such a thread.
    """

    def call() -> T:
        try:
            return work(*args, **kwargs)
        # An endpoint that is no address is a panic of obstore, which is no Exception.
        except BaseException as error:
            kind = type(error).__name__
            raise StoreError(f"The object storage of finished audio failed: {kind}.") from error

    return await asyncio.get_running_loop().run_in_executor(_threads, call)
