"""What only the store on a file system has: its files, its sharing, its faults."""

import asyncio
import errno
import fcntl
import os
import random
import resource
import shutil
import stat
import subprocess
import sys
import threading
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path

import pytest

from app.adapters.audio_store import files
from app.adapters.audio_store.filesystem import (
    MAX_NUMBER_TRIES,
    FilesystemAudioStore,
    FilesystemAudioStores,
)
from app.adapters.audio_store.rules import StoreLimits, directory_of
from app.domain.audio import AudioFormat
from app.domain.errors import (
    CaptionsNotFoundError,
    InvalidFileNameError,
    StoredAudioNotFoundError,
    StoreError,
    StoreFullError,
)
from app.domain.segment import Caption
from app.ports.audio_store import StoredAudio
from tests.fakes.clock import FakeClock

PROJECT = Path(__file__).parents[4]
OWN_FILES = {".lock", ".sequence"}

SAVE_IN_A_PROCESS = """
import asyncio, sys
from pathlib import Path
from app.adapters.audio_store.filesystem import FilesystemAudioStore
from app.adapters.audio_store.rules import StoreLimits, directory_of
from app.adapters.clock import SystemClock
from app.domain.audio import AudioFormat
from app.domain.segment import Caption

async def parts(content):
    yield content

async def main(directory, stem, num_files, num_bytes):
    store = FilesystemAudioStore(Path(directory), StoreLimits(), SystemClock())
    await store.open()
    captions = [Caption(i, i, i + 1, stem * 10) for i in range(20)]
    for _ in range(int(num_files)):
        content = stem[-1].encode() * int(num_bytes)
        file = await store.save(
            parts(content), stem=stem, audio_format=AudioFormat.WAV, captions=lambda: captions
        )
        print(file.name, flush=True)

asyncio.run(main(*sys.argv[1:]))
"""


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock()


@pytest.fixture
def directory(tmp_path: Path) -> Path:
    path = tmp_path / "store"
    path.mkdir()
    return path


@pytest.fixture
async def store(directory: Path, clock: FakeClock) -> FilesystemAudioStore:
    store = FilesystemAudioStore(directory, StoreLimits(), clock)
    await store.open()
    return store


async def stream(*parts: bytes) -> AsyncIterator[bytes]:
    for part in parts:
        yield part


async def save(
    store: FilesystemAudioStore, content: bytes = b"sound", stem: str = "speech"
) -> StoredAudio:
    return await store.save(stream(content), stem=stem, audio_format=AudioFormat.WAV)


async def load(store: FilesystemAudioStore, name: str) -> bytes:
    async with store.open_file(name) as audio:
        return b"".join([block async for block in audio.read(0, audio.info.num_bytes)])


CAPTIONS = [Caption(0, 0.0, 1.0, "Hello."), Caption(1, 1.0, 2.5, "Grüße.")]


async def save_with_captions(store: FilesystemAudioStore) -> StoredAudio:
    return await store.save(
        stream(b"sound"),
        stem="speech",
        audio_format=AudioFormat.WAV,
        captions=lambda: CAPTIONS,
    )


def sidecar_of(name: str) -> str:
    return f".{name}.captions"


def audio_in(directory: Path) -> set[str]:
    """What is not hidden."""
    return {name for name in files_in(directory) if not name.startswith(".")}


def files_in(directory: Path) -> set[str]:
    """All names but those of the locks, which the store may keep."""
    return {path.name for path in directory.iterdir()} - OWN_FILES


def lowest_free_descriptor() -> int:
    fd = os.open("/dev/null", os.O_RDONLY)
    os.close(fd)
    return fd


def count_open_descriptors() -> int:
    return sum(1 for _ in Path("/proc/self/fd").iterdir())


def start_saving(
    directory: Path, stem: str, num_files: int, num_bytes: int
) -> subprocess.Popen[str]:
    arguments = [str(directory), stem, str(num_files), str(num_bytes)]
    return subprocess.Popen(
        [sys.executable, "-c", SAVE_IN_A_PROCESS, *arguments],
        cwd=PROJECT,
        stdout=subprocess.PIPE,
        text=True,
    )


# Files and directory


def test_making_a_store_touches_nothing(directory: Path, clock: FakeClock) -> None:
    FilesystemAudioStore(directory / "deep", StoreLimits(), clock)
    assert files_in(directory) == set()


async def test_opening_makes_the_directory_and_its_parents(
    directory: Path, clock: FakeClock
) -> None:
    deep = directory / "a" / "b"
    await FilesystemAudioStore(deep, StoreLimits(), clock).open()
    assert deep.is_dir()
    assert files_in(deep) == set()


async def test_a_directory_that_is_a_link_is_followed(
    tmp_path: Path, directory: Path, clock: FakeClock
) -> None:
    link = tmp_path / "link"
    link.symlink_to(directory)
    linked = FilesystemAudioStore(link, StoreLimits(), clock)
    await linked.open()
    await save(linked)
    assert (directory / "speech_000001.wav").read_bytes() == b"sound"


