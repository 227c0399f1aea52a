"""Graphs are built once, found again, never half there, and never too many."""

import os
import threading
from collections.abc import Callable
from pathlib import Path

import msgspec
import pytest

from app.adapters.speech.soprano.checkpoint.checkpoint import Checkpoint, read_checkpoint
from app.adapters.speech.soprano.onnx import graph_cache
from app.adapters.speech.soprano.onnx.graph import Precision, int8_here
from app.adapters.speech.soprano.onnx.graph_cache import GraphCache
from app.domain.errors import ModelLoadError
from tests.fakes.clock import START, FakeClock
from tests.small_checkpoint import write_small_checkpoint


class Rig:
    """A cache that is filled with little files, and counts how often."""

    def __init__(self, tmp_path: Path, max_bytes: int = 0) -> None:
        self.clock = FakeClock()
        self.directory = tmp_path / "graphs"
        self.cache = GraphCache(self.directory, max_bytes, self.clock, self.build)
        self.num_built = 0

    def build(self, _: Checkpoint, __: Precision, directory: Path) -> None:
        self.num_built += 1
        (directory / "a.onnx").write_bytes(b"graph" * 200)

    def entries(self) -> set[Path]:
        return {path for path in self.directory.iterdir() if path.name != "digests.json"}

    def get(self, checkpoint: Checkpoint, precision: Precision = "fp32") -> Path:
        return self.cache.get(checkpoint, precision)


@pytest.fixture
def checkpoint(tmp_path: Path) -> Checkpoint:
    return read_checkpoint(write_small_checkpoint(tmp_path / "checkpoint"))


@pytest.fixture
def rig(tmp_path: Path) -> Rig:
    return Rig(tmp_path)


def test_graphs_are_built_once_for_each_precision(rig: Rig, checkpoint: Checkpoint) -> None:
    paths = {rig.get(checkpoint, "fp32"), rig.get(checkpoint, "fp32"), rig.get(checkpoint, "int8")}
    assert (len(paths), rig.num_built) == (2, 2)


def test_other_weights_are_other_graphs(rig: Rig, checkpoint: Checkpoint) -> None:
    before = rig.get(checkpoint)
    weights = checkpoint.directory / "model.safetensors"
    content = bytearray(weights.read_bytes())
    content[-1] ^= 1
    weights.write_bytes(content)
    assert rig.get(checkpoint) != before


