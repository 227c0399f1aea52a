"""Every call of the system that the caches on disk make fails in turn: a cache is only slower."""

import asyncio
from contextlib import suppress
from pathlib import Path

import numpy as np
import pytest

from app.adapters.speech.cache_levels import Chunks, DiskCache
from app.adapters.speech.soprano.checkpoint.checkpoint import Checkpoint, read_checkpoint
from app.adapters.speech.soprano.onnx.graph import Precision
from app.adapters.speech.soprano.onnx.graph_cache import GraphCache
from app.domain.audio import AudioChunk
from app.domain.errors import ModelLoadError
from tests.fakes.clock import FakeClock
from tests.faults.disk import FULL, IO_ERROR, LATE, MAX_CALLS, SHORT, Disk, Fault, open_files
from tests.small_checkpoint import write_small_checkpoint

CHUNKS = (AudioChunk(np.linspace(-1, 1, 100, dtype=np.float32), 16_000),)
KEYS = [f"{number:064x}" for number in range(3)]


class Rig:
    """A cache of speech with room for two entries."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.files = DiskCache(directory, 1_100, FakeClock())

    async def write(self, key: str) -> None:
        self.files.write(key, CHUNKS)
        await asyncio.gather(*self.files._writing)

    async def use(self) -> list[Chunks | None]:
        """A life: open, write more than there is room for, read, close."""
        await self.files.open()
        for key in KEYS:
            await self.write(key)
        found = [await self.files.read(key) for key in KEYS]
        await self.files.close()
        return found

    def num_bytes(self) -> int:
        return sum(path.stat().st_size for path in self.directory.glob("*.speech"))

    def partial(self) -> list[str]:
        return [path.name for path in self.directory.glob(".*.part")]


def is_right(found: Chunks | None) -> bool:
    return found is None or np.array_equal(found[0].samples, CHUNKS[0].samples)


@pytest.mark.parametrize("fault", [IO_ERROR, FULL, LATE], ids=["EIO", "ENOSPC", "late"])
@pytest.mark.parametrize("is_lasting", [False, True], ids=["once", "from then on"])
async def test_speech_on_disk_is_right_or_not_there_whichever_call_fails(
    tmp_path: Path, disk: Disk, fault: Fault, *, is_lasting: bool
) -> None:
    for number in range(MAX_CALLS):
        rig = Rig(tmp_path / str(number))
        with disk.failing(fault, number.__le__ if is_lasting else number.__eq__):
            found = await rig.use()
        where = f"call {number} of {disk.calls}"
        assert not open_files(tmp_path), where
        assert all(map(is_right, found)), where
        later = Rig(rig.directory)
        assert all(map(is_right, await later.use())), where
        assert later.num_bytes() <= 1_100, where
        assert later.partial() == [], where
        if not disk.num_hits:
            assert found[2] is not None
            return
    pytest.fail("more calls than were tried")


async def test_speech_on_disk_is_read_and_written_byte_by_byte(tmp_path: Path, disk: Disk) -> None:
    rig = Rig(tmp_path)
    with disk.failing(SHORT, lambda _: True):
        found = await rig.use()
    assert found[2] is not None
    assert is_right(found[2])
    assert disk.calls.count("write") > 400


@pytest.fixture
def checkpoint(tmp_path: Path) -> Checkpoint:
    return read_checkpoint(write_small_checkpoint(tmp_path / "checkpoint"))


def build(_: Checkpoint, __: Precision, directory: Path) -> None:
    (directory / "a.onnx").write_bytes(b"graph" * 200)


@pytest.mark.parametrize("fault", [IO_ERROR, FULL], ids=["EIO", "ENOSPC"])
async def test_graphs_on_disk_are_whole_or_an_error_whichever_call_fails(
    tmp_path: Path, disk: Disk, checkpoint: Checkpoint, fault: Fault
) -> None:
    for number in range(MAX_CALLS):
        cache = GraphCache(tmp_path / str(number), 0, FakeClock(), build)
        entry: Path | None = None
        with disk.failing(fault, number.__eq__), suppress(ModelLoadError):  # and nothing else
            entry = await asyncio.to_thread(cache.get, checkpoint, "fp32")
        for path in filter(None, [entry, cache.get(checkpoint, "fp32")]):
            assert (path / "a.onnx").read_bytes() == b"graph" * 200
        if not disk.num_hits:
            assert entry is not None
            return
    pytest.fail("more calls than were tried")