async def test_others_can_neither_read_nor_write_a_file(
    store: FilesystemAudioStore, directory: Path
) -> None:
    before = os.umask(0)
    try:
        file = await save(store)
    finally:
        os.umask(before)
    assert stat.S_IMODE((directory / file.name).stat().st_mode) == 0o640
    assert (directory / file.name).stat().st_nlink == 1


async def test_the_time_of_a_file_is_the_clock_s(
    store: FilesystemAudioStore, directory: Path, clock: FakeClock
) -> None:
    file = await save(store)
    assert (directory / file.name).stat().st_mtime == clock.now().timestamp()


async def test_a_directory_that_was_lost_is_an_error_until_it_is_back(
    store: FilesystemAudioStore, directory: Path
) -> None:
    await save(store)
    moved = directory.parent / "moved"
    shutil.move(directory, moved)
    with pytest.raises(StoreError):
        await save(store)
    with pytest.raises(StoreError):
        await store.list()
    shutil.move(moved, directory)
    assert (await save(store)).name == "speech_000002.wav"


async def test_a_file_in_the_place_of_the_directory_is_an_error_that_names_no_path(
    directory: Path, clock: FakeClock
) -> None:
    (directory / "file").write_bytes(b"")
    with pytest.raises(StoreError) as caught:
        await FilesystemAudioStore(directory / "file", StoreLimits(), clock).open()
    assert str(caught.value) == "The store of finished audio failed: File exists."
    assert isinstance(caught.value.__cause__, OSError)


# Numbers


async def test_numbers_go_on_after_the_highest_of_a_restart(
    directory: Path, clock: FakeClock
) -> None:
    for name in ("a_000003.wav", "b_000041.mp3", "c_000007.flac"):
        (directory / name).write_bytes(b"")
    store = FilesystemAudioStore(directory, StoreLimits(), clock)
    await store.open()
    assert (await save(store)).name == "speech_000042.wav"


async def test_a_number_is_not_given_again_after_a_restart(
    store: FilesystemAudioStore, directory: Path, clock: FakeClock
) -> None:
    await store.delete((await save(store)).name)
    restarted = FilesystemAudioStore(directory, StoreLimits(), clock)
    await restarted.open()
    assert (await save(restarted)).name == "speech_000002.wav"


@pytest.mark.parametrize("hint", [b"", b"nonsense", b"-5\n", b"1", b"\xff" * 40, b"9" * 40])
async def test_a_wrong_hint_does_no_harm(
    store: FilesystemAudioStore, directory: Path, hint: bytes
) -> None:
    await save(store)
    (directory / ".sequence").write_bytes(hint)
    assert (await save(store)).name == "speech_000002.wav"


async def test_a_lost_hint_does_no_harm(store: FilesystemAudioStore, directory: Path) -> None:
    await save(store)
    (directory / ".sequence").unlink()
    assert (await save(store)).name == "speech_000002.wav"


async def test_numbers_grow_beyond_six_digits_and_stay_in_order(
    directory: Path, clock: FakeClock
) -> None:
    (directory / "z_999999.wav").write_bytes(b"")
    store = FilesystemAudioStore(directory, StoreLimits(), clock)
    await store.open()
    await save(store, stem="a")
    assert [file.name for file in await store.list()] == ["z_999999.wav", "a_1000000.wav"]
    assert await load(store, "a_1000000.wav") == b"sound"


async def test_a_name_that_somebody_else_took_is_skipped_and_not_overwritten(
    store: FilesystemAudioStore, directory: Path
) -> None:
    (directory / "speech_000001.wav").write_bytes(b"not ours")
    (directory / "speech_000002.wav").mkdir()
    (directory / "speech_000003.wav").symlink_to(directory / "elsewhere")
    assert (await save(store)).name == "speech_000004.wav"
    assert (directory / "speech_000001.wav").read_bytes() == b"not ours"
    assert not (directory / "elsewhere").exists()


async def test_a_store_whose_last_number_is_taken_is_full(
    directory: Path, clock: FakeClock
) -> None:
    last = f"speech_{10**18 - 1}.wav"
    (directory / last).write_bytes(b"")
    store = FilesystemAudioStore(directory, StoreLimits(), clock)
    await store.open()
    with pytest.raises(StoreFullError):
        await save(store)
    assert files_in(directory) == {last}


@pytest.mark.integration
async def test_ten_thousand_taken_names_in_a_row_are_too_many(
    store: FilesystemAudioStore, directory: Path
) -> None:
    await save(store)
    for number in range(2, MAX_NUMBER_TRIES + 2):
        (directory / f"speech_{number:06d}.wav").symlink_to("nowhere")
    with pytest.raises(StoreFullError):
        await save(store)
    assert not [name for name in files_in(directory) if name.startswith(".tmp-")]


