"""What only the store on object storage has: its keys, its sharing, its faults."""

import asyncio
import io
import os
import socket
from collections.abc import AsyncIterator, Iterator, Sequence
from datetime import timedelta
from typing import IO

import httpx
import pytest

from app.adapters.audio_store.bucket import PART_BYTES, Bucket
from app.adapters.audio_store.object_store import (
    BLOCK_BYTES,
    CLEANER_LEASE,
    MAX_CLAIM_TRIES,
    SCHEME,
    ObjectAudioStore,
    ObjectAudioStores,
)
from app.adapters.audio_store.rules import LEFTOVER_MAX_AGE_S, MAX_NUMBER, StoreLimits
from app.domain.audio import AudioFormat
from app.domain.errors import CaptionsNotFoundError, StoreError, StoreFullError
from app.domain.segment import Caption
from app.ports.audio_store import StoredAudio
from tests.fakes.clock import FakeClock
from tests.object_storage import make_bucket, use_storage

CAPTIONS = [Caption(0, 0.0, 1.0, "Hello.")]
PREFIX = "a/"


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock()


@pytest.fixture
def bucket(bucket_url: str) -> Bucket:
    return Bucket(bucket_url.removeprefix(SCHEME))


@pytest.fixture
def store(bucket: Bucket, clock: FakeClock) -> ObjectAudioStore:
    return build(bucket, clock)


def build(bucket: Bucket, clock: FakeClock, limits: StoreLimits | None = None) -> ObjectAudioStore:
    return ObjectAudioStore(bucket, PREFIX, limits or StoreLimits(), clock)


async def stream(content: bytes) -> AsyncIterator[bytes]:
    for start in range(0, len(content), 100_000):
        yield content[start : start + 100_000]


async def save(
    store: ObjectAudioStore, content: bytes = b"sound", captions: Sequence[Caption] = ()
) -> StoredAudio:
    return await store.save(
        stream(content), stem="speech", audio_format=AudioFormat.WAV, captions=lambda: captions
    )


async def load(store: ObjectAudioStore, name: str) -> bytes:
    async with store.open_file(name) as audio:
        return b"".join([block async for block in audio.read(0, audio.info.num_bytes)])


async def keys_in(bucket: Bucket) -> list[str]:
    return sorted(key.removeprefix(PREFIX) for key, _ in await bucket.list(""))


def numbers_of(files: Sequence[StoredAudio]) -> list[int]:
    return sorted(int(file.name[-10:-4]) for file in files)


# Keys


async def test_captions_are_beside_their_audio(store: ObjectAudioStore, bucket: Bucket) -> None:
    await save(store, captions=CAPTIONS)
    await save(store)
    assert await keys_in(bucket) == [
        ".sequence",
        "speech_000001.wav/20260101T000000.000000Z",
        "speech_000001.wav/20260101T000000.000000Z.captions",
        "speech_000002.wav/20260101T000000.000000Z",
    ]


async def test_a_deleted_file_leaves_nothing(store: ObjectAudioStore, bucket: Bucket) -> None:
    await store.delete((await save(store, captions=CAPTIONS)).name)
    assert await keys_in(bucket) == [".sequence"]


async def test_foreign_objects_are_neither_listed_nor_removed(
    bucket: Bucket, clock: FakeClock
) -> None:
    foreign = [
        "speech_000007.wav",
        "speech_000008.wav/other",
        "speech_000009.wav/20261341T000000.000000Z",
        "notes/20260101T000000.000000Z",
        "deeper/speech_000001.wav/20260101T000000.000000Z",
    ]
    for key in foreign:
        await bucket.write(PREFIX + key, io.BytesIO(b"not ours"))
    store = build(bucket, clock, StoreLimits(max_files=1, max_bytes=1, max_age_s=1))
    await clock.advance(LEFTOVER_MAX_AGE_S * 2)
    assert await store.list() == []
    assert await store.clean_up() == 0
    assert set(foreign) <= set(await keys_in(bucket))


