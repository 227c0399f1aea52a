"""Finished audio in a bucket of S3-compatible storage that several servers may share.

Knows nothing of what the bytes mean. The key of an audio file is `<name>/<time>`, so that one
listing tells all of it, with a time of our own clock. Captions are beside it, `<time>.captions`,
and are written first: where the audio is seen they are there. Two more objects are agreed on by
conditional writes (If-Match, If-None-Match): `.sequence` holds the last number given, `.cleaner`
the server that cleans up. A number is given before its audio is sent: a server that dies in
between, or an upload that fails, leaves a gap.
"""

import asyncio
import re
import secrets
from collections.abc import (
    AsyncIterable,
    AsyncIterator,
    Callable,
    Coroutine,
    Sequence,
)
from contextlib import asynccontextmanager, suppress
from datetime import UTC, datetime, timedelta
from functools import partial
from io import SEEK_END, BytesIO
from tempfile import SpooledTemporaryFile
from typing import IO, Final, TypeAlias, TypeVar

import msgspec

from app.adapters.audio_store.bucket import PART_BYTES, Bucket
from app.adapters.audio_store.files import Turns
from app.adapters.audio_store.rules import (
    LEFTOVER_MAX_AGE_S,
    MAX_NUMBER,
    StoreLimits,
    check_name,
    check_stem,
    decode_captions,
    directory_of,
    find_surplus,
    is_audio,
    last_number,
    number_of,
    owner_of,
)
from app.domain.audio import AudioFormat
from app.domain.errors import (
    CaptionsNotFoundError,
    StoredAudioNotFoundError,
    StoreError,
    StoreFullError,
)
from app.domain.segment import Caption
from app.ports.audio_store import OpenAudio, StoredAudio
from app.ports.clock import Clock

SCHEME: Final = "s3://"
BLOCK_BYTES: Final = 1024 * 1024  # of a range; each is a request, which takes S3 tens of ms

MAX_CLAIM_TRIES: Final = 1_000
"""How often `save` asks for a number. Each try that fails is one of another server that did not."""

CLEANER_LEASE: Final = timedelta(minutes=11)
"""For how long a server stays the one that cleans up: two rounds of five minutes."""

_SEQUENCE: Final = ".sequence"
_CLEANER: Final = ".cleaner"
_CAPTIONS: Final = ".captions"
_TIME: Final = "%Y%m%dT%H%M%S.%fZ"
_KEY: Final = re.compile(
    r"(?P<name>[^/]+)/(?P<time>[0-9]{8}T[0-9]{6}\.[0-9]{6}Z)(?P<captions>\.captions)?"
)

T = TypeVar("T")
_Files: TypeAlias = list[StoredAudio]


class _Lease(msgspec.Struct):
    """Which server cleans up, and how long nobody else does."""

    holder: str
    until: datetime


