"""What every audio store does, the fake included."""

import asyncio
import os
import random
import re
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import aclosing
from datetime import timedelta
from pathlib import Path

import msgspec
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from app.adapters.audio_store.bucket import Bucket
from app.adapters.audio_store.filesystem import FilesystemAudioStores
from app.adapters.audio_store.object_store import SCHEME, ObjectAudioStore, ObjectAudioStores
from app.adapters.audio_store.rules import StoreLimits
from app.domain.audio import AudioFormat
from app.domain.errors import (
    CaptionsNotFoundError,
    InvalidFileNameError,
    StoredAudioNotFoundError,
)
from app.domain.segment import Caption
from app.ports.audio_store import AudioStore, AudioStores, OpenAudio, StoredAudio
from tests.examples import examples, table
from tests.fakes.audio_store import FakeAudioStore, FakeAudioStores
from tests.fakes.clock import FakeClock

CAPTIONS = [
    Caption(0, 0.0, 1.25, "Hello."),
    Caption(1, 1.25, 2.5, 'Grüße, "quoted" <b> & \n\u0000 \u2028 \U0001f600'),
]

BuildStore = Callable[[StoreLimits], Awaitable[AudioStore]]

INVALID_STEMS = {
    "empty": "",
    "parent": "..",
    "dot": "a.b",
    "slash": "a/b",
    "backslash": "a\\b",
    "space": "a b",
    "percent": "%2e",
    "NUL": "a\0",
    "newline at the end": "a\n",
    "65 characters": "a" * 65,
    "umlaut": "ä",
    "Arabic digit": "\u0661",
}

INVALID_NAMES = {
    "empty": "",
    "dot": ".",
    "two dots": "..",
    "parent": "../x",
    "parent, valid file": "../speech_000001.wav",
    "parent, percent-encoded slash": "..%2fspeech_000001.wav",
    "parent, percent-encoded dots": "%2e%2e/speech_000001.wav",
    "parent, encoded twice": "%252e%252e%252fspeech_000001.wav",
    "parent, backslash": "..\\speech_000001.wav",
    "absolute": "/etc/passwd",
    "absolute, valid file": "/speech_000001.wav",
    "two slashes": "//speech_000001.wav",
    "this directory": "./speech_000001.wav",
    "subdirectory": "a/speech_000001.wav",
    "NUL byte": "speech_000001.wav\0",
    "NUL byte inside": "speech_000001\0.wav",
    "newline at the end": "speech_000001.wav\n",
    "newline at the start": "\nspeech_000001.wav",
    "dot at the end": "speech_000001.wav.",
    "space at the end": "speech_000001.wav ",
    "300 bytes of stem": "a" * 300 + "_000001.wav",
    "300 bytes of number": "speech_" + "1" * 300 + ".wav",
    "one dot leader": "\u2024\u2024/speech_000001.wav",
    "division slash": "..\u2215speech_000001.wav",
    "Arabic digits": "speech_\u0660\u0660\u0660\u0660\u0660\u0661.wav",
    "full-width letter": "\uff53peech_000001.wav",
    "temporary file": ".tmp-1-0123456789abcdef",
    "sweeper's lock": ".lock",
    "sequence": ".sequence",
    "no stem": "000001.wav",
    "empty stem": "_000001.wav",
    "no number": "speech.wav",
    "short number": "speech_00001.wav",
    "no extension": "speech_000001",
    "other extension": "speech_000001.txt",
    "two extensions": "speech_000001.wav.mp3",
    "upper-case extension": "speech_000001.WAV",
    "lone surrogate": "speech_000001.wav\udcff",
}


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock()


@pytest.fixture
def directory(tmp_path: Path) -> Path:
    """Where the store is, if it is anywhere."""
    path = tmp_path / "outer" / "store"
    path.mkdir(parents=True)
    return path


ADAPTERS = [
    "filesystem",
    pytest.param("moto", marks=pytest.mark.integration),
    pytest.param("SeaweedFS", marks=pytest.mark.nightly),
    "fake",
]