@pytest.mark.parametrize(
    ("num_writers", "num_files"),
    [pytest.param(4, 25, id="4x25"), pytest.param(8, 50, id="8x50", marks=pytest.mark.nightly)],
)
@pytest.mark.integration
def test_processes_at_once_name_their_files_without_gap_or_repeat(
    directory: Path, num_writers: int, num_files: int
) -> None:
    stems = [f"writer-{letter}" for letter in "abcdefgh"[:num_writers]]
    writers = [start_saving(directory, stem, num_files, num_bytes=1000) for stem in stems]
    names = [name for writer in writers for name in writer.communicate(timeout=120)[0].split()]
    assert [writer.returncode for writer in writers] == [0] * num_writers
    assert files_in(directory) == {*names, *map(sidecar_of, names)}
    assert sorted(int(name[-10:-4]) for name in names) == list(
        range(1, num_writers * num_files + 1)
    )
    for name in names:
        stem = name.split("_")[0]
        assert (directory / name).read_bytes() == stem[-1].encode() * 1000
        assert stem.encode() * 10 in (directory / sidecar_of(name)).read_bytes()


@pytest.mark.integration
async def test_a_killed_writer_leaves_no_torn_file(directory: Path, clock: FakeClock) -> None:
    num_kept = 0
    for _ in range(4):
        writer = start_saving(directory, "speech", num_files=10_000, num_bytes=200_000)
        assert writer.stdout is not None
        announced = [writer.stdout.readline().strip() for _ in range(3)]
        writer.kill()
        writer.communicate()
        names = audio_in(directory)
        assert set(announced) <= names
        assert {(directory / name).stat().st_size for name in names} == {200_000}
        assert len(names) >= num_kept + 3
        num_kept = len(names)
        await check_captions(directory, clock, set(announced))


@pytest.mark.nightly
async def test_writers_killed_at_sixty_random_points_leave_no_torn_file(
    directory: Path, clock: FakeClock
) -> None:
    """Seeded; each is killed up to 50 ms after it began to save."""
    delays = random.Random(20_260_101)
    for _ in range(60):
        writer = start_saving(directory, "speech", num_files=10_000, num_bytes=200_000)
        assert writer.stdout is not None
        announced = writer.stdout.readline().strip()
        await asyncio.sleep(delays.uniform(0, 0.05))
        writer.kill()
        announced_too, _ = writer.communicate()
        names = audio_in(directory)
        # The last line may be cut as well.
        assert {announced, *announced_too.split()[:-1]} <= names
        assert {(directory / name).stat().st_size for name in names} == {200_000}
        await check_captions(directory, clock, {announced})
    numbers = sorted(int(name[-10:-4]) for name in audio_in(directory))
    assert len(numbers) == len(set(numbers))


async def check_captions(directory: Path, clock: FakeClock, announced: set[str]) -> None:
    """Each file has its captions, whole, or was not announced; no captions are alone."""
    store = FilesystemAudioStore(directory, StoreLimits(), clock)
    names = audio_in(directory)
    sidecars = {name for name in files_in(directory) if name.endswith(".captions")}
    assert sidecars <= set(map(sidecar_of, names))
    assert set(map(sidecar_of, announced)) <= sidecars
    for name in names:
        if sidecar_of(name) in sidecars:
            assert len(await store.read_captions(name)) == 20


# Temporary files


async def test_the_temporary_file_is_private_and_beside_the_others(
    store: FilesystemAudioStore, directory: Path
) -> None:
    seen: list[Path] = []

    async def look_midway() -> AsyncIterator[bytes]:
        yield b"half"
        seen.extend(directory / name for name in files_in(directory))
        assert stat.S_IMODE(seen[0].stat().st_mode) & 0o007 == 0

    await store.save(look_midway(), stem="speech", audio_format=AudioFormat.WAV)
    assert len(seen) == 1
    assert seen[0].name.startswith(f".tmp-{os.getpid()}-")
    assert files_in(directory) == {"speech_000001.wav"}


async def test_nothing_is_left_when_the_source_fails(
    store: FilesystemAudioStore, directory: Path
) -> None:
    async def fail_midway() -> AsyncIterator[bytes]:
        yield b"half"
        raise ValueError("no more")

    with pytest.raises(ValueError, match="no more"):
        await store.save(fail_midway(), stem="speech", audio_format=AudioFormat.WAV)
    assert files_in(directory) == set()


