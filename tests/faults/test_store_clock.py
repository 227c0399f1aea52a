"""A store whose clock is set, and files whose times are not to be believed."""

import os
from collections.abc import AsyncIterator
from datetime import datetime, timedelta
from pathlib import Path

from app.adapters.audio_store.filesystem import FilesystemAudioStore
from app.adapters.audio_store.rules import StoreLimits
from app.domain.audio import AudioFormat
from tests.fakes.clock import START, FakeClock

HOUR = timedelta(hours=1)


class SetClock(FakeClock):
    """A wall clock that somebody sets."""

    def __init__(self) -> None:
        super().__init__()
        self.offset = timedelta(0)

    def now(self) -> datetime:
        return super().now() + self.offset


async def save(store: FilesystemAudioStore) -> str:
    async def parts() -> AsyncIterator[bytes]:
        yield b"sound"

    return (await store.save(parts(), stem="speech", audio_format=AudioFormat.WAV)).name


async def test_a_clock_that_is_set_back_removes_nothing_and_repeats_no_name(tmp_path: Path) -> None:
    clock = SetClock()
    store = FilesystemAudioStore(tmp_path, StoreLimits(max_age_s=60), clock)
    await store.open()
    first = await save(store)
    clock.offset = -24 * HOUR
    assert await store.clean_up() == 0
    second = await save(store)
    assert [first, second] == ["speech_000001.wav", "speech_000002.wav"]
    assert [file.name for file in await store.list()] == [first, second]
    clock.offset = HOUR
    assert await store.clean_up() == 2


async def test_a_file_of_the_future_stays_until_its_time_has_passed(tmp_path: Path) -> None:
    clock = SetClock()
    store = FilesystemAudioStore(tmp_path, StoreLimits(max_age_s=60), clock)
    await store.open()
    name = await save(store)
    future = (START + 24 * HOUR).timestamp()
    os.utime(tmp_path / name, (future, future))
    (tmp_path / ".tmp-1-0123456789abcdef").write_bytes(b"of somebody who is writing")
    os.utime(tmp_path / ".tmp-1-0123456789abcdef", (future, future))
    clock.offset = HOUR
    await store.open()
    assert await store.clean_up() == 0
    assert (tmp_path / ".tmp-1-0123456789abcdef").exists()
    clock.offset = 25 * HOUR
    assert await store.clean_up() == 1