OBJECT_STORAGE = {"moto": "bucket_url", "SeaweedFS": "seaweed_url"}
"""Fixtures that tell where it is."""

for_files_that_stay = pytest.mark.parametrize("build_store", ["filesystem", "fake"], indirect=True)
"""Storage of objects cannot keep what is deleted for those who read it; what it does instead is in
tests/unit/adapters/audio_store/test_object_store.py."""


@pytest.fixture(params=ADAPTERS)
def build_store(request: pytest.FixtureRequest, directory: Path, clock: FakeClock) -> BuildStore:
    url = url_of(request)

    async def build(limits: StoreLimits) -> AudioStore:
        if request.param == "filesystem":
            return await FilesystemAudioStores(directory, limits, clock).for_owner(None)
        if url:
            bucket, _, prefix = f"{url}/a/b/".removeprefix(SCHEME).partition("/")
            return ObjectAudioStore(Bucket(bucket), prefix, limits, clock)
        return FakeAudioStore(
            clock,
            max_files=limits.max_files,
            max_bytes=limits.max_bytes,
            max_age_s=limits.max_age_s,
        )

    return build


def url_of(request: pytest.FixtureRequest) -> str:
    """Of object storage; empty for other adapters."""
    if request.param not in OBJECT_STORAGE:
        return ""
    url: str = request.getfixturevalue(OBJECT_STORAGE[request.param])
    return url


@pytest.fixture
async def store(build_store: BuildStore) -> AudioStore:
    return await build_store(StoreLimits())


async def stream(*parts: bytes) -> AsyncIterator[bytes]:
    for part in parts:
        await asyncio.sleep(0)
        yield part


async def save(store: AudioStore, content: bytes = b"sound", stem: str = "speech") -> StoredAudio:
    return await store.save(stream(content), stem=stem, audio_format=AudioFormat.WAV)


async def load(store: AudioStore, name: str) -> bytes:
    async with store.open_file(name) as audio:
        return await collect(audio, 0, audio.info.num_bytes)


async def collect(audio: OpenAudio, start: int, end: int) -> bytes:
    return b"".join([block async for block in audio.read(start, end)])


async def names_in(store: AudioStore) -> list[str]:
    return [file.name for file in await store.list()]


async def test_a_saved_file_is_read_back_byte_for_byte(store: AudioStore) -> None:
    file = await store.save(
        stream(b"one", b"", b"two"), stem="speech", audio_format=AudioFormat.MP3
    )
    assert file.num_bytes == 6
    assert await load(store, file.name) == b"onetwo"


async def test_a_saved_file_tells_when_it_was_published(
    store: AudioStore, clock: FakeClock
) -> None:
    await clock.advance(1.25)
    file = await save(store)
    assert file.created_at == clock.now()
    assert file.created_at.utcoffset() == timedelta(0)
    assert await store.list() == [file]


async def test_a_file_without_bytes_is_kept(store: AudioStore) -> None:
    file = await store.save(stream(), stem="speech", audio_format=AudioFormat.PCM)
    assert file.num_bytes == 0
    assert await load(store, file.name) == b""


@pytest.mark.parametrize("audio_format", list(AudioFormat))
async def test_the_format_is_the_extension(store: AudioStore, audio_format: AudioFormat) -> None:
    file = await store.save(stream(b"x"), stem="speech", audio_format=audio_format)
    assert file.name == f"speech_000001.{audio_format.value}"


async def test_names_are_sequential(store: AudioStore) -> None:
    names = [(await save(store)).name for _ in range(3)]
    assert names == ["speech_000001.wav", "speech_000002.wav", "speech_000003.wav"]


async def test_all_stems_and_formats_share_one_sequence(store: AudioStore) -> None:
    await save(store, stem="a")
    await save(store, stem="b")
    await store.save(stream(b"x"), stem="a", audio_format=AudioFormat.OPUS)
    assert await names_in(store) == ["a_000001.wav", "b_000002.wav", "a_000003.opus"]


