"""Graphs on disk, built once from a checkpoint and found again by what they were made of.

An entry is a directory that is there whole or not at all. A file that has changed since it was
hashed is hashed again before it is used; a damaged entry is built again.
"""

import hashlib
import os
import platform
import re
import shutil
import tempfile
from collections.abc import Callable, Sequence
from contextlib import suppress
from importlib.metadata import version
from pathlib import Path
from typing import Final, get_args

import msgspec
import numpy as np
import structlog

from app.adapters.speech.onnx_session import save_packed
from app.adapters.speech.soprano.checkpoint.checkpoint import CONFIG, DECODER, WEIGHTS, Checkpoint
from app.adapters.speech.soprano.checkpoint.shapes import WINDOW_NAME
from app.adapters.speech.soprano.onnx.graph import (
    GraphBuilder,
    Precision,
    int8_here,
    processor_features,
)
from app.adapters.speech.soprano.onnx.model_graphs import LanguageModelGraph, VocoderGraph
from app.domain.errors import ModelLoadError
from app.ports.clock import Clock

GRAPH_VERSION: Final = 5  # to be raised with every change of what is built
LANGUAGE_MODEL_GRAPH: Final = "language_model.onnx"
DECODE_GRAPH: Final = "decode.onnx"  # of steps, where products in blocks are faster for them
VOCODER_GRAPH: Final = "vocoder.onnx"
WINDOW_FILE: Final = "window.npy"

SUPPORTED_KERNELS: Final = (1, 3)  # of the decoder's input: those of the versions 1.1 and 1.0

# Of a directory that is being written; older ones were left by a crash.
MAX_BUILD_AGE_S: Final = 3_600.0

_MANIFEST: Final = "manifest.json"
_BUILDING: Final = ".building-"
_DIGESTS: Final = "digests.json"  # of files, by their state
_MAX_DIGESTS: Final = 100
_NUM_KEY_CHARS: Final = 32
_ENTRY_NAME: Final = re.compile(rf"(?:{'|'.join(get_args(Precision))})-[0-9a-f]{{32}}")

_log = structlog.get_logger(__name__)

# Writes all files of an entry into an empty directory.
BuildGraphs = Callable[[Checkpoint, Precision, Path], None]


def build_graphs(checkpoint: Checkpoint, precision: Precision, directory: Path) -> None:
    """All graphs with packed weights, and the window of the transform.

    Raises CheckpointError, or ModelLoadError for a decoder of an unknown kind.
    """
    kernel_size = checkpoint.decoder.input_kernel_size
    if kernel_size not in SUPPORTED_KERNELS:
        raise ModelLoadError(
            f"The backend onnx knows no decoder with an input kernel {kernel_size}."
        )
    tensors = checkpoint.load_language_model()
    shape = checkpoint.language_model
    _save(LanguageModelGraph(shape, tensors, precision), directory / LANGUAGE_MODEL_GRAPH)
    if precision == "int8" and int8_here().has_fast_blocks:
        path = directory / DECODE_GRAPH
        _save(LanguageModelGraph(shape, tensors, precision, in_blocks=True), path)
    tensors = checkpoint.load_decoder()
    _save(VocoderGraph(checkpoint.decoder, tensors, precision), directory / VOCODER_GRAPH)
    np.save(directory / WINDOW_FILE, tensors[WINDOW_NAME])


def _save(graph: GraphBuilder, path: Path) -> None:
    with tempfile.TemporaryDirectory(dir=path.parent) as directory:
        unpacked = Path(directory, path.name)
        graph.save(unpacked)
        del graph  # its weights
        save_packed(unpacked, path)