async def test_nothing_is_left_whenever_a_save_is_cancelled(
    store: FilesystemAudioStore, directory: Path
) -> None:
    """After 0 to 59 turns of the loop, so in each of its steps; what was published is whole."""
    content = os.urandom(1_000_000)
    num_fds = count_open_descriptors()
    for num_turns in range(60):
        task = asyncio.create_task(save(store, content))
        for _ in range(num_turns):
            await asyncio.sleep(0.0002)
        task.cancel()
        await asyncio.wait([task])
    await wait_for_other_tasks()
    assert not [name for name in files_in(directory) if name.startswith(".tmp-")]
    assert {(directory / name).stat().st_size for name in files_in(directory)} <= {len(content)}
    assert count_open_descriptors() == num_fds


async def test_a_file_is_closed_only_after_the_thread_of_a_cancelled_task() -> None:
    turns, order = files.Turns(), []
    has_begun, may_end = threading.Event(), threading.Event()

    def write() -> None:
        has_begun.set()
        may_end.wait()
        order.append("written")

    task = asyncio.create_task(turns.take(write))
    await asyncio.to_thread(has_begun.wait)
    task.cancel()
    await asyncio.wait([task])
    closing = asyncio.create_task(turns.take_last(lambda: order.append("closed")))
    await asyncio.sleep(0.05)
    may_end.set()
    await closing
    assert order == ["written", "closed"]
    with pytest.raises(StoreError):
        await turns.take(write)


async def test_no_descriptor_is_left_whenever_a_read_is_cancelled(
    store: FilesystemAudioStore,
) -> None:
    file = await save(store, os.urandom(1_000_000))
    await wait_for_other_tasks()
    num_fds = count_open_descriptors()
    for num_turns in range(60):
        task = asyncio.create_task(load(store, file.name))
        for _ in range(num_turns % 20):
            await asyncio.sleep(0.0001)
        task.cancel()
        await asyncio.wait([task])
    await wait_for_other_tasks()
    assert count_open_descriptors() == num_fds


async def wait_for_other_tasks() -> None:
    """A cancelled task returns at once; what it opened is closed by another, a moment later."""
    while others := asyncio.all_tasks() - {asyncio.current_task()}:
        await asyncio.wait(others)


@pytest.fixture(scope="module")
def dead_pid() -> int:
    ended = subprocess.Popen([sys.executable, "-c", ""])
    ended.wait()
    return ended.pid


@pytest.mark.parametrize(
    ("writer", "age_s", "left"),
    [
        ("alive", 0, 1),
        ("alive", 3590, 1),
        ("alive", 3610, 0),
        ("dead", 0, 1),
        ("dead", 50, 1),
        ("dead", 70, 0),
        ("dead", 3610, 0),
        ("dead", -7200, 1),
    ],
)
@pytest.mark.integration
async def test_opening_sweeps_what_no_writer_will_finish(
    directory: Path,
    clock: FakeClock,
    dead_pid: int,
    writer: str,
    age_s: float,
    left: int,
) -> None:
    """After an hour, or a minute if the writer is gone; a time in the future is no age."""
    pid = os.getpid() if writer == "alive" else dead_pid
    plant(directory / f".tmp-{pid}-0123456789abcdef", clock, age_s)
    await FilesystemAudioStore(directory, StoreLimits(), clock).open()
    assert len(files_in(directory)) == left


# Captions


async def test_captions_lie_beside_their_audio_hidden_private_and_as_old(
    store: FilesystemAudioStore, directory: Path, clock: FakeClock
) -> None:
    file = await save_with_captions(store)
    assert files_in(directory) == {file.name, sidecar_of(file.name)}
    status = (directory / sidecar_of(file.name)).stat()
    assert stat.S_IMODE(status.st_mode) & 0o007 == 0
    assert status.st_mtime == clock.now().timestamp()
    assert status.st_nlink == 1


async def test_captions_go_with_their_audio_from_the_disk(
    directory: Path, clock: FakeClock
) -> None:
    store = FilesystemAudioStore(directory, StoreLimits(max_files=1), clock)
    await store.open()
    for _ in range(2):
        await save_with_captions(store)
    file = await save_with_captions(store)
    assert await store.clean_up() == 2
    assert files_in(directory) == {file.name, sidecar_of(file.name)}
    await store.delete(file.name)
    assert files_in(directory) == set()


async def test_captions_are_no_audio(store: FilesystemAudioStore) -> None:
    file = await save_with_captions(store)
    assert [each.name for each in await store.list()] == [file.name]
    for name in (sidecar_of(file.name), sidecar_of(file.name)[1:]):
        with pytest.raises(InvalidFileNameError):
            await load(store, name)
        with pytest.raises(InvalidFileNameError):
            await store.delete(name)


async def test_captions_left_by_a_crash_are_never_those_of_another_file(
    store: FilesystemAudioStore, directory: Path
) -> None:
    for number in (1, 2):
        (directory / sidecar_of(f"speech_{number:06d}.wav")).write_text("[]")
    file = await save(store)
    with pytest.raises(CaptionsNotFoundError):
        await store.read_captions(file.name)
    assert list(await store.read_captions((await save_with_captions(store)).name)) == CAPTIONS