async def test_damaged_captions_are_an_error_that_leaves_the_audio(
    store: ObjectAudioStore, bucket: Bucket
) -> None:
    file = await save(store, captions=CAPTIONS)
    await bucket.write(f"{PREFIX}{file.name}/20260101T000000.000000Z.captions", io.BytesIO(b"\xff"))
    with pytest.raises(StoreError, match="damaged"):
        await store.read_captions(file.name)
    assert await load(store, file.name) == b"sound"


async def test_owners_of_earlier_runs_are_known(bucket_url: str, clock: FakeClock) -> None:
    earlier = ObjectAudioStores(f"{bucket_url}/b/c", StoreLimits(), clock)
    await save(await earlier.for_owner("anna"))
    later = ObjectAudioStores(f"{bucket_url}/b/c/", StoreLimits(), clock)
    assert await later.owners() == [None, "anna"]
    assert await ObjectAudioStores(f"{bucket_url}/b", StoreLimits(), clock).owners() == [None]


# Numbers


async def test_a_number_is_not_given_again_after_deletion_and_restart(
    bucket: Bucket, clock: FakeClock
) -> None:
    store = build(bucket, clock)
    await store.delete((await save(store)).name)
    assert (await save(build(bucket, clock))).name == "speech_000002.wav"


@pytest.mark.parametrize("hint", [None, b"", b"x", b"-1", b"9" * 19])
async def test_a_lost_or_wrong_hint_goes_on_after_the_highest_number(
    store: ObjectAudioStore, bucket: Bucket, hint: bytes | None
) -> None:
    await bucket.write(f"{PREFIX}take_000041.mp3/20260101T000000.000000Z", io.BytesIO(b""))
    if hint is not None:
        await bucket.write(f"{PREFIX}.sequence", io.BytesIO(hint))
    assert (await save(store)).name == "speech_000042.wav"


async def test_a_store_whose_last_number_is_given_is_full(
    store: ObjectAudioStore, bucket: Bucket
) -> None:
    await bucket.write(f"{PREFIX}.sequence", io.BytesIO(b"%d" % (MAX_NUMBER - 1)))
    assert (await save(store)).name == f"speech_{MAX_NUMBER}.wav"
    with pytest.raises(StoreFullError):
        await save(store)


async def test_storage_that_ignores_conditions_is_not_used(
    bucket: Bucket, clock: FakeClock
) -> None:
    class Heedless:
        """Writes in any case."""

        read, list = bucket.read, bucket.list

        async def write_if(self, key: str, content: IO[bytes], e_tag: str | None) -> bool:
            await bucket.write(key, content)
            return True

    store = build(Heedless(), clock)  # type: ignore[arg-type]
    with pytest.raises(StoreError, match="ignores conditional writes"):
        await save(store)


async def test_a_server_that_is_always_second_gives_up(bucket: Bucket, clock: FakeClock) -> None:
    num_tries = 0

    class Contended:
        """Somebody else is always first."""

        async def read(self, key: str) -> tuple[bytes, str]:
            return b"1", "tag"

        async def write_if(self, key: str, content: IO[bytes], e_tag: str | None) -> bool:
            nonlocal num_tries
            num_tries += 1
            return False

    with pytest.raises(StoreError, match="every number"):
        await save(build(Contended(), clock))  # type: ignore[arg-type]
    assert num_tries == MAX_CLAIM_TRIES


# Uploads


async def test_a_large_file_goes_in_parts_and_comes_back_in_blocks(
    store: ObjectAudioStore, bucket_url: str, moto_endpoint: str
) -> None:
    content = os.urandom(2 * PART_BYTES + 12_345)
    file = await store.save(
        stream(content), stem="speech", audio_format=AudioFormat.WAV, head=lambda: b"HEAD"
    )
    expected = b"HEAD" + content[4:]
    async with store.open_file(file.name) as audio:
        blocks = [block async for block in audio.read(1, len(content) - 1)]
    assert b"".join(blocks) == expected[1:-1]
    assert max(map(len, blocks)) == BLOCK_BYTES
    assert "<Upload>" not in uploads_of(moto_endpoint, bucket_url)


