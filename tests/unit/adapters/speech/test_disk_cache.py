import asyncio
import os
from collections.abc import AsyncIterator
from pathlib import Path

import numpy as np
import pytest
from structlog.testing import capture_logs

from app.adapters.speech.cache_levels import DiskCache, to_bytes
from app.domain.audio import AudioChunk
from tests.fakes.clock import FakeClock

CHUNKS = (AudioChunk(np.linspace(-1, 1, 1_000, dtype=np.float32), 16_000),)
NUM_BYTES = len(to_bytes("", CHUNKS))
MAX_BYTES = 3 * NUM_BYTES


def key(number: int) -> str:
    return f"{number:064x}"


class Rig:
    """Files in a directory, and the clock that dates them."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.clock = FakeClock()
        self.files = DiskCache(directory, MAX_BYTES, self.clock)

    async def write(self, number: int) -> None:
        await self.clock.advance(1)
        self.files.write(key(number), CHUNKS)
        await asyncio.gather(*self.files._writing)

    async def read(self, number: int) -> bool:
        await self.clock.advance(1)
        return await self.files.read(key(number)) is not None

    async def restart(self) -> None:
        await self.files.close()
        self.files = DiskCache(self.directory, MAX_BYTES, self.clock)
        await self.files.open()

    def names(self) -> list[str]:
        return sorted(path.name for path in self.directory.iterdir())

    def path(self, number: int) -> Path:
        return self.directory / f"{key(number)}.speech"


@pytest.fixture
async def rig(tmp_path: Path) -> AsyncIterator[Rig]:
    rig = Rig(tmp_path / "speech" / "kept")
    await rig.files.open()
    yield rig
    await rig.files.close()


async def test_an_entry_is_a_file_named_by_its_key_for_its_owner_alone(rig: Rig) -> None:
    await rig.write(1)
    assert rig.names() == [f"{key(1)}.speech"]
    assert rig.path(1).stat().st_mode & 0o777 == 0o600
    assert rig.directory.stat().st_mode & 0o077 == 0
    chunks = await rig.files.read(key(1))
    assert chunks is not None
    assert chunks[0].samples.tobytes() == CHUNKS[0].samples.tobytes()


async def test_entries_survive_a_restart(rig: Rig) -> None:
    await rig.write(1)
    await rig.restart()
    assert key(1) in rig.files
    assert await rig.read(1)
    assert rig.files.num_bytes == NUM_BYTES


@pytest.mark.parametrize("restarts", [False, True])
async def test_what_was_used_longest_ago_goes_first(rig: Rig, *, restarts: bool) -> None:
    for number in (1, 2, 3):
        await rig.write(number)
    assert await rig.read(1)
    if restarts:
        await rig.restart()
    await rig.write(4)
    assert [number for number in range(1, 5) if key(number) in rig.files] == [1, 3, 4]
    assert rig.names() == [f"{key(number)}.speech" for number in (1, 3, 4)]


async def test_a_use_that_is_not_a_read_counts(rig: Rig) -> None:
    for number in (1, 2, 3):
        await rig.write(number)
    rig.files.touch(key(1))
    rig.files.touch(key(99))
    await rig.write(4)
    assert key(1) in rig.files
    assert key(2) not in rig.files


async def test_the_limit_holds_after_every_write(rig: Rig) -> None:
    for number in range(20):
        await rig.write(number)
        on_disk = sum(path.stat().st_size for path in rig.directory.iterdir())
        assert on_disk == rig.files.num_bytes <= MAX_BYTES


async def test_an_entry_larger_than_the_limit_is_not_written(rig: Rig) -> None:
    await rig.write(1)
    rig.files.write(key(2), CHUNKS * 4)
    await rig.files.close()
    assert rig.names() == [f"{key(1)}.speech"]


async def test_a_smaller_limit_holds_from_the_start_on(rig: Rig) -> None:
    for number in (1, 2, 3):
        await rig.write(number)
    files = DiskCache(rig.directory, NUM_BYTES, rig.clock)
    await files.open()
    assert rig.names() == [f"{key(3)}.speech"]
    await files.close()


@pytest.mark.parametrize(
    "content",
    [b"", b"not speech", to_bytes(f"{1:064x}", CHUNKS)[:-1], to_bytes(f"{2:064x}", CHUNKS)],
)
async def test_a_damaged_file_is_removed_and_can_be_written_again(rig: Rig, content: bytes) -> None:
    await rig.write(1)
    rig.path(1).write_bytes(content)
    assert not await rig.read(1)
    assert rig.names() == []
    assert rig.files.num_bytes == 0
    await rig.write(1)
    assert await rig.read(1)


async def test_files_with_other_names_are_left_alone_but_for_what_a_crash_left(rig: Rig) -> None:
    others = ["notes.txt", f"{key(1)}.wav", f"{key(1)[:-1]}.speech"]
    left = f".{key(1)}.{'0' * 16}.part"
    for name in (*others, left):
        (rig.directory / name).write_bytes(b"x")
    await rig.restart()
    assert rig.names() == sorted(others)
    assert rig.files.num_bytes == 0


async def test_a_file_that_somebody_removed_is_no_entry_any_more(rig: Rig) -> None:
    await rig.write(1)
    rig.path(1).unlink()
    assert not await rig.read(1)
    assert key(1) not in rig.files


@pytest.mark.parametrize(
    "make", [os.mkfifo, Path.mkdir, lambda path: path.symlink_to("/etc/passwd")]
)
async def test_what_is_no_file_is_never_read(rig: Rig, make: object) -> None:
    await rig.write(1)
    rig.path(1).unlink()
    assert callable(make)
    make(rig.path(1))
    await rig.restart()
    assert not await rig.read(1)
    assert key(1) not in rig.files


async def test_a_directory_that_cannot_be_made_is_a_cache_that_is_empty(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"")
    rig = Rig(tmp_path / "file" / "kept")
    with capture_logs() as events:
        await rig.files.open()
        for number in range(5):
            await rig.write(number)
            assert not await rig.read(number)
        await rig.files.close()
    assert [event["event"] for event in events] == ["cache.disk_failed"]


class FullDisk(DiskCache):
    """Fails with an error while it is set, in the middle of a file."""

    error: int | None = None

    def _write_new(self, path: Path, content: bytes) -> None:
        if self.error is None:
            super()._write_new(path, content)
            return
        super()._write_new(path, content[:100])
        raise OSError(self.error, "the disk failed")


@pytest.mark.parametrize("error", [28, 5, 30], ids=["ENOSPC", "EIO", "EROFS"])
async def test_a_disk_that_fails_is_logged_once_leaves_nothing_and_may_recover(
    tmp_path: Path, error: int
) -> None:
    rig = Rig(tmp_path)
    rig.files = FullDisk(tmp_path, MAX_BYTES, rig.clock)
    await rig.files.open()
    rig.files.error = error
    with capture_logs() as events:
        for number in range(5):
            await rig.write(number)
            assert key(number) not in rig.files
    assert [event["event"] for event in events] == ["cache.disk_failed"]
    assert rig.names() == []
    rig.files.error = None
    await rig.write(1)
    assert await rig.read(1)
    await rig.files.close()


async def test_it_can_be_closed_unopened_and_twice_and_is_then_empty(tmp_path: Path) -> None:
    rig = Rig(tmp_path)
    await rig.files.close()
    await rig.files.open()
    await rig.write(1)
    await rig.files.close()
    await rig.files.close()
    await rig.write(2)
    assert not await rig.read(1)
    assert rig.names() == [f"{key(1)}.speech"]


async def test_closing_waits_for_what_is_being_written(tmp_path: Path) -> None:
    rig = Rig(tmp_path)
    await rig.files.open()
    for number in range(3):
        rig.files.write(key(number), CHUNKS)
    await rig.files.close()
    assert len(rig.names()) == 3


async def test_a_disk_slower_than_the_model_does_not_fill_the_memory(rig: Rig) -> None:
    for number in range(1_000):
        rig.files.write(key(number), CHUNKS)
    assert len(rig.files._writing) <= 64