@pytest.mark.parametrize("age_s", [0, 3590, 3610])
async def test_opening_sweeps_captions_that_have_had_no_audio_for_an_hour(
    directory: Path, clock: FakeClock, age_s: float
) -> None:
    alone = plant(directory / sidecar_of("speech_000001.wav"), clock, age_s)
    plant(directory / "speech_000002.wav", clock, age_s)
    kept = plant(directory / sidecar_of("speech_000002.wav"), clock, age_s)
    store = FilesystemAudioStore(directory, StoreLimits(), clock)
    await store.open()
    assert (alone.name in files_in(directory)) == (age_s < 3600)
    assert kept.name in files_in(directory)
    with pytest.raises(StoredAudioNotFoundError):
        await store.read_captions("speech_000001.wav")


@pytest.mark.parametrize("content", [b"", b"[", b"{}", b'[{"index": 0}]', b"\xff\xfe", b"null"])
async def test_damaged_captions_are_an_error_that_leaves_the_audio(
    store: FilesystemAudioStore, directory: Path, content: bytes
) -> None:
    file = await save_with_captions(store)
    (directory / sidecar_of(file.name)).write_bytes(content)
    with pytest.raises(StoreError, match="damaged"):
        await store.read_captions(file.name)
    assert await load(store, file.name) == b"sound"


async def test_captions_swapped_for_a_link_or_a_pipe_are_not_read(
    store: FilesystemAudioStore, directory: Path
) -> None:
    file = await save_with_captions(store)
    path = directory / sidecar_of(file.name)
    path.unlink()
    path.symlink_to("/etc/passwd")
    with pytest.raises(CaptionsNotFoundError):
        await store.read_captions(file.name)
    path.unlink()
    os.mkfifo(path)
    with pytest.raises(CaptionsNotFoundError):
        async with asyncio.timeout(5):
            await store.read_captions(file.name)


async def test_a_file_that_became_shorter_while_it_was_read_is_an_error(
    store: FilesystemAudioStore, directory: Path
) -> None:
    file = await save(store, bytes(300_000))
    async with store.open_file(file.name) as audio:
        os.truncate(directory / file.name, 100_000)
        with pytest.raises(StoreError, match="shorter"):
            async for _ in audio.read(0, 300_000):
                pass


async def test_what_an_open_file_tells_is_of_the_file_that_was_opened(
    store: FilesystemAudioStore, directory: Path
) -> None:
    file = await save(store, b"first")
    async with store.open_file(file.name) as audio:
        (directory / "new").write_bytes(b"another, longer")
        (directory / "new").rename(directory / file.name)
        assert audio.info == file
        assert [block async for block in audio.read(0, 5)] == [b"first"]
    async with store.open_file(file.name) as audio:
        assert audio.info.version != file.version


PLANTS: dict[str, Callable[[Path], None]] = {
    "link to a file": lambda path: path.symlink_to("/etc/passwd"),
    "dangling link": lambda path: path.symlink_to("nowhere"),
    "pipe": os.mkfifo,
    "socket": lambda path: os.mknod(path, stat.S_IFSOCK | 0o600),
    "directory": lambda path: path.mkdir(),
}


@pytest.fixture(params=PLANTS.keys())
def planted(request: pytest.FixtureRequest, directory: Path) -> Iterator[Path]:
    """Something that bears a valid name, but is no stored audio; it must still be there after."""
    path = directory / "planted_000007.wav"
    PLANTS[request.param](path)
    yield path
    path.lstat()


async def test_only_regular_files_are_stored_audio(
    store: FilesystemAudioStore, planted: Path
) -> None:
    with pytest.raises(StoredAudioNotFoundError):
        async with asyncio.timeout(5), store.open_file(planted.name):
            pass
    with pytest.raises(StoredAudioNotFoundError):
        await store.delete(planted.name)
    assert await store.list() == []


@pytest.mark.integration
async def test_opening_leaves_foreign_files_alone(
    directory: Path, clock: FakeClock, dead_pid: int
) -> None:
    names = {
        "notes.txt",
        ".hidden",
        ".tmp-",
        ".tmp-abc",
        f".tmp-{dead_pid}",
        f".tmp-{dead_pid}-0123",
        f".tmp-{dead_pid}-0123456789abcdef.wav",
        ".tmp-99999999999999999999-0123456789abcdef",
        f"tmp-{dead_pid}-0123456789abcdef",
        ".notes.captions",
        ".speech_1.wav.captions",
        "speech_000001.wav.captions",
        ".speech_000001.wav.captions.bak",
    }
    for name in names:
        plant(directory / name, clock, age_s=1e6)
    link = directory / f".tmp-{dead_pid}-00000000000000aa"
    link.symlink_to(directory / "notes.txt")
    (directory / f".tmp-{dead_pid}-00000000000000bb").mkdir()
    before = files_in(directory)
    await FilesystemAudioStore(directory, StoreLimits(), clock).open()
    assert files_in(directory) == before