class BrokenFile(io.BytesIO):
    """Has an end that cannot be read."""

    def read(self, size: int | None = -1) -> bytes:
        if self.tell() > PART_BYTES:
            raise OSError("the disk failed")
        return super().read(size)


async def test_an_upload_that_fails_midway_is_taken_back(
    bucket: Bucket, bucket_url: str, moto_endpoint: str
) -> None:
    with pytest.raises(StoreError):
        await bucket.write("a", BrokenFile(bytes(4 * PART_BYTES)))
    assert "<Upload>" not in uploads_of(moto_endpoint, bucket_url)
    assert await keys_in(bucket) == []


def uploads_of(endpoint: str, url: str) -> str:
    """What the storage says of uploads that are neither complete nor aborted."""
    return httpx.get(f"{endpoint}/{url.removeprefix(SCHEME)}?uploads").raise_for_status().text


async def test_an_upload_whose_audio_fails_keeps_nothing_and_leaves_a_gap(
    bucket: Bucket, clock: FakeClock
) -> None:
    class Failing(Bucket):
        """Takes no audio."""

        def __init__(self) -> None:
            self._store = bucket._store

        async def write(self, key: str, content: IO[bytes]) -> None:
            if not key.endswith(".captions"):
                raise StoreError("no audio")
            await super().write(key, content)

    with pytest.raises(StoreError, match="no audio"):
        await save(build(Failing(), clock), captions=CAPTIONS)
    assert await keys_in(bucket) == [".sequence"]
    assert (await save(build(bucket, clock))).name == "speech_000002.wav"


async def test_a_save_cancelled_at_any_moment_keeps_all_or_nothing(
    store: ObjectAudioStore, bucket_url: str, moto_endpoint: str
) -> None:
    content = os.urandom(PART_BYTES + 1000)
    for moment in range(0, 60, 10):
        task = asyncio.create_task(save(store, content, CAPTIONS))
        await asyncio.wait({task}, timeout=moment / 1000)
        task.cancel()
        await asyncio.wait({task})
        for file in await store.list():
            assert await load(store, file.name) == content
            assert list(await store.read_captions(file.name)) == CAPTIONS
    assert "<Upload>" not in uploads_of(moto_endpoint, bucket_url)


# Reading


async def test_a_file_deleted_while_it_is_read_is_an_error(store: ObjectAudioStore) -> None:
    file = await save(store, bytes(BLOCK_BYTES + 1))
    async with store.open_file(file.name) as audio:
        blocks = audio.read(0, file.num_bytes)
        assert len(await anext(blocks)) == BLOCK_BYTES
        await store.delete(file.name)
        with pytest.raises(StoreError):
            await anext(blocks)


# Cleaning up


async def test_one_server_cleans_up_until_it_no_longer_asks(
    bucket: Bucket, clock: FakeClock
) -> None:
    first, second = (build(bucket, clock, StoreLimits(max_files=1)) for _ in range(2))
    for _ in range(3):
        await save(first)
    assert await first.clean_up() == 2
    await save(first)
    assert await second.clean_up() == 0
    await clock.advance(CLEANER_LEASE.total_seconds() / 2)
    assert await first.clean_up() == 1
    await save(first)
    await clock.advance(CLEANER_LEASE.total_seconds() / 2)
    assert await second.clean_up() == 0
    await clock.advance(CLEANER_LEASE.total_seconds() / 2)
    assert await second.clean_up() == 1
    assert await first.clean_up() == 0


async def test_one_of_several_servers_is_elected(bucket: Bucket, clock: FakeClock) -> None:
    stores = [build(bucket, clock, StoreLimits(max_files=1)) for _ in range(4)]
    for _ in range(5):
        await save(stores[0])
    assert [await store.clean_up() for store in stores] == [4, 0, 0, 0]