async def test_twenty_saves_at_once_leave_no_gap(store: AudioStore) -> None:
    contents = [b"%d" % index * 1000 for index in range(20)]
    stems = ["even", "odd"] * 10
    files = await asyncio.gather(*map(save, [store] * 20, contents, stems))
    numbers = sorted(int(file.name.split("_")[1].removesuffix(".wav")) for file in files)
    assert numbers == list(range(1, 21))
    assert [await load(store, file.name) for file in files] == contents


async def test_a_failing_source_keeps_nothing_and_its_error_is_passed_on(store: AudioStore) -> None:
    error = OSError("the source is at fault, not the store")

    async def fail_midway() -> AsyncIterator[bytes]:
        yield b"half"
        raise error

    with pytest.raises(OSError, match="the source is at fault") as caught:
        await store.save(fail_midway(), stem="speech", audio_format=AudioFormat.WAV)
    assert caught.value is error
    assert await store.list() == []
    assert (await save(store)).name == "speech_000001.wav"


async def test_a_failing_head_keeps_nothing(store: AudioStore) -> None:
    def fail() -> bytes:
        raise ValueError("no head")

    with pytest.raises(ValueError, match="no head"):
        await store.save(stream(b"x"), stem="speech", audio_format=AudioFormat.WAV, head=fail)
    assert await store.list() == []


async def test_a_cancelled_save_keeps_nothing(store: AudioStore) -> None:
    has_begun = asyncio.Event()

    async def hang_midway() -> AsyncIterator[bytes]:
        yield b"half"
        has_begun.set()
        await asyncio.Event().wait()

    task = asyncio.create_task(
        store.save(hang_midway(), stem="speech", audio_format=AudioFormat.WAV)
    )
    await has_begun.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert await store.list() == []


async def test_a_file_is_not_seen_before_it_is_whole(store: AudioStore) -> None:
    seen: list[StoredAudio] = []

    async def look_midway() -> AsyncIterator[bytes]:
        yield b"half"
        seen.extend(await store.list())
        yield b"rest"

    await store.save(look_midway(), stem="speech", audio_format=AudioFormat.WAV)
    assert seen == []
    assert len(await store.list()) == 1


async def test_the_head_is_asked_for_last_and_replaces_the_first_bytes(store: AudioStore) -> None:
    order = []

    async def parts() -> AsyncIterator[bytes]:
        yield b"????sou"
        yield b"nd"
        order.append("parts are written")

    def head() -> bytes:
        order.append("head is asked for")
        return b"HEAD"

    file = await store.save(parts(), stem="speech", audio_format=AudioFormat.WAV, head=head)
    assert order == ["parts are written", "head is asked for"]
    assert file.num_bytes == 9
    assert await load(store, file.name) == b"HEADsound"


async def test_a_stem_may_have_64_letters_digits_hyphens_and_underscores(store: AudioStore) -> None:
    stem = "-_aZ09" + "x" * 58
    file = await save(store, stem=stem)
    assert file.name == f"{stem}_000001.wav"
    assert await load(store, file.name) == b"sound"


async def test_a_stem_that_ends_like_a_number_does_not_confuse_the_sequence(
    store: AudioStore,
) -> None:
    assert (await save(store, stem="take_000900")).name == "take_000900_000001.wav"
    assert (await save(store)).name == "speech_000002.wav"


@table("stem", INVALID_STEMS.values())
async def test_an_invalid_stem_is_refused(store: AudioStore, stem: str) -> None:
    with pytest.raises(InvalidFileNameError):
        await save(store, stem=stem)
    assert await store.list() == []


@table("name", INVALID_NAMES.values())
async def test_a_name_the_store_never_gives_is_refused(
    store: AudioStore, directory: Path, name: str
) -> None:
    outside = directory.parent / "speech_000001.wav"
    outside.write_bytes(b"secret")
    if not await store.list():
        await save(store)
    with pytest.raises(InvalidFileNameError):
        async with store.open_file(name):
            pass
    with pytest.raises(InvalidFileNameError):
        await store.delete(name)
    assert outside.exists()
    assert await names_in(store) == ["speech_000001.wav"]