def plant(path: Path, clock: FakeClock, age_s: float) -> Path:
    path.write_bytes(b"planted")
    time = clock.now().timestamp() - age_s
    os.utime(path, (time, time))
    return path


# Cleaning up


async def test_cleaning_up_leaves_foreign_files_alone(directory: Path, clock: FakeClock) -> None:
    names = {
        "notes.txt",
        "000001.wav",
        "speech_1.wav",
        "speech_000001.txt",
        "speech_000001.wav.bak",
    }
    for name in names:
        plant(directory / name, clock, age_s=1e6)
    (directory / "folder_000001.wav").mkdir()
    (directory / "link_000001.wav").symlink_to(directory / "notes.txt")
    plant(directory / "speech_000009.wav", clock, age_s=1e6)
    before = files_in(directory)
    store = FilesystemAudioStore(directory, StoreLimits(max_age_s=1, max_files=1), clock)
    await store.open()
    assert await store.clean_up() == 1
    assert files_in(directory) == before - {"speech_000009.wav"}


async def test_the_oldest_is_told_by_time_before_number(directory: Path, clock: FakeClock) -> None:
    plant(directory / "speech_000001.wav", clock, age_s=-100)
    plant(directory / "speech_000002.wav", clock, age_s=100)
    store = FilesystemAudioStore(directory, StoreLimits(max_files=1, max_age_s=1000), clock)
    await store.open()
    assert await store.clean_up() == 1
    assert files_in(directory) == {"speech_000001.wav"}


async def test_only_one_sweeper_works_on_a_directory(directory: Path, clock: FakeClock) -> None:
    store = FilesystemAudioStore(directory, StoreLimits(max_files=1), clock)
    await store.open()
    for _ in range(3):
        await save(store)
    with (directory / ".lock").open("w") as other_sweeper:
        fcntl.flock(other_sweeper, fcntl.LOCK_EX)
        assert await store.clean_up() == 0
        assert len(await store.list()) == 3
    assert await store.clean_up() == 2


async def test_sweepers_at_once_remove_each_file_once(directory: Path, clock: FakeClock) -> None:
    limits = StoreLimits(max_files=10)
    stores = [FilesystemAudioStore(directory, limits, clock) for _ in range(4)]
    for store in stores:
        await store.open()
    for _ in range(50):
        await save(stores[0])
    assert sum(await asyncio.gather(*(store.clean_up() for store in stores))) == 40
    assert [file.name for file in await stores[1].list()] == [
        f"speech_{number:06d}.wav" for number in range(41, 51)
    ]


async def test_saving_goes_on_while_a_sweeper_works(
    store: FilesystemAudioStore, directory: Path
) -> None:
    with (directory / ".lock").open("w") as sweeper:
        fcntl.flock(sweeper, fcntl.LOCK_EX)
        assert (await save(store)).name == "speech_000001.wav"


# Faults


@pytest.fixture
def max_file_bytes() -> Iterator[int]:
    """No file of this process may grow beyond this many bytes."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, hard))
    yield 100_000
    resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


async def test_a_write_that_stops_short_is_carried_on_and_its_error_keeps_nothing(
    store: FilesystemAudioStore, directory: Path, max_file_bytes: int
) -> None:
    """The system writes up to the limit, reports fewer bytes than asked for, then an error."""
    kept = await save(store, bytes(max_file_bytes))
    with pytest.raises(StoreError, match="File too large") as caught:
        await save(store, bytes(max_file_bytes + 1))
    assert str(directory) not in str(caught.value)
    assert isinstance(caught.value.__cause__, OSError)
    assert files_in(directory) == {kept.name}


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EDQUOT])
def test_no_space_and_no_quota_both_mean_that_the_store_is_full(number: int) -> None:
    error = files._as_store_error(OSError(number, os.strerror(number), "/secret/path"))
    assert isinstance(error, StoreFullError)
    assert "/secret" not in str(error)


async def test_a_device_without_space_is_a_full_store() -> None:
    fd = os.open("/dev/full", os.O_WRONLY)
    try:
        with pytest.raises(StoreFullError):
            await files.in_thread(files.write_all, fd, b"sound", 0)
    finally:
        os.close(fd)


FILL_A_SMALL_DISK = """
import asyncio, os, sys
from pathlib import Path
from app.adapters.audio_store.filesystem import FilesystemAudioStore
from app.adapters.audio_store.rules import StoreLimits, directory_of
from app.adapters.clock import SystemClock
from app.domain.audio import AudioFormat
from app.domain.errors import StoreFullError

async def parts():
    yield bytes(300_000)