@pytest.mark.parametrize("content", [b"", b"{}", b"\xff"])
async def test_a_damaged_lease_is_nobody_s(
    bucket: Bucket, clock: FakeClock, content: bytes
) -> None:
    await bucket.write(f"{PREFIX}.cleaner", io.BytesIO(content))
    store = build(bucket, clock, StoreLimits(max_bytes=1))
    await save(store)
    assert await store.clean_up() == 1


async def test_a_lease_of_a_clock_that_is_far_ahead_holds_nobody_up(bucket: Bucket) -> None:
    ahead, clock = FakeClock(), FakeClock()
    await ahead.advance(timedelta(days=400).total_seconds())
    await build(bucket, ahead).clean_up()
    store = build(bucket, clock, StoreLimits(max_bytes=1))
    await save(store)
    assert await store.clean_up() == 1


async def test_captions_without_audio_go_after_an_hour(bucket: Bucket, clock: FakeClock) -> None:
    left = "speech_000007.wav/20260101T000000.000000Z.captions"
    await bucket.write(PREFIX + left, io.BytesIO(b"[]"))
    store = build(bucket, clock)
    file = await save(store, captions=CAPTIONS)
    await clock.advance(LEFTOVER_MAX_AGE_S)
    await store.clean_up()
    assert left in await keys_in(bucket)
    await clock.advance(1)
    assert await store.clean_up() == 0
    assert left not in await keys_in(bucket)
    assert list(await store.read_captions(file.name)) == CAPTIONS


# Storage that fails


@pytest.fixture
def silent() -> Iterator[str]:
    """Storage that takes connections and says nothing."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        yield f"http://127.0.0.1:{listener.getsockname()[1]}"


@pytest.fixture
def closed() -> str:
    """An address where nobody listens."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        return f"http://127.0.0.1:{listener.getsockname()[1]}"


@pytest.fixture
def invalid() -> str:
    """An endpoint that is no address."""
    return "storage"


@pytest.mark.parametrize("endpoint", ["silent", "closed", "invalid", "no bucket"])
async def test_storage_that_fails_is_an_error_in_time_that_names_no_place(
    request: pytest.FixtureRequest,
    monkeypatch: pytest.MonkeyPatch,
    clock: FakeClock,
    endpoint: str,
) -> None:
    name = "moto_endpoint" if endpoint == "no bucket" else endpoint
    use_storage(monkeypatch, request.getfixturevalue(name))
    store = build(Bucket("secret-bucket", timeout_s=0.3), clock)
    for call in (
        lambda: save(store),
        store.list,
        store.clean_up,
        lambda: store.delete("speech_000001.wav"),
        lambda: load(store, "speech_000001.wav"),
        lambda: store.read_captions("speech_000001.wav"),
    ):
        async with asyncio.timeout(10):
            with pytest.raises(StoreError) as caught:
                await call()
        assert "secret" not in str(caught.value)
        assert "127.0.0.1" not in str(caught.value)


async def test_storage_that_comes_back_is_used_again(
    moto_endpoint: str, monkeypatch: pytest.MonkeyPatch, clock: FakeClock
) -> None:
    use_storage(monkeypatch, moto_endpoint)
    url = f"s3://later-{os.urandom(8).hex()}"
    store = build(Bucket(url.removeprefix(SCHEME)), clock)
    with pytest.raises(StoreError):
        await save(store)
    make_bucket(moto_endpoint, url)
    assert (await save(store)).name == "speech_000001.wav"


async def test_captions_deleted_beside_their_audio_are_none(
    store: ObjectAudioStore, bucket: Bucket
) -> None:
    file = await save(store, captions=CAPTIONS)
    await bucket.delete([f"{PREFIX}{file.name}/20260101T000000.000000Z.captions"])
    with pytest.raises(CaptionsNotFoundError):
        await store.read_captions(file.name)