class ObjectAudioStore:
    """An AudioStore below `prefix`, which is empty or ends in a slash.

    Numbers are shared by all servers on the prefix. A save cancelled in its very last step may
    still be kept, whole. What is deleted while it is read ends in a StoreError: an object does not
    stay for its readers.
    """

    def __init__(self, bucket: Bucket, prefix: str, limits: StoreLimits, clock: Clock) -> None:
        self._bucket = bucket
        self._prefix = prefix
        self._limits = limits
        self._clock = clock
        self._id = secrets.token_hex(8)
        self._claiming = asyncio.Lock()  # one server needs no more than one claim at a time
        self._is_checked = False

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
        # In memory, or in a temporary file of this machine: the first bytes are known last.
        turns, file = Turns(), SpooledTemporaryFile(PART_BYTES)  # noqa: SIM115 - closed below

        def seal(head: bytes) -> int:
            file.seek(0)
            file.write(head)
            num_bytes = file.seek(0, SEEK_END)
            file.seek(0)  # an upload begins where the file is
            return num_bytes

        try:
            async for part in parts:
                await turns.take(file.write, part)
            num_bytes = await turns.take(seal, head())
            said = captions()
            name = f"{stem}_{await self._claim_number():06d}.{audio_format}"
            audio = StoredAudio(name, num_bytes, self._clock.now())
            return await _to_its_end(self._publish(audio, file, said))
        finally:
            await turns.take_last(file.close)

    @asynccontextmanager
    async def open_file(self, name: str) -> AsyncIterator[OpenAudio]:
        file = await self._find(name)
        yield OpenAudio(file, partial(self._bucket.read_range, self._key_of(file)), BLOCK_BYTES)

    async def read_captions(self, name: str) -> Sequence[Caption]:
        key = self._key_of(await self._find(name))
        found = await self._bucket.read(key + _CAPTIONS)
        if found is None:
            raise CaptionsNotFoundError(name)
        return decode_captions(found[0])

    async def list(self) -> Sequence[StoredAudio]:
        audio, _ = await self._scan()
        return sorted(audio, key=lambda file: (number_of(file.name), file.name))

    async def delete(self, name: str) -> None:
        await self._remove([await self._find(name)])

    async def clean_up(self) -> int:
        """Also returns 0, having done nothing, while another server cleans up.

        Two that do it at once do no harm: both remove the same files.
        """
        now = self._clock.now()
        if not await self._is_elected(now):
            return 0
        audio, captions = await self._scan()
        surplus = find_surplus(audio, self._limits, now)
        whole = {self._key_of(file) for file in audio}
        left = [  # by a server that died before it had sent the audio
            file
            for file in captions
            if self._key_of(file) not in whole
            and (now - file.created_at).total_seconds() > LEFTOVER_MAX_AGE_S
        ]
        await self._remove([*surplus, *left])
        return len(surplus)

    async def _publish(
        self, file: StoredAudio, content: IO[bytes], captions: Sequence[Caption]
    ) -> StoredAudio:
        key = self._key_of(file)
        try:
            if captions:
                await self._bucket.write(key + _CAPTIONS, BytesIO(msgspec.json.encode(captions)))
            await self._bucket.write(key, content)
        except StoreError:
            # The caller is told that nothing is kept; this makes it true if it can be.
            with suppress(StoreError):
                await self._remove([file])
            raise
        return file

    async def _claim_number(self) -> int:
        key = self._prefix + _SEQUENCE
        async with self._claiming:
            for _ in range(MAX_CLAIM_TRIES):
                hint, e_tag = await self._bucket.read(key) or (b"", None)
                written = last_number(hint)
                number = 1 + (await self._highest_number() if written is None else written)
                if number > MAX_NUMBER:
                    raise StoreFullError("The store of finished audio has no free number left.")
                content = b"%d" % number
                if await self._bucket.write_if(key, BytesIO(content), e_tag):
                    await self._check_conditions(key, content)
                    return number
        raise StoreError("The store of finished audio gave every number to other servers.")

    async def _check_conditions(self, key: str, content: bytes) -> None:
        """Once, that the storage heeds conditions: else two servers would share a number."""
        if not self._is_checked and await self._bucket.write_if(key, BytesIO(content), None):
            raise StoreError("The object storage ignores conditional writes (If-None-Match).")
        self._is_checked = True

    async def _highest_number(self) -> int:
        audio, _ = await self._scan()
        return max((number_of(file.name) for file in audio), default=0)

    async def _is_elected(self, now: datetime) -> bool:
        """Whether it is on this server to clean up; it stays so while it keeps asking."""
        key = self._prefix + _CLEANER
        content, e_tag = await self._bucket.read(key) or (b"", None)
        with suppress(msgspec.DecodeError):
            lease = msgspec.json.decode(content, type=_Lease)
            # No longer than a lease can be: a clock that was wrong must not hold it for ever.
            if lease.holder != self._id and now < lease.until <= now + CLEANER_LEASE:
                return False
        lease = _Lease(self._id, now + CLEANER_LEASE)
        return await self._bucket.write_if(key, BytesIO(msgspec.json.encode(lease)), e_tag)

    async def _find(self, name: str) -> StoredAudio:
        check_name(name)
        audio, _ = await self._scan(name)
        if not audio:
            raise StoredAudioNotFoundError(name)
        return audio[0]

    async def _scan(self, name: str = "") -> tuple[Sequence[StoredAudio], Sequence[StoredAudio]]:
        """Audio and captions, of all names or of one; what else is there is not looked at."""
        audio: _Files = []
        captions: _Files = []
        for key, num_bytes in await self._bucket.list(self._prefix + name):
            match = _KEY.fullmatch(key.removeprefix(self._prefix))
            if match is None or not is_audio(match["name"]):
                continue
            with suppress(ValueError):  # no such time
                created_at = datetime.strptime(match["time"], _TIME).replace(tzinfo=UTC)
                kind = captions if match["captions"] else audio
                kind.append(StoredAudio(match["name"], num_bytes, created_at))
        return audio, captions

    async def _remove(self, files: Sequence[StoredAudio]) -> None:
        """Their captions, too."""
        keys = [self._key_of(file) for file in files]
        if keys:
            await self._bucket.delete([*(key + _CAPTIONS for key in keys), *keys])

    def _key_of(self, file: StoredAudio) -> str:
        return f"{self._prefix}{file.name}/{file.created_at.strftime(_TIME)}"


async def _to_its_end(work: Coroutine[None, None, T]) -> T:
    """Await `work`; if cancelled meanwhile, only once it is over.

    An upload that is dropped would leave its parts in the storage.
    """
    task = asyncio.ensure_future(work)
    try:
        return await asyncio.shield(task)
    except asyncio.CancelledError:
        await asyncio.wait({task})
        if not task.cancelled():
            task.exception()  # nobody else asks for it
        raise


class ObjectAudioStores:
    """AudioStores at `url` (`s3://bucket/prefix`); `limits` hold for each owner.

    Those without a name have a prefix of their own, too: a listing has to go through all that is
    below a prefix.
    """

    def __init__(self, url: str, limits: StoreLimits, clock: Clock) -> None:
        """Opens nothing; raises ImportError without obstore."""
        name, _, prefix = url.removeprefix(SCHEME).strip("/").partition("/")
        self._bucket = Bucket(name)
        self._prefix = f"{prefix}/" if prefix else ""
        self._limits = limits
        self._clock = clock
        self._opened: dict[str | None, ObjectAudioStore] = {}

    async def for_owner(self, owner: str | None) -> ObjectAudioStore:
        if owner not in self._opened:
            directory = "shared" if owner is None else directory_of(owner)
            prefix = f"{self._prefix}{directory}/"
            self._opened[owner] = ObjectAudioStore(self._bucket, prefix, self._limits, self._clock)
        return self._opened[owner]

    async def owners(self) -> Sequence[str | None]:
        paths = await self._bucket.list_directories(self._prefix)
        stored = {owner_of(path.removeprefix(self._prefix).rstrip("/")) for path in paths}
        return [None, *sorted(owner for owner in stored | {*self._opened} if owner is not None)]
