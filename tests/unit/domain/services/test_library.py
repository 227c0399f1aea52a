"""Lists by page, cleaning that goes on whatever fails."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import aclosing

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.domain.audio import AudioFormat
from app.domain.errors import StoreError, StoreFullError, UnknownCursorError
from app.domain.services.audio_library import CLEAN_UP_INTERVAL_S, AudioLibrary, choose_page
from app.ports.audio_store import StoredAudio
from tests.fakes.audio_store import FakeAudioStore, FakeAudioStores
from tests.fakes.clock import START, FakeClock
from tests.fakes.speech_observer import FakeSpeechObserver


def stored(number: int) -> StoredAudio:
    return StoredAudio(f"speech_{number:06d}.wav", number, START)


@given(num_files=st.integers(0, 30), limit=st.integers(1, 12), is_newest_first=st.booleans())
def test_following_the_pages_gives_each_file_once_and_in_order(
    num_files: int,
    limit: int,
    is_newest_first: bool,  # noqa: FBT001 - hypothesis passes names
) -> None:
    files = [stored(number) for number in range(1, num_files + 1)]
    seen: list[StoredAudio] = []
    has_more = True
    while has_more:
        after = seen[-1].name if seen else None
        page = choose_page(files, limit, after, is_newest_first=is_newest_first)
        assert len(page.files) <= limit
        assert bool(page.files) or not seen
        seen += page.files
        has_more = page.has_more
    assert seen == (files[::-1] if is_newest_first else files)


def test_a_page_after_a_file_that_is_not_there_is_an_error_of_that_field() -> None:
    with pytest.raises(UnknownCursorError) as caught:
        choose_page([stored(1)], 20, "speech_000002.wav", is_newest_first=True)
    assert caught.value.param == "after"


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock()


@pytest.fixture
def stores(clock: FakeClock) -> FakeAudioStores:
    stores = FakeAudioStores(clock)
    for owner in (None, "anna", "bob"):
        stores.by_owner[owner] = FakeAudioStore(clock, max_files=1)
    return stores


@pytest.fixture
def observer() -> FakeSpeechObserver:
    return FakeSpeechObserver()


@pytest.fixture
def library(
    stores: FakeAudioStores, clock: FakeClock, observer: FakeSpeechObserver
) -> AudioLibrary:
    return AudioLibrary(stores, clock, observer)


async def fill(stores: FakeAudioStores, num_files: int = 3) -> None:
    async def parts() -> AsyncIterator[bytes]:
        yield b"sound"

    for store in stores.by_owner.values():
        for _ in range(num_files):
            await store.save(parts(), stem="speech", audio_format=AudioFormat.WAV)


async def num_kept(stores: FakeAudioStores) -> list[int]:
    return [len(await store.list()) for store in stores.by_owner.values()]


async def test_every_owner_is_cleaned_at_the_start_and_at_each_interval(
    library: AudioLibrary, stores: FakeAudioStores, clock: FakeClock, observer: FakeSpeechObserver
) -> None:
    await fill(stores)
    async with library.running():
        await clock.advance(0)
        assert await num_kept(stores) == [1, 1, 1]
        assert observer.num_removed == [2, 2, 2]
        await fill(stores)
        await clock.advance(CLEAN_UP_INTERVAL_S - 1)
        assert await num_kept(stores) == [4, 4, 4]
        await clock.advance(1)
        assert await num_kept(stores) == [1, 1, 1]
    assert clock.num_sleepers == 0


async def test_a_file_that_could_not_be_kept_is_remembered_until_the_next_cleaning(
    library: AudioLibrary, stores: FakeAudioStores, observer: FakeSpeechObserver
) -> None:
    error = StoreFullError("no room")
    stores.by_owner[None].fail_with = error
    async with aclosing(library.record(None, "speech", AudioFormat.WAV)) as recording:
        with pytest.raises(StoreFullError):
            await recording.finish()
    assert library.error is error
    assert observer.store_failures == [("save", error)]
    stores.by_owner[None].fail_with = None
    await library.clean_up()
    assert library.error is None


async def test_one_owner_whose_store_fails_does_not_stop_the_others(
    library: AudioLibrary, stores: FakeAudioStores, observer: FakeSpeechObserver
) -> None:
    await fill(stores)
    error = StoreError("no disk")
    stores.by_owner["anna"].is_open = True
    stores.by_owner["anna"].fail_with = error
    await library.clean_up()
    stores.by_owner["anna"].fail_with = None
    assert await num_kept(stores) == [1, 3, 1]
    assert observer.store_failures == [("clean_up", error)]


@pytest.mark.parametrize("error", [StoreError("no disk"), ZeroDivisionError("a bug")])
async def test_a_store_that_cannot_be_opened_is_told_once_and_tried_again(
    library: AudioLibrary,
    stores: FakeAudioStores,
    clock: FakeClock,
    observer: FakeSpeechObserver,
    error: Exception,
) -> None:
    stores.fail_with = error
    async with library.running():
        await clock.advance(10 * CLEAN_UP_INTERVAL_S)
        assert [action for action, _ in observer.store_failures] == ["open"]
        assert library.error is not None
        stores.fail_with = None
        await fill(stores)
        await clock.advance(CLEAN_UP_INTERVAL_S)
        assert library.error is None
        assert await num_kept(stores) == [1, 1, 1]
        stores.fail_with = error
        await clock.advance(CLEAN_UP_INTERVAL_S)
    assert [action for action, _ in observer.store_failures] == ["open", "open"]


class HangingStores(FakeAudioStores):
    async def for_owner(self, owner: str | None) -> FakeAudioStore:
        await asyncio.Event().wait()
        raise AssertionError


async def test_the_server_starts_and_stops_while_the_store_hangs(
    clock: FakeClock, observer: FakeSpeechObserver
) -> None:
    library = AudioLibrary(HangingStores(clock), clock, observer)
    async with asyncio.timeout(5), library.running():
        await clock.advance(0)


async def test_each_owner_has_its_own_list_files_and_captions(
    library: AudioLibrary, stores: FakeAudioStores
) -> None:
    await fill(stores, 2)
    annas = await library.stores.for_owner("anna")
    await annas.delete("speech_000001.wav")
    assert [file.name for file in await annas.list()] == ["speech_000002.wav"]
    nobodys = await library.stores.for_owner(None)
    page = choose_page(await nobodys.list(), 1, None, is_newest_first=True)
    assert ([file.name for file in page.files], page.has_more) == (["speech_000002.wav"], True)
    bobs = await library.stores.for_owner("bob")
    async with bobs.open_file("speech_000001.wav") as audio:
        assert [block async for block in audio.read(1, 4)] == [b"oun"]
