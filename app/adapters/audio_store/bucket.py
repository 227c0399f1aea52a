"""Objects in a bucket of S3-compatible storage, through obstore. Knows nothing of audio.

Endpoint, region and credentials are those of the usual environment variables (AWS_...), which
obstore reads itself. Every call ends within about twice `TIMEOUT_S` for each request that it makes.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import timedelta
from typing import IO, Final

import msgspec

from app.domain.errors import StoreError

TIMEOUT_S: Final = 10.0  # of one request, with its answer; and for trying again what failed
MAX_RETRIES: Final = 3  # of a request that was refused or answered with 5xx

PART_BYTES: Final = 5 * 1024 * 1024  # smallest part of a multipart upload that S3 allows
MAX_PARTS_IN_FLIGHT: Final = 2  # of one upload, so that it takes few times PART_BYTES of memory


class ListedObject(msgspec.Struct, frozen=True):
    """What a listing tells of an object."""

    key: str
    num_bytes: int


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
        with _as_store_errors():
            try:
                found = await self._store.get_async(key)
            except FileNotFoundError:
                return None
            return bytes(await found.bytes_async()), found.meta["e_tag"]

    async def read_range(self, key: str, start: int, end: int) -> bytes:
        """The bytes from `start` up to but not including `end`; an error if it is gone."""
        with _as_store_errors():
            return bytes(await self._store.get_range_async(key, start=start, end=end))

    async def write(self, key: str, content: bytes | IO[bytes]) -> None:
        """Make or replace an object, as a whole; a large file goes in parts."""
        with _as_store_errors():
            await self._store.put_async(
                key, content, chunk_size=PART_BYTES, max_concurrency=MAX_PARTS_IN_FLIGHT
            )

    async def write_if(self, key: str, content: bytes, e_tag: str | None) -> bool:
        """Replace the object with this ETag, or make one where none is (None).

        Says whether it was done; if not, somebody else was first.
        """
        from obstore.exceptions import AlreadyExistsError, PreconditionError

        with _as_store_errors():
            try:
                await self._store.put_async(
                    key, content, mode="create" if e_tag is None else {"e_tag": e_tag}
                )
            except (AlreadyExistsError, PreconditionError):
                return False
            return True

    async def list(self, prefix: str) -> Sequence[ListedObject]:
        """All objects below a prefix of whole segments, in any order."""
        with _as_store_errors():
            found = await self._store.list(prefix).collect_async()
            return [ListedObject(each["path"], each["size"]) for each in found]

    async def list_directories(self, prefix: str) -> Sequence[str]:
        """The prefixes that are one segment longer."""
        with _as_store_errors():
            found = await self._store.list_with_delimiter_async(prefix)
            return found["common_prefixes"]

    async def delete(self, keys: Sequence[str]) -> None:
        """Remove objects, if they are there."""
        with _as_store_errors():
            await self._store.delete_async(keys)


@contextmanager
def _as_store_errors() -> Iterator[None]:
    """The message shows neither address nor key; the log has the cause."""
    try:
        yield
    except Exception as error:  # an endpoint that is no address is none of obstore's own errors
        kind = type(error).__name__
        raise StoreError(f"The object storage of finished audio failed: {kind}.") from error