class GraphCache:
    """Graphs in one directory, which is made if missing.

    What was used longest ago goes first when all entries have more than `max_bytes`; 0 is no limit.
    """

    def __init__(
        self, directory: Path, max_bytes: int, clock: Clock, build: BuildGraphs = build_graphs
    ) -> None:
        self._directory = directory
        self._max_bytes = max_bytes
        self._clock = clock
        self._build_graphs = build

    def get(self, checkpoint: Checkpoint, precision: Precision) -> Path:
        """The directory with the graphs of a checkpoint, built if it is not there or damaged.

        Raises ModelLoadError if it cannot be written or read, and what the build raises.
        """
        try:
            entry = self._directory / self._key(checkpoint, precision)
            if not self._is_whole(entry):
                # Before the build, not after it: by then another process may have put a whole one.
                shutil.rmtree(entry, ignore_errors=True)
                self._build(entry, checkpoint, precision)
            now = self._clock.now().timestamp()
            os.utime(entry, (now, now))
            self._make_room(entry)
        except OSError as error:
            reason = error.strerror or error
            raise ModelLoadError(
                f"The graphs cannot be kept in {self._directory}: {reason}. "
                "The setting model.graph_directory names another place."
            ) from error
        return entry

    def _key(self, checkpoint: Checkpoint, precision: Precision) -> str:
        """What the graphs of a checkpoint are made of, as the name of a directory."""
        paths = [checkpoint.directory / name for name in (CONFIG, WEIGHTS, DECODER)]
        files = "".join(self._digests(paths))
        # Weights are packed for one kind of processor.
        processor = f"{platform.machine()} {sorted(processor_features())}"
        made_of = f"{files}{GRAPH_VERSION} {precision} {processor} {version('onnxruntime')}"
        digest = hashlib.sha256(made_of.encode()).hexdigest()
        return f"{precision}-{digest[:_NUM_KEY_CHARS]}"

    def _digests(self, paths: Sequence[Path]) -> list[str]:
        """The hashes of files; those that have not changed since they were hashed are remembered.

        To hash the weights and the graphs takes a third of a start.
        """
        memory = self._directory / _DIGESTS
        try:
            known = msgspec.json.decode(memory.read_bytes(), type=dict[str, str])
        except (OSError, msgspec.MsgspecError):
            known = {}
        used: dict[str, str] = {}
        for path in paths:
            # What changes when a file does: which one it is, its size and when it was written.
            status = path.stat()
            times = f"{status.st_mtime_ns} {status.st_ctime_ns}"
            state = f"{status.st_dev} {status.st_ino} {status.st_size} {times}"
            used[state] = known.get(state) or _hash(path)
        if not used.keys() <= known.keys():
            others = {state: digest for state, digest in known.items() if state not in used}
            kept = dict(list((others | used).items())[-_MAX_DIGESTS:])
            with suppress(OSError):  # it is only faster
                self._directory.mkdir(parents=True, exist_ok=True)
                with tempfile.TemporaryDirectory(prefix=_BUILDING, dir=self._directory) as partial:
                    Path(partial, _DIGESTS).write_bytes(msgspec.json.encode(kept))
                    Path(partial, _DIGESTS).replace(memory)
        return list(used.values())

    def _is_whole(self, entry: Path) -> bool:
        if not entry.exists():
            return False
        try:
            manifest = msgspec.json.decode((entry / _MANIFEST).read_bytes(), type=dict[str, str])
            digests = self._digests([entry / name for name in manifest])
            is_whole = bool(manifest) and digests == list(manifest.values())
        except (OSError, msgspec.MsgspecError):
            is_whole = False
        if not is_whole:
            _log.warning("graphs.damaged", path=str(entry))
        return is_whole

    def _build(self, entry: Path, checkpoint: Checkpoint, precision: Precision) -> None:
        started = self._clock.monotonic()
        self._directory.mkdir(parents=True, exist_ok=True)
        partial = Path(tempfile.mkdtemp(prefix=_BUILDING, dir=self._directory))
        try:
            self._build_graphs(checkpoint, precision, partial)
            paths = sorted(partial.iterdir())
            for path in paths:  # whose state is taken for their content, also after a loss of power
                with path.open("rb") as file:
                    os.fsync(file.fileno())
            digests = self._digests(paths)
            manifest = {path.name: one for path, one in zip(paths, digests, strict=True)}
            (partial / _MANIFEST).write_bytes(msgspec.json.encode(manifest))
            partial.rename(entry)
        except OSError:
            if not self._is_whole(entry):  # else another process was first: the same graphs
                raise
        finally:
            shutil.rmtree(partial, ignore_errors=True)
        build_s = round(self._clock.monotonic() - started, 1)
        _log.info("graphs.built", path=str(entry), precision=precision, duration_s=build_s)

    def _make_room(self, kept: Path) -> None:
        """Remove what a crash left, then what was used longest ago until the limit holds.

        What has no name of ours stays, whatever it is.
        """
        now = self._clock.now().timestamp()
        entries: list[tuple[float, int, Path]] = []  # when it was last used, and its bytes
        for path in self._directory.iterdir():
            with suppress(FileNotFoundError):  # another process put it in place, or removed it
                used_at = path.stat().st_mtime
                if _ENTRY_NAME.fullmatch(path.name):
                    size = sum(one.stat().st_size for one in path.rglob("*") if one.is_file())
                    entries.append((used_at, size, path))
                elif path.name.startswith(_BUILDING) and used_at < now - MAX_BUILD_AGE_S:
                    shutil.rmtree(path, ignore_errors=True)
        total = sum(size for _, size, _ in entries)
        for _, size, path in sorted(entries):
            if not self._max_bytes or total <= self._max_bytes:
                return
            if path != kept:
                shutil.rmtree(path, ignore_errors=True)
                total -= size
                _log.info("graphs.removed", path=str(path))


def _hash(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