@pytest.mark.parametrize(
    "name", ["speech_000002.wav", "speech_000001.mp3", "Speech_000001.wav", "other_000001.wav"]
)
async def test_a_name_no_file_has_is_not_found(store: AudioStore, name: str) -> None:
    await save(store)
    with pytest.raises(StoredAudioNotFoundError):
        async with store.open_file(name):
            pass
    with pytest.raises(StoredAudioNotFoundError):
        await store.delete(name)


async def test_an_empty_store_lists_nothing(store: AudioStore) -> None:
    assert await store.list() == []


async def test_files_are_listed_by_number_not_by_name(store: AudioStore) -> None:
    for stem in ("c", "a", "b"):
        await save(store, stem=stem)
    assert await names_in(store) == ["c_000001.wav", "a_000002.wav", "b_000003.wav"]


async def test_a_deleted_file_is_gone(store: AudioStore) -> None:
    file = await save(store)
    await save(store)
    await store.delete(file.name)
    assert await names_in(store) == ["speech_000002.wav"]
    with pytest.raises(StoredAudioNotFoundError):
        await load(store, file.name)
    with pytest.raises(StoredAudioNotFoundError):
        await store.delete(file.name)


async def test_the_number_of_a_deleted_file_is_not_given_again(store: AudioStore) -> None:
    for _ in range(3):
        await store.delete((await save(store)).name)
    assert (await save(store)).name == "speech_000004.wav"


@for_files_that_stay
async def test_a_file_deleted_while_it_is_read_arrives_whole(store: AudioStore) -> None:
    content = os.urandom(300_000)
    file = await save(store, content)
    async with store.open_file(file.name) as audio:
        blocks = audio.read(0, len(content))
        received = await anext(blocks)
        assert len(received) < len(content)
        await store.delete(file.name)
        async for block in blocks:
            received += block
    assert received == content


@for_files_that_stay
async def test_a_file_deleted_before_its_first_block_arrives_whole(store: AudioStore) -> None:
    file = await save(store)
    async with store.open_file(file.name) as audio:
        await store.delete(file.name)
        assert audio.info == file
        assert await collect(audio, 0, file.num_bytes) == b"sound"


async def test_an_open_file_tells_what_it_is(store: AudioStore) -> None:
    file = await store.save(stream(b"123"), stem="a", audio_format=AudioFormat.OPUS)
    async with store.open_file(file.name) as audio:
        assert audio.info == file
    assert file.audio_format is AudioFormat.OPUS


