"""A recording keeps speech, and whatever becomes of the store never harms it."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import aclosing

import pytest

from app.domain.audio import AudioFormat
from app.domain.errors import StoreError, StoreFullError
from app.domain.segment import Caption
from app.domain.services.audio_library import (
    MAX_FINISH_S,
    MAX_WAIT_S,
    MAX_WAITING_PARTS,
    AudioLibrary,
)
from tests.fakes.audio_store import FakeAudioStore, FakeAudioStores
from tests.fakes.clock import FakeClock
from tests.fakes.speech_observer import FakeSpeechObserver

CAPTIONS = [Caption(0, 0.0, 1.0, "Hello.")]
MP3 = AudioFormat.MP3


class Scene:
    """A library over fakes."""

    def __init__(self) -> None:
        self.clock = FakeClock()
        self.stores = FakeAudioStores(self.clock)
        self.observer = FakeSpeechObserver()
        self.library = AudioLibrary(self.stores, self.clock, self.observer)

    @property
    def store(self) -> FakeAudioStore:
        return self.stores.by_owner[None]


@pytest.fixture
async def scene() -> AsyncIterator[Scene]:
    yield Scene()
    assert asyncio.all_tasks() == {asyncio.current_task()}


async def test_what_is_written_is_kept_with_head_and_captions(scene: Scene) -> None:
    async with aclosing(scene.library.record("anna", "talk", MP3)) as recording:
        for part in (b"????", b"so", b"und"):
            await recording.write(part)
        file = await recording.finish(head=b"HEAD", captions=CAPTIONS)
    store = scene.stores.by_owner["anna"]
    assert store.saved[0].content == b"HEADsound"
    assert store.saved[0].captions == tuple(CAPTIONS)
    assert (file.name, file.num_bytes) == ("talk_000001.mp3", 9)
    assert scene.observer.store_failures == []


async def test_leaving_without_finish_keeps_nothing(scene: Scene) -> None:
    async with aclosing(scene.library.record(None, "talk", MP3)) as recording:
        await recording.write(b"sound")
    assert scene.store.saved == []
    assert scene.observer.store_failures == []


async def test_an_error_of_the_speech_is_passed_on_and_keeps_nothing(scene: Scene) -> None:
    with pytest.raises(ValueError, match="the model failed"):
        async with aclosing(scene.library.record(None, "talk", MP3)) as recording:
            await recording.write(b"sound")
            raise ValueError("the model failed")
    assert scene.store.saved == []


async def test_a_cancelled_speech_keeps_nothing(scene: Scene) -> None:
    has_begun = asyncio.Event()

    async def speak() -> None:
        async with aclosing(scene.library.record(None, "talk", MP3)) as recording:
            await recording.write(b"sound")
            has_begun.set()
            await asyncio.Event().wait()

    task = asyncio.create_task(speak())
    await has_begun.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert scene.store.saved == []


async def test_nothing_is_kept_after_a_cancelled_finish(scene: Scene) -> None:
    scene.store.may_take.clear()

    async def speak() -> None:
        async with aclosing(scene.library.record(None, "talk", MP3)) as recording:
            await recording.write(b"sound")
            await recording.finish()

    task = asyncio.create_task(speak())
    await scene.clock.advance(0)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    scene.store.may_take.set()
    await scene.clock.advance(0)
    assert scene.store.saved == []


@pytest.mark.parametrize(
    "error", [StoreError("no disk"), StoreFullError("no room")], ids=["broken", "full"]
)
@pytest.mark.parametrize("num_before", [0, 1, MAX_WAITING_PARTS - 1, MAX_WAITING_PARTS + 5])
async def test_a_store_that_fails_at_any_part_is_told_at_the_end_and_once(
    scene: Scene, error: StoreError, num_before: int
) -> None:
    async with aclosing(scene.library.record(None, "talk", MP3)) as recording:
        for _ in range(num_before):
            await recording.write(b"part")
        scene.store.fail_with = error
        for _ in range(5 * MAX_WAITING_PARTS):
            await recording.write(b"part")
        with pytest.raises(type(error)) as caught:
            await recording.finish()
    assert caught.value is error
    assert recording.error is error
    assert scene.observer.store_failures == [("save", error)]
    assert scene.store.saved == []


async def test_a_store_that_cannot_be_opened_is_told_at_the_end(scene: Scene) -> None:
    scene.stores.fail_with = StoreError("no disk")
    async with aclosing(scene.library.record(None, "talk", MP3)) as recording:
        for _ in range(3 * MAX_WAITING_PARTS):
            await recording.write(b"part")
        with pytest.raises(StoreError, match="no disk"):
            await recording.finish()


async def test_once_something_is_kept_again_all_is_well(scene: Scene) -> None:
    scene.stores.fail_with = StoreError("no disk")
    async with aclosing(scene.library.record(None, "talk", MP3)) as recording:
        with pytest.raises(StoreError, match="no disk"):
            await recording.finish()
    assert scene.library.error is not None
    scene.stores.fail_with = None
    async with aclosing(scene.library.record(None, "talk", MP3)) as recording:
        await recording.finish()
    assert scene.library.error is None


async def test_a_bug_of_the_store_is_a_store_error_too(scene: Scene) -> None:
    scene.store.fail_with = ZeroDivisionError("secret details")
    async with aclosing(scene.library.record(None, "talk", MP3)) as recording:
        for _ in range(3 * MAX_WAITING_PARTS):
            await recording.write(b"part")
        with pytest.raises(StoreError, match="failed: ZeroDivisionError") as caught:
            await recording.finish()
    assert "secret" not in str(caught.value)
    assert caught.value.__cause__ is scene.store.fail_with


async def test_the_speech_waits_for_a_store_that_lags_behind(scene: Scene) -> None:
    scene.store.may_take.clear()
    num_written = 0

    async def speak() -> None:
        nonlocal num_written
        async with aclosing(scene.library.record(None, "talk", MP3)) as recording:
            for _ in range(100):
                await recording.write(b"x")
                num_written += 1
            await recording.finish()

    task = asyncio.create_task(speak())
    await scene.clock.advance(MAX_WAIT_S / 2)
    # One is in the hands of the store.
    assert num_written == MAX_WAITING_PARTS + 1
    scene.store.may_take.set()
    await task
    assert scene.store.saved[0].content == b"x" * 100


async def test_a_store_that_takes_nothing_is_given_up_and_the_speech_goes_on(scene: Scene) -> None:
    scene.store.may_take.clear()

    async def speak() -> None:
        async with aclosing(scene.library.record(None, "talk", MP3)) as recording:
            for _ in range(100):
                await recording.write(b"x")
            with pytest.raises(StoreError, match="does not answer"):
                await recording.finish()

    task = asyncio.create_task(speak())
    await scene.clock.advance(MAX_WAIT_S)
    await task
    assert [action for action, _ in scene.observer.store_failures] == ["save"]
    scene.store.may_take.set()
    await scene.clock.advance(0)
    assert scene.store.saved == []


async def test_a_store_that_does_not_end_is_given_up(scene: Scene) -> None:
    async def speak() -> None:
        async with aclosing(scene.library.record(None, "talk", MP3)) as recording:
            await recording.write(b"x")
            scene.store.may_take.clear()
            with pytest.raises(StoreError, match="does not answer"):
                await recording.finish()

    task = asyncio.create_task(speak())
    await scene.clock.advance(MAX_FINISH_S)
    await task
    assert len(scene.observer.store_failures) == 1


async def test_finishing_after_the_end_is_an_error(scene: Scene) -> None:
    async with aclosing(scene.library.record(None, "talk", MP3)) as recording:
        pass
    with pytest.raises(StoreError, match="stopped"):
        await recording.finish()
