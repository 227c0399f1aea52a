"""What commands need beside the server: checkpoints, their graphs, and new keys."""

from pathlib import Path

from app.adapters.api_keys import add_key, describe_entry
from app.adapters.clock import SystemClock
from app.adapters.speech.soprano.checkpoint.checkpoint import Checkpoint, read_checkpoint
from app.adapters.speech.soprano.checkpoint.hub import (
    DEFAULT_REPO,
    CachedCheckpoint,
    download,
    list_cached,
    locate,
)
from app.adapters.speech.soprano.onnx.graph_cache import build_graphs
from app.domain.api_keys import check_name, new_key
from app.entrypoints.bootstrap.instances import build_graph_cache
from app.entrypoints.settings import ModelSettings

__all__ = [
    "DEFAULT_REPO",
    "CachedCheckpoint",
    "Checkpoint",
    "build_checkpoint_graphs",
    "check_checkpoint",
    "list_checkpoints",
    "pull_checkpoint",
]


def check_checkpoint(model: str, revision: str | None) -> Checkpoint:
    """The checkpoint in a directory or a cached repository, checked; downloads nothing.

    Raises:
        CheckpointError: it is not there, damaged or none.
    """
    return _read_whole(locate(model, revision, may_download=False, clock=SystemClock()))


def build_checkpoint_graphs(model: str, settings: ModelSettings) -> Path:
    """Where the graphs of a checkpoint are, for the backend onnx; built if they are not there.

    Raises:
        CheckpointError: the checkpoint is not there, damaged or none.
        ModelLoadError: the graphs cannot be kept.
    """
    checkpoint = check_checkpoint(model, settings.revision or None)
    return build_graphs(checkpoint, settings.precision, build_graph_cache(settings, SystemClock()))


def pull_checkpoint(repo: str, revision: str | None, *, is_forced: bool = False) -> Checkpoint:
    """The newest state of a repository, fetched and checked.

    Raises:
        CheckpointError: it cannot be fetched, or is damaged or no checkpoint.
    """
    clock = SystemClock()
    return _read_whole(download(repo, revision, clock=clock, is_forced=is_forced))


def _read_whole(directory: Path) -> Checkpoint:
    """Also the checksums of the decoder, which are only verified when its numbers are read."""
    checkpoint = read_checkpoint(directory)
    checkpoint.load_decoder()
    return checkpoint


def list_checkpoints() -> list[CachedCheckpoint]:
    """What the hub's cache has.

    Raises:
        CheckpointError: the cache cannot be read.
    """
    return list_cached()


def create_key(name: str) -> tuple[str, str]:
    """A fresh key, and the lines by which a file of keys knows it.

    Raises:
        InvalidKeysError: the name cannot be one.
    """
    check_name(name)
    key = new_key()
    return key, describe_entry(name, key)


def create_key_in(path: Path, name: str) -> str:
    """A fresh key, which the file knows when this returns.

    Raises:
        InvalidKeysError: the file has that name already, or cannot be changed.
    """
    key = new_key()
    add_key(path, name, key)
    return key