async def main(directory):
    store = FilesystemAudioStore(directory, StoreLimits(), SystemClock())
    await store.open()
    try:
        while True:
            await store.save(parts(), stem="speech", audio_format=AudioFormat.WAV)
    except StoreFullError as error:
        assert str(directory) not in str(error)
    names = set(os.listdir(directory)) - {".sequence"}
    assert names == {f"speech_{n:06d}.wav" for n in (1, 2, 3)}, names
    await store.delete("speech_000001.wav")
    file = await store.save(parts(), stem="speech", audio_format=AudioFormat.WAV)
    assert file.name == "speech_000004.wav", file

asyncio.run(main(Path(sys.argv[1])))
print("held")
"""


@pytest.mark.integration
def test_a_full_disk_keeps_nothing_of_the_file_that_did_not_fit(directory: Path) -> None:
    """On a real file system of 1 MB, where the machine lets us mount one."""
    unshare = ["unshare", "--user", "--map-root-user", "--mount"]
    mount = f"mount -t tmpfs -o size=1m tmpfs {directory}"
    if (
        shutil.which("unshare") is None
        or subprocess.run(
            [*unshare, "sh", "-c", mount], capture_output=True, check=False
        ).returncode
    ):
        pytest.skip("needs a mount namespace")
    script = f'{mount} && exec "$0" -c "$1" {directory}'
    run = subprocess.run(
        [*unshare, "sh", "-c", script, sys.executable, FILL_A_SMALL_DISK],
        cwd=PROJECT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert (run.stdout, run.stderr) == ("held\n", "")


SAVE_ONCE = """
import asyncio, sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from app.adapters.audio_store import files
from app.adapters.audio_store.filesystem import FilesystemAudioStore
from app.adapters.audio_store.rules import StoreLimits, directory_of
from app.adapters.clock import SystemClock
from app.domain.audio import AudioFormat
from app.domain.segment import Caption
from app.domain.errors import StoreError

async def parts():
    yield b"sound"

async def main(directory, num_captions):
    # One thread, because strace counts the calls of each thread by itself.
    files._threads = ThreadPoolExecutor(max_workers=1)
    store = FilesystemAudioStore(directory, StoreLimits(), SystemClock())
    try:
        await store.open()
        await store.save(
            parts(),
            stem="speech",
            audio_format=AudioFormat.WAV,
            captions=lambda: [Caption(i, i, i + 1, "Hello.") for i in range(int(num_captions))],
        )
    except StoreError as error:
        print(f"{type(error).__name__}: {error}")

