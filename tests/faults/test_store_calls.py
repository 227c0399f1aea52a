"""Every call of the system that the store of finished audio makes fails in turn.

The way SQLite is tested: the first call fails, then the second, and so on until nothing fails any
more. After each the store must be as it promises, and speak of nothing that is not so.
"""

import os
import re
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path

import pytest

from app.adapters.audio_store import filesystem
from app.adapters.audio_store.filesystem import FilesystemAudioStore
from app.adapters.audio_store.rules import StoreLimits
from app.domain.audio import AudioFormat
from app.domain.errors import StoreError, StoreFullError
from app.domain.segment import Caption
from app.ports.audio_store import StoredAudio
from tests.fakes.clock import FakeClock
from tests.faults.disk import (
    CALLS,
    FULL,
    INTERRUPTED,
    IO_ERROR,
    LATE,
    MAX_CALLS,
    NO_DESCRIPTORS,
    READ_ONLY,
    SHORT,
    Disk,
    open_files,
)

ROOM = Path(filesystem.__file__).parent
CONTENT = b"<0000>sound that was spoken"
HEAD = b"<0021>"
WHOLE = HEAD + CONTENT[len(HEAD) :]
CAPTIONS = [Caption(0, 0.0, 1.0, "Hello."), Caption(1, 1.0, 2.5, "Grüße.")]
FAULTS = {
    "EIO": IO_ERROR, "ENOSPC": FULL, "EINTR": INTERRUPTED, "EMFILE": NO_DESCRIPTORS,
    "EROFS": READ_ONLY,
}  # fmt: skip
TEN_HOURS_S = 36_000.0


class Rig:
    """A store with one file in it, and what it says of itself."""

    def __init__(self, directory: Path) -> None:
        directory.mkdir()
        self.directory = directory
        self.clock = FakeClock()
        self.store = FilesystemAudioStore(directory, StoreLimits(max_files=100), self.clock)

    async def save(self, *, has_captions: bool = True) -> StoredAudio:
        async def parts() -> AsyncIterator[bytes]:
            yield CONTENT[:10]
            yield CONTENT[10:]

        return await self.store.save(
            parts(),
            stem="speech",
            audio_format=AudioFormat.WAV,
            head=lambda: HEAD,
            captions=lambda: CAPTIONS if has_captions else (),
        )

    def names(self) -> set[str]:
        return {path.name for path in self.directory.iterdir()}

    def audio(self) -> set[str]:
        return {name for name in self.names() if not name.startswith(".")}

    def lone_captions(self) -> set[str]:
        captions = {name for name in self.names() if name.endswith(".captions")}
        return captions - {f".{name}.captions" for name in self.audio()}

    def temporaries(self) -> set[str]:
        return {name for name in self.names() if name.startswith(".tmp-")}

    async def assert_whole(self) -> None:
        """All that is seen is a whole file, under the name it is told by."""
        for name in self.audio():
            assert (self.directory / name).read_bytes() == WHOLE
        assert {file.name for file in await self.store.list()} == self.audio()

    async def assert_works(self, known: set[str]) -> None:
        """What is saved now is kept, under a number that was never given."""
        numbers = {int(name[7:13]) for name in known | self.audio()}
        file = await self.save()
        assert int(file.name[7:13]) > max(numbers, default=0)
        assert (self.directory / file.name).read_bytes() == WHOLE
        assert list(await self.store.read_captions(file.name)) == CAPTIONS

    async def assert_tidy_after_a_restart(self) -> None:
        """A later start removes what could not be removed at once."""
        now = self.clock.now().timestamp()
        for name in self.temporaries():  # the machine's clock is ahead of the fake one
            os.utime(self.directory / name, (now, now))
        await self.clock.advance(TEN_HOURS_S)
        await FilesystemAudioStore(self.directory, StoreLimits(), self.clock).open()
        assert not self.lone_captions()
        assert not self.temporaries()


async def rig_in(directory: Path) -> Rig:
    rig = Rig(directory)
    await rig.store.open()
    assert (await rig.save()).name == "speech_000001.wav"
    return rig


def at(number: int) -> Callable[[int], bool]:
    return lambda n: n == number


def since(number: int) -> Callable[[int], bool]:
    return lambda n: n >= number


async def outcome_of(work: Awaitable[object]) -> StoreError | None:
    try:
        await work
    except StoreError as error:
        return error
    return None


@pytest.mark.parametrize("has_captions", [True, False], ids=["captions", "audio alone"])
@pytest.mark.parametrize("name", FAULTS)
async def test_a_publish_whose_nth_call_fails_is_whole_or_not_there(
    tmp_path: Path, disk: Disk, name: str, *, has_captions: bool
) -> None:
    for number in range(MAX_CALLS):
        rig = await rig_in(tmp_path / str(number))
        with disk.failing(FAULTS[name], at(number)):
            error = await outcome_of(rig.save(has_captions=has_captions))
        where = f"call {number} of {disk.calls}"
        assert not open_files(tmp_path), where
        kept = {"speech_000001.wav"} if error else {"speech_000001.wav", "speech_000002.wav"}
        assert rig.audio() == kept, where
        assert not rig.lone_captions(), where
        assert str(rig.directory) not in str(error)
        await rig.assert_whole()
        await rig.assert_works({"speech_000001.wav"})
        await rig.assert_tidy_after_a_restart()
        if not disk.num_hits:
            assert error is None
            return
    pytest.fail("more calls than were tried")