@given(start=st.integers(0, 200_000), length=st.integers(0, 200_000))
@settings(
    max_examples=examples(40),
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
def test_any_part_of_a_file_can_be_read(build_store: BuildStore, start: int, length: int) -> None:
    content = random.Random(7).randbytes(200_000)
    end = min(len(content), start + length)

    async def read_part() -> list[bytes]:
        store = await build_store(StoreLimits())
        file = await save(store, content)
        async with store.open_file(file.name) as audio:
            return [block async for block in audio.read(start, end)]

    blocks = asyncio.run(read_part())
    assert b"".join(blocks) == content[start:end]
    assert all(blocks)


async def test_parts_of_an_open_file_can_be_read_in_any_order(store: AudioStore) -> None:
    file = await save(store, b"0123456789")
    async with store.open_file(file.name) as audio:
        spans = [(7, 10), (0, 3), (5, 5), (2, 9)]
        assert [await collect(audio, *span) for span in spans] == [
            b"789",
            b"012",
            b"",
            b"2345678",
        ]


async def test_a_version_tells_files_of_one_name_apart(
    build_store: BuildStore, clock: FakeClock
) -> None:
    """Of the same name and size, by the time."""
    versions = []
    for _ in range(2):
        store = await build_store(StoreLimits())
        versions.append(
            msgspec.structs.replace(await save(store), name="speech_000001.wav").version
        )
        await clock.advance(0.000_001)
    assert len(set(versions)) == 2
    assert all(re.fullmatch(r"[A-Za-z0-9._-]+", version) for version in versions)


async def test_a_reader_may_leave_early(store: AudioStore) -> None:
    file = await save(store, bytes(300_000))
    async with store.open_file(file.name) as audio, aclosing(audio.read(0, 300_000)) as blocks:
        await anext(blocks)
    assert len(await load(store, file.name)) == 300_000


async def test_an_error_of_the_reader_is_passed_on(store: AudioStore) -> None:
    file = await save(store)
    with pytest.raises(ValueError, match="the client left"):
        async with store.open_file(file.name):
            raise ValueError("the client left")


async def test_one_file_is_read_by_many_at_once(store: AudioStore) -> None:
    content = os.urandom(200_000)
    file = await save(store, content)
    assert await asyncio.gather(*(load(store, file.name) for _ in range(10))) == [content] * 10


@pytest.mark.parametrize(
    ("limits", "expected"),
    [
        pytest.param(StoreLimits(), [1, 2, 3, 4], id="no limit"),
        pytest.param(StoreLimits(max_files=4), [1, 2, 3, 4], id="count just held"),
        pytest.param(StoreLimits(max_files=3), [2, 3, 4], id="count"),
        pytest.param(StoreLimits(max_bytes=40), [1, 2, 3, 4], id="bytes just held"),
        pytest.param(StoreLimits(max_bytes=39), [2, 3, 4], id="bytes, one too many"),
        pytest.param(StoreLimits(max_bytes=15), [4], id="bytes, room for one"),
        pytest.param(StoreLimits(max_bytes=9), [], id="bytes, room for none"),
        pytest.param(StoreLimits(max_age_s=40), [1, 2, 3, 4], id="age just held"),
        pytest.param(StoreLimits(max_age_s=39.5), [2, 3, 4], id="age"),
        pytest.param(StoreLimits(max_age_s=5), [], id="age, all too old"),
        pytest.param(StoreLimits(max_files=3, max_bytes=25, max_age_s=35), [3, 4], id="strictest"),
    ],
)
async def test_cleaning_up_removes_the_oldest_until_the_limits_hold(
    build_store: BuildStore, clock: FakeClock, limits: StoreLimits, expected: list[int]
) -> None:
    """Four files of 10 bytes, which are 40, 30, 20 and 10 s old."""
    store = await build_store(limits)
    for _ in range(4):
        await save(store, bytes(10))
        await clock.advance(10)
    assert await store.clean_up() == 4 - len(expected)
    assert await names_in(store) == [f"speech_{number:06d}.wav" for number in expected]
    assert await store.clean_up() == 0


async def test_numbers_are_not_reused_after_cleaning_up(
    build_store: BuildStore, clock: FakeClock
) -> None:
    store = await build_store(StoreLimits(max_age_s=1))
    await save(store)
    await clock.advance(2)
    assert await store.clean_up() == 1
    assert (await save(store)).name == "speech_000002.wav"


async def test_files_of_one_moment_are_cleaned_up_by_number(build_store: BuildStore) -> None:
    store = await build_store(StoreLimits(max_files=2))
    for stem in ("d", "c", "b", "a"):
        await save(store, stem=stem)
    await store.clean_up()
    assert await names_in(store) == ["b_000003.wav", "a_000004.wav"]


# Captions


async def test_captions_are_read_back_as_they_were(store: AudioStore) -> None:
    file = await save_with_captions(store)
    assert list(await store.read_captions(file.name)) == CAPTIONS
    assert await load(store, file.name) == b"sound"
    assert await names_in(store) == [file.name]


async def test_captions_are_asked_for_when_all_parts_are_written(store: AudioStore) -> None:
    order = []

    async def parts() -> AsyncIterator[bytes]:
        yield b"sound"
        order.append("parts are written")

    def captions() -> list[Caption]:
        order.append("captions are asked for")
        return CAPTIONS

    await store.save(parts(), stem="speech", audio_format=AudioFormat.WAV, captions=captions)
    assert order == ["parts are written", "captions are asked for"]


async def test_failing_captions_keep_nothing(store: AudioStore) -> None:
    def fail() -> list[Caption]:
        raise ValueError("no captions")

    with pytest.raises(ValueError, match="no captions"):
        await store.save(stream(b"x"), stem="speech", audio_format=AudioFormat.WAV, captions=fail)
    assert await store.list() == []


async def test_a_file_kept_without_captions_has_none(store: AudioStore) -> None:
    file = await save(store)
    with pytest.raises(CaptionsNotFoundError):
        await store.read_captions(file.name)


async def test_captions_of_no_file_are_not_found(store: AudioStore) -> None:
    with pytest.raises(StoredAudioNotFoundError):
        await store.read_captions("speech_000001.wav")


async def test_captions_go_with_their_file(store: AudioStore) -> None:
    file = await save_with_captions(store)
    await store.delete(file.name)
    with pytest.raises(StoredAudioNotFoundError):
        await store.read_captions(file.name)


async def test_captions_are_cleaned_up_with_their_file(build_store: BuildStore) -> None:
    store = await build_store(StoreLimits(max_files=1))
    gone, kept = await save_with_captions(store), await save_with_captions(store)
    assert await store.clean_up() == 1
    with pytest.raises(StoredAudioNotFoundError):
        await store.read_captions(gone.name)
    assert list(await store.read_captions(kept.name)) == CAPTIONS


@table("name", INVALID_NAMES.values())
async def test_captions_of_a_name_the_store_never_gives_are_refused(
    store: AudioStore, name: str
) -> None:
    with pytest.raises(InvalidFileNameError):
        await store.read_captions(name)


async def save_with_captions(store: AudioStore) -> StoredAudio:
    return await store.save(
        stream(b"sound"),
        stem="speech",
        audio_format=AudioFormat.WAV,
        captions=lambda: CAPTIONS,
    )


# Owners


@pytest.fixture(params=ADAPTERS)
def stores(request: pytest.FixtureRequest, directory: Path, clock: FakeClock) -> AudioStores:
    if request.param == "filesystem":
        return FilesystemAudioStores(directory, StoreLimits(), clock)
    if url := url_of(request):
        return ObjectAudioStores(f"{url}/a/b", StoreLimits(), clock)
    return FakeAudioStores(clock)


async def test_no_owner_sees_the_files_of_another(stores: AudioStores) -> None:
    owners = [None, "anna", "bob-2"]
    for owner in owners:
        await save(await stores.for_owner(owner), str(owner).encode())
    for owner in owners:
        store = await stores.for_owner(owner)
        assert await names_in(store) == ["speech_000001.wav"]
        assert await load(store, "speech_000001.wav") == str(owner).encode()
    await (await stores.for_owner("anna")).delete("speech_000001.wav")
    assert await names_in(await stores.for_owner("anna")) == []
    assert len(await names_in(await stores.for_owner("bob-2"))) == 1


async def test_a_store_is_made_at_its_first_use_and_stays_the_same(stores: AudioStores) -> None:
    assert await stores.owners() == [None]
    store = await stores.for_owner("anna")
    assert await stores.for_owner("anna") is store
    assert await stores.owners() == [None, "anna"]


async def test_stores_asked_for_at_once_are_one(stores: AudioStores) -> None:
    found = await asyncio.gather(*(stores.for_owner("anna") for _ in range(10)))
    assert len({id(store) for store in found}) == 1


@pytest.mark.parametrize("owner", ["a", "0", "a" * 32, "a-b_c"])
async def test_names_of_keys_are_owners(stores: AudioStores, owner: str) -> None:
    await save(await stores.for_owner(owner))
    assert await stores.owners() == [None, owner]


@table(
    "owner", ["", ".", "..", "../x", "a/b", "A", "a" * 33, "-a", "_a", "a\n", "a.wav", "ä", "a\0"]
)
async def test_other_names_are_not(stores: AudioStores, owner: str) -> None:
    with pytest.raises(ValueError, match=r"."):
        await stores.for_owner(owner)
    assert await stores.owners() == [None]