asyncio.run(main(Path(sys.argv[1]), sys.argv[2]))
"""

RENAME = "/rename.*"
"""Which of the calls of that family is used depends on the machine."""

FAILED_IO = "StoreError: The store of finished audio failed: Input/output error."
FULL = "StoreFullError: No space is left in the store of finished audio."
CANNOT_LINK = "StoreError: The file system of the store cannot make hard links."


@pytest.mark.parametrize(
    ("fault", "message"),
    [
        pytest.param("pwrite64:error=ENOSPC:when=1", FULL, id="content does not fit"),
        pytest.param("pwrite64:error=EDQUOT:when=1", FULL, id="quota is used up"),
        pytest.param("pwrite64:error=ENOSPC:when=2", FULL, id="hint does not fit"),
        pytest.param("pwrite64:retval=1:when=1", "", id="short write of the content"),
        pytest.param("pwrite64:retval=1:when=2", "", id="short write of the hint"),
        pytest.param("fsync:error=EIO:when=1", FAILED_IO, id="file is not synced"),
        pytest.param("fsync:error=EIO:when=2", FAILED_IO, id="directory is not synced"),
        pytest.param("pwrite64:error=EINTR:when=1", "", id="write is interrupted"),
        pytest.param("fsync:error=EINTR:when=1", "", id="sync is interrupted"),
        pytest.param("linkat:error=EIO:when=1", FAILED_IO, id="link fails"),
        pytest.param("linkat:error=EPERM:when=1", CANNOT_LINK, id="no hard links, vfat"),
        pytest.param("linkat:error=EOPNOTSUPP:when=1", CANNOT_LINK, id="no hard links, network"),
        pytest.param("unlinkat:error=EIO:when=1", FAILED_IO, id="old captions stay"),
        pytest.param("unlinkat:error=EIO:when=2", FAILED_IO, id="temporary file stays at first"),
    ],
)
@pytest.mark.integration
def test_a_call_of_the_system_that_fails_is_told_and_keeps_nothing(
    directory: Path, fault: str, message: str
) -> None:
    assert save_once_under(fault, directory, num_captions=0) == message
    assert files_in(directory) == (set() if message else {"speech_000001.wav"})


@pytest.mark.parametrize(
    ("fault", "message"),
    [
        pytest.param("pwrite64:error=ENOSPC:when=2", FULL, id="captions do not fit"),
        pytest.param("pwrite64:error=EIO:when=2", FAILED_IO, id="captions are not written"),
        pytest.param("pwrite64:error=ENOSPC:when=3", FULL, id="hint does not fit"),
        pytest.param("pwrite64:retval=1:when=2", "", id="short write of the captions"),
        pytest.param("fsync:error=EIO:when=1", FAILED_IO, id="audio is not synced"),
        pytest.param("fsync:error=EIO:when=2", FAILED_IO, id="captions are not synced"),
        pytest.param("fsync:error=EIO:when=3", FAILED_IO, id="directory is not synced"),
        pytest.param("linkat:error=EIO:when=1", FAILED_IO, id="link fails"),
        pytest.param(f"{RENAME}:error=EIO:when=1", FAILED_IO, id="captions are not put in place"),
        pytest.param(f"{RENAME}:error=ENOSPC:when=1", FULL, id="no space for their name"),
        pytest.param("unlinkat:error=EIO:when=1", FAILED_IO, id="temporary file stays at first"),
    ],
)
@pytest.mark.integration
def test_a_call_that_fails_keeps_neither_audio_nor_captions(
    directory: Path, fault: str, message: str
) -> None:
    assert save_once_under(fault, directory, num_captions=3) == message
    name = "speech_000001.wav"
    assert files_in(directory) == (set() if message else {name, sidecar_of(name)})


@pytest.mark.parametrize("call", ["flock", "fsync", "pwrite64", "linkat", RENAME, "unlinkat"])
@pytest.mark.integration
def test_no_failing_call_at_any_point_leaves_half_a_file(directory: Path, call: str) -> None:
    """Every call of a save fails once, also those that only tidy up; what shows is whole."""
    for number in range(1, 9):
        store = directory / str(number)
        store.mkdir()
        message = save_once_under(f"{call}:error=EIO:when={number}", store, num_captions=3)
        assert message in {"", FAILED_IO}
        names = audio_in(store)
        assert len(names) == (0 if message else 1)
        sidecars = {name for name in files_in(store) if name.endswith(".captions")}
        assert sidecars == set(map(sidecar_of, names))
        assert {(store / name).read_bytes() for name in names} <= {b"sound"}
        if not message and not [name for name in files_in(store) if name.startswith(".tmp-")]:
            break
    else:
        pytest.fail("more calls than were tried")


def save_once_under(fault: str, directory: Path, *, num_captions: int) -> str:
    """What one save prints while strace makes one of its calls fail."""
    strace = ["strace", "-f", "-qq", "-o", "/dev/null", "-e", f"inject={fault}"]
    if (
        shutil.which("strace") is None
        or subprocess.run([*strace, "true"], capture_output=True, check=False).returncode
    ):
        pytest.skip("needs strace")
    trace = f"trace={fault.partition(':')[0]}"
    python = [sys.executable, "-c", SAVE_ONCE, str(directory), str(num_captions)]
    run = subprocess.run(
        [*strace, "-e", trace, *python], cwd=PROJECT, capture_output=True, text=True, check=False
    )
    assert run.stderr == ""
    return run.stdout.strip()


async def test_running_out_of_descriptors_is_an_error_that_passes(
    store: FilesystemAudioStore, directory: Path
) -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    await save(store)
    resource.setrlimit(resource.RLIMIT_NOFILE, (lowest_free_descriptor(), hard))
    try:
        with pytest.raises(StoreError, match="Too many open files"):
            await save(store)
        with pytest.raises(StoreError, match="Too many open files"):
            await load(store, "speech_000001.wav")
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    assert (await save(store)).name == "speech_000002.wav"
    assert len(files_in(directory)) == 2


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write anywhere")
async def test_a_directory_that_cannot_be_written_is_found_when_opening(
    directory: Path, clock: FakeClock
) -> None:
    Path.chmod(directory, 0o550)
    with pytest.raises(StoreError, match="Permission denied"):
        await FilesystemAudioStore(directory, StoreLimits(), clock).open()


async def test_a_lock_that_is_a_link_is_not_followed(
    store: FilesystemAudioStore, directory: Path, tmp_path: Path
) -> None:
    (directory / ".sequence").unlink()
    (directory / ".sequence").symlink_to(tmp_path / "victim")
    with pytest.raises(StoreError):
        await save(store)
    assert not (tmp_path / "victim").exists()


async def test_a_file_swapped_for_a_link_is_not_read(
    store: FilesystemAudioStore, directory: Path
) -> None:
    file = await save(store)
    (directory / file.name).unlink()
    (directory / file.name).symlink_to("/etc/passwd")
    with pytest.raises(StoredAudioNotFoundError):
        await load(store, file.name)


async def test_a_link_to_itself_is_nobody_s_directory(directory: Path, clock: FakeClock) -> None:
    (directory / "loop").symlink_to("loop")
    (directory / directory_of("loop")).symlink_to(directory_of("loop"))
    stores = FilesystemAudioStores(directory, StoreLimits(), clock)
    assert await stores.owners() == [None]
