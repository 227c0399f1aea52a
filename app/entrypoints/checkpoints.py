"""What the console asks of checkpoints. Names adapters, as bootstrap does, but builds no model."""

from app.adapters.clock.system import SystemClock
from app.adapters.speech.soprano.checkpoint import Checkpoint, read_checkpoint
from app.adapters.speech.soprano.hub import (
    DEFAULT_REPO,
    CachedCheckpoint,
    download,
    list_cached,
    locate,
)

__all__ = [
    "DEFAULT_REPO",
    "CachedCheckpoint",
    "Checkpoint",
    "check_checkpoint",
    "list_checkpoints",
    "pull_checkpoint",
]


def check_checkpoint(model: str, revision: str | None) -> Checkpoint:
    """The checkpoint in a directory or a cached repository, checked; downloads nothing.

    Raises:
        CheckpointError: it is not there, damaged or none.
    """
    return read_checkpoint(locate(model, revision, may_download=False, clock=SystemClock()))


def pull_checkpoint(repo: str, revision: str | None, *, is_forced: bool = False) -> Checkpoint:
    """The newest state of a repository, fetched and checked.

    Raises:
        CheckpointError: it cannot be fetched, or is damaged or no checkpoint.
    """
    clock = SystemClock()
    return read_checkpoint(download(repo, revision, clock=clock, is_forced=is_forced))


def list_checkpoints() -> list[CachedCheckpoint]:
    """What the hub's cache has.

    Raises:
        CheckpointError: the cache cannot be read.
    """
    return list_cached()