async def test_a_call_without_space_means_a_full_store(tmp_path: Path, disk: Disk) -> None:
    rig = await rig_in(tmp_path / "store")
    with disk.failing(FULL, lambda _: disk.calls[-1:] == ["open"]):
        assert isinstance(await outcome_of(rig.save()), StoreFullError)


async def test_reading_and_writing_byte_by_byte_changes_nothing(tmp_path: Path, disk: Disk) -> None:
    rig = await rig_in(tmp_path / "store")
    with disk.failing(SHORT, lambda _: True):
        file = await rig.save()
        async with rig.store.open_file(file.name) as audio:
            blocks = [block async for block in audio.read(0, audio.info.num_bytes)]
        captions = await rig.store.read_captions(file.name)
    assert b"".join(blocks) == WHOLE
    assert list(captions) == CAPTIONS
    assert disk.calls.count("pwrite") > len(CONTENT)
    await rig.assert_whole()


async def test_a_disk_that_goes_away_at_any_call_tears_nothing(tmp_path: Path, disk: Disk) -> None:
    """All calls from one on fail, those that tidy up as well; then the disk is back."""
    for number in range(MAX_CALLS):
        rig = await rig_in(tmp_path / str(number))
        with disk.failing(IO_ERROR, since(number)):
            error = await outcome_of(rig.save())
        assert not open_files(tmp_path), f"from call {number} of {disk.calls}"
        await rig.assert_whole()
        await rig.assert_works({"speech_000001.wav"})
        await rig.assert_tidy_after_a_restart()
        if not disk.num_hits:
            assert error is None
            return
    pytest.fail("more calls than were tried")


@pytest.mark.nightly
async def test_two_calls_that_fail_tear_nothing(tmp_path: Path, disk: Disk) -> None:
    """One fails, and then any one of those that make up for it."""
    for first in range(MAX_CALLS):
        for second in range(first + 1, MAX_CALLS):
            rig = await rig_in(tmp_path / f"{first}-{second}")
            pair = {first, second}
            with disk.failing(IO_ERROR, pair.__contains__):
                await outcome_of(rig.save())
            assert not open_files(tmp_path), f"calls {pair} of {disk.calls}"
            await rig.assert_whole()
            await rig.assert_works({"speech_000001.wav"})
            await rig.assert_tidy_after_a_restart()
            if disk.num_hits < len(pair):
                break
        if not disk.num_hits:
            return
    pytest.fail("more calls than were tried")


async def test_a_call_that_works_and_says_it_did_not_tears_nothing(
    tmp_path: Path, disk: Disk
) -> None:
    """As on a network, where an answer can be lost."""
    for number in range(MAX_CALLS):
        rig = await rig_in(tmp_path / str(number))
        with disk.failing(LATE, at(number)):
            await outcome_of(rig.save())
        await rig.assert_whole()
        await rig.assert_works({"speech_000001.wav"})
        if not disk.num_hits:
            return
    pytest.fail("more calls than were tried")


Work = Callable[[Rig], Awaitable[object]]


async def open_again(rig: Rig) -> None:
    await rig.store.open()


async def read_all(rig: Rig) -> None:
    async with rig.store.open_file("speech_000001.wav") as audio:
        assert b"".join([b async for b in audio.read(0, audio.info.num_bytes)]) == WHOLE
    assert list(await rig.store.read_captions("speech_000001.wav")) == CAPTIONS


async def list_all(rig: Rig) -> None:
    assert [file.name for file in await rig.store.list()] == ["speech_000001.wav"]


async def clean_up(rig: Rig) -> None:
    rig.store._limits = StoreLimits(max_age_s=1.0)
    await rig.clock.advance(2)
    await rig.store.clean_up()


async def delete(rig: Rig) -> None:
    await rig.store.delete("speech_000001.wav")


@pytest.mark.parametrize("work", [open_again, read_all, list_all, clean_up, delete])
@pytest.mark.parametrize("name", ["EIO", "EMFILE"])
async def test_whatever_else_is_done_with_a_store_may_fail_at_any_call(
    tmp_path: Path, disk: Disk, name: str, work: Work
) -> None:
    for number in range(MAX_CALLS):
        rig = await rig_in(tmp_path / str(number))
        with disk.failing(FAULTS[name], at(number)):
            error = await outcome_of(work(rig))
        where = f"call {number} of {disk.calls}"
        assert not open_files(tmp_path), where
        assert str(rig.directory) not in str(error)
        assert not rig.lone_captions(), where
        await rig.assert_whole()
        await rig.assert_works({"speech_000001.wav"})
        if not disk.num_hits:
            assert error is None
            return
    pytest.fail("more calls than were tried")


def test_every_call_that_the_store_makes_can_be_made_to_fail() -> None:
    """A call by another name would never fail here, and nobody would notice."""
    sources = [path.read_text() for path in ROOM.glob("*.py")]
    used = {
        name for source in sources for name in re.findall(r"\b(?:os|fcntl)\.([a-z]\w+)", source)
    }
    covered = {name for names in CALLS.values() for name in names}
    assert used - covered == {"getpid", "kill", "stat_result", "strerror"}