def test_another_version_of_our_graphs_is_built_anew(
    rig: Rig, checkpoint: Checkpoint, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = rig.get(checkpoint)
    monkeypatch.setattr(graph_cache, "GRAPH_VERSION", 10_000)
    assert rig.get(checkpoint) != before


@pytest.mark.parametrize("damage", ["shorter", "other", "missing", "manifest", "empty manifest"])
def test_damaged_graphs_are_built_anew(rig: Rig, checkpoint: Checkpoint, damage: str) -> None:
    entry = rig.get(checkpoint)
    graph = entry / "a.onnx"
    match damage:
        case "shorter":
            graph.write_bytes(graph.read_bytes()[:-1])
        case "other":
            graph.write_bytes(b"x" + graph.read_bytes()[1:])
        case "missing":
            graph.unlink()
        case "manifest":
            (entry / "manifest.json").unlink()
        case _:
            (entry / "manifest.json").write_text("{}")
    assert rig.get(checkpoint) == entry
    assert rig.num_built == 2
    assert graph.read_bytes() == b"graph" * 200


def test_weights_that_have_not_changed_are_not_read_to_find_their_graphs(
    rig: Rig, checkpoint: Checkpoint, monkeypatch: pytest.MonkeyPatch
) -> None:
    read: list[str] = []

    def hash_file(path: Path) -> str:
        read.append(path.name)
        return hash_of(path)

    hash_of = graph_cache._hash
    monkeypatch.setattr(graph_cache, "_hash", hash_file)
    entry = rig.get(checkpoint)
    assert "model.safetensors" in read
    read.clear()
    assert rig.get(checkpoint) == entry
    assert read == []
    (rig.directory / "digests.json").write_bytes(b"damaged")
    assert rig.get(checkpoint) == entry
    os.utime(checkpoint.directory / "model.safetensors", ns=(1, 1))
    assert rig.get(checkpoint) == entry  # the same content
    assert read.count("model.safetensors") == 2


def test_many_other_weights_do_not_push_out_what_is_used_again(
    rig: Rig, checkpoint: Checkpoint
) -> None:
    weights = checkpoint.directory / "model.safetensors"
    content = bytearray(weights.read_bytes())
    for number in range(105):
        content[-1] = number
        weights.write_bytes(content)
        rig.get(checkpoint)
    assert len(msgspec.json.decode((rig.directory / "digests.json").read_bytes())) == 100


def test_a_build_that_fails_leaves_nothing(rig: Rig, checkpoint: Checkpoint) -> None:
    def fail(_: Checkpoint, __: Precision, directory: Path) -> None:
        (directory / "half").write_bytes(b"x")
        raise OSError(28, "No space left on device")

    with pytest.raises(ModelLoadError, match=r"No space left on device.*model\.graph_directory"):
        GraphCache(rig.directory, 0, rig.clock, fail).get(checkpoint, "fp32")
    assert rig.entries() == set()


def test_what_was_used_longest_ago_goes_first_and_what_is_not_ours_stays(
    tmp_path: Path, checkpoint: Checkpoint
) -> None:
    rig = Rig(tmp_path, max_bytes=2_500)
    rig.directory.mkdir()
    old, older = rig.directory / f"fp32-{'0' * 32}", rig.directory / f"int8-{'1' * 32}"
    foreign = rig.directory / "my-checkpoints"
    for path, age_s in ((old, 10.0), (older, 20.0), (foreign, 30.0)):
        path.mkdir()
        (path / "a.onnx").write_bytes(b"x" * 1_000)
        os.utime(path, (START.timestamp() - age_s,) * 2)
    kept = rig.get(checkpoint)
    assert rig.entries() == {kept, old, foreign}


def test_the_graphs_in_use_stay_even_if_they_are_too_large(
    tmp_path: Path, checkpoint: Checkpoint
) -> None:
    rig = Rig(tmp_path, max_bytes=1)
    assert rig.get(checkpoint).exists()


def test_what_a_crash_left_is_removed_and_a_build_that_goes_on_is_not(
    rig: Rig, checkpoint: Checkpoint
) -> None:
    rig.directory.mkdir()
    for name, age_s in ((".building-left", 7_200.0), (".building-busy", 60.0)):
        (rig.directory / name).mkdir()
        os.utime(rig.directory / name, (START.timestamp() - age_s,) * 2)
    rig.get(checkpoint)
    assert not (rig.directory / ".building-left").exists()
    assert (rig.directory / ".building-busy").exists()


def test_what_another_process_moves_meanwhile_is_passed_over(
    rig: Rig, checkpoint: Checkpoint, monkeypatch: pytest.MonkeyPatch
) -> None:
    entry = rig.get(checkpoint)
    gone = [rig.directory / ".building-gone", rig.directory / f"fp32-{'0' * 32}"]
    found = [*gone, *rig.directory.iterdir()]
    monkeypatch.setattr(Path, "iterdir", lambda _: iter(found))
    assert rig.get(checkpoint) == entry


def test_two_builds_at_once_give_one_whole_entry(rig: Rig, checkpoint: Checkpoint) -> None:
    together = threading.Barrier(2, timeout=10)
    results: list[Path] = []

    def build(checkpoint: Checkpoint, precision: Precision, directory: Path) -> None:
        rig.build(checkpoint, precision, directory)
        together.wait()

    cache = GraphCache(rig.directory, 0, rig.clock, build)

    def get() -> None:
        results.append(cache.get(checkpoint, "fp32"))

    threads = [threading.Thread(target=get) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(set(results)) == 1
    assert (results[0] / "a.onnx").read_bytes() == b"graph" * 200
    assert rig.entries() == {results[0]}


def test_a_directory_that_cannot_be_made_is_one_line(
    tmp_path: Path, checkpoint: Checkpoint
) -> None:
    (tmp_path / "graphs").write_text("a file")
    with pytest.raises(ModelLoadError, match="cannot be kept in"):
        Rig(tmp_path).get(checkpoint)


def test_every_file_of_the_real_build_is_in_the_manifest(
    make_checkpoint: Callable[..., Path],
) -> None:
    from tests.onnx_sessions import graphs_of

    entry = graphs_of(make_checkpoint(), "int8")
    names = {path.name for path in entry.iterdir()} - {"manifest.json"}
    graphs = ["language_model", "vocoder", *["decode"] * int8_here().has_fast_blocks]
    assert names == {
        *(f"{graph}.onnx{suffix}" for graph in graphs for suffix in ("", ".data")),
        "window.npy",
    }
    assert all(f'"{name}"' in (entry / "manifest.json").read_text() for name in names)
