"""Files of a checkpoint, opened and decoded; whatever fails is a CheckpointError naming the file.

Knows nothing of what the files should hold. Tensors are read without torch and without safetensors'
library, which has no bfloat16 for numpy. The format: the length of the header as 8 bytes,
little-endian, the header as JSON, then the numbers of all tensors without gaps
(github.com/huggingface/safetensors, README).

A `.pth` file, as `torch.save` writes it, is a ZIP archive with nothing compressed: `NAME/data.pkl`
describes the tensors, `NAME/data/KEY` are the numbers. What the description may ask for is decided
in restricted_pickle.py.
"""

import math
import os
import reprlib
import stat
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Any, BinaryIO, Final, TypeVar

import msgspec
import numpy as np
from numpy.lib.stride_tricks import as_strided
from numpy.typing import NDArray

from app.adapters.speech.soprano.checkpoint.restricted_pickle import (
    RefusedPickleError,
    Storage,
    StoredTensor,
    run_tensor_program,
)
from app.adapters.speech.soprano.checkpoint.shapes import NUMPY_DTYPES, TensorInfo
from app.domain.errors import CheckpointError

T = TypeVar("T")

# The largest JSON file of a checkpoint is a tokenizer of a few megabytes.
MAX_JSON_BYTES: Final = 64 * 1024 * 1024

# Start of a file that git left in the place of a large one.
_LFS_POINTER: Final = b"version https://git-lfs"


def mismatch(path: Path, what: str, expected: object, found: object) -> CheckpointError:
    """The error for a file that can be read and holds something else."""
    seen = found if isinstance(found, str) else reprlib.repr(found)
    return CheckpointError(f"{path}: {what}: expected {expected}, found {seen}.")


@contextmanager
def opened(path: Path) -> Iterator[BinaryIO]:
    """The file, open for reading at its start.

    Raises CheckpointError if it is missing, empty or no regular file, or cannot be read.
    """
    try:
        if not stat.S_ISREG(path.stat().st_mode):  # opening a named pipe would wait for its writer
            raise mismatch(path, "kind", "a regular file", "something else")
        with path.open("rb") as file:
            start = file.read(len(_LFS_POINTER))
            if not start:
                raise CheckpointError(f"{path}: the file is empty.")
            if start == _LFS_POINTER:
                raise CheckpointError(
                    f"{path} is a Git LFS pointer: fetch the file itself (git lfs pull)."
                )
            file.seek(0)
            yield file
    except FileNotFoundError as error:
        raise CheckpointError(f"{path}: the file is missing.") from error
    except OSError as error:
        raise unreadable(path, error) from error


def unreadable(path: Path, error: OSError) -> CheckpointError:
    """The error for what the operating system refuses."""
    reason = os.strerror(error.errno) if error.errno else type(error).__name__
    return CheckpointError(f"{path} cannot be read: {reason}.")


def read_json(path: Path, kind: type[T]) -> T:
    """The content of a JSON file as `kind`; raises CheckpointError."""
    with opened(path) as file:
        content = file.read(MAX_JSON_BYTES + 1)
    if len(content) > MAX_JSON_BYTES:
        raise mismatch(path, "size", f"at most {MAX_JSON_BYTES} bytes", "more")
    return decode_json(path, content, kind)


def decode_json(path: Path, content: bytes | msgspec.Raw, kind: type[T]) -> T:
    """JSON that is in `path`, as `kind`; raises CheckpointError."""
    try:
        # As text: fields that nobody asks for are skipped and would not be checked for UTF-8.
        return msgspec.json.decode(bytes(content).decode(), type=kind)
    except msgspec.ValidationError as error:
        raise CheckpointError(f"{path}: unexpected content: {error}.") from error
    except (ValueError, RecursionError) as error:
        raise CheckpointError(f"{path} is truncated or damaged: {error}.") from error


MAX_HEADER_BYTES: Final = 100_000_000  # as in the format's own reader
_LENGTH_BYTES: Final = 8

_Count = Annotated[int, msgspec.Meta(ge=0)]


class _Entry(msgspec.Struct, frozen=True):
    """A tensor in the header; offsets in bytes, from the end of the header."""

    dtype: str
    shape: tuple[_Count, ...]
    data_offsets: tuple[_Count, _Count]


def read_safetensors_shapes(path: Path) -> dict[str, TensorInfo]:
    """The tensors by name; their numbers stay on disk.

    Raises CheckpointError if the size, the header and the offsets do not agree.
    """
    with opened(path) as file:
        entries, _ = _read_entries(path, file)
    return {name: TensorInfo(entry.dtype, entry.shape) for name, entry in entries.items()}


def load_safetensors(path: Path) -> dict[str, NDArray[Any]]:
    """The tensors with their numbers; bfloat16 becomes float32. Raises CheckpointError."""
    with opened(path) as file:
        entries, data_start = _read_entries(path, file)
        tensors = {}
        for name, entry in entries.items():
            start, end = entry.data_offsets
            file.seek(data_start + start)
            numbers = decode_numbers(file.read(end - start), entry.dtype)
            tensors[name] = numbers.reshape(entry.shape)
        return tensors


def _read_entries(path: Path, file: BinaryIO) -> tuple[dict[str, _Entry], int]:
    """The header, checked, and where the numbers begin."""
    file_bytes = os.fstat(file.fileno()).st_size
    header_bytes = int.from_bytes(file.read(_LENGTH_BYTES), "little")
    if header_bytes > MAX_HEADER_BYTES:
        raise mismatch(path, "kind", "a safetensors file", f"a header of {header_bytes} bytes")
    data_start = _LENGTH_BYTES + header_bytes
    if file_bytes < data_start:
        expected = f"a header of {header_bytes} bytes"
        raise mismatch(path, "truncated", expected, f"{file_bytes} bytes in all")
    raw = decode_json(path, file.read(header_bytes), dict[str, msgspec.Raw])
    raw.pop("__metadata__", None)
    entries = {name: decode_json(path, entry, _Entry) for name, entry in raw.items()}
    # The tensors follow each other and fill the file.
    position = 0
    for name, entry in sorted(entries.items(), key=lambda item: item[1].data_offsets):
        start, end = entry.data_offsets
        if entry.dtype not in NUMPY_DTYPES:
            expected = f"one of {', '.join(NUMPY_DTYPES)}"
            raise mismatch(path, f"dtype of {name!r}", expected, entry.dtype)
        num_bytes = math.prod(entry.shape) * NUMPY_DTYPES[entry.dtype].itemsize
        if (start, end) != (position, position + num_bytes):
            expected = f"bytes {position} to {position + num_bytes}"
            raise mismatch(path, f"place of {name!r}", expected, f"{start} to {end}")
        position = end
    data_bytes = file_bytes - data_start
    if position != data_bytes:
        what = "truncated" if data_bytes < position else "size"
        raise mismatch(path, what, f"{position} bytes of tensors", f"{data_bytes}")
    if not entries:
        raise CheckpointError(f"{path} holds no tensors.")
    return entries, data_start


def decode_numbers(content: bytes | memoryview, dtype: str) -> NDArray[Any]:
    """The little-endian numbers in `content`, (num_items,); bfloat16 becomes float32."""
    numbers = np.frombuffer(content, NUMPY_DTYPES[dtype])
    if dtype == "BF16":  # the upper half of a float32
        return (numbers.astype(np.uint32) << 16).view(np.float32)
    return numbers


MAX_PROGRAM_BYTES: Final = 16 * 1024 * 1024  # Soprano's description of its tensors has 11 kB
_PROGRAM: Final = "data.pkl"


def read_torch_shapes(path: Path) -> dict[str, TensorInfo]:
    """The tensors by name; their numbers are not read, only that they are there is checked.

    Raises CheckpointError if the file is damaged or holds anything but tensors.
    """
    with _opened_archive(path) as archive:
        tensors = archive.tensors()
        for tensor in tensors.values():
            archive.check(tensor.storage)
    return {name: TensorInfo(one.storage.dtype, one.shape) for name, one in tensors.items()}


def load_torch(path: Path) -> dict[str, NDArray[Any]]:
    """The tensors with their numbers, in arrays of their own; bfloat16 becomes float32.

    Raises CheckpointError, also where a checksum is wrong.
    """
    with _opened_archive(path) as archive:
        return {name: archive.load(tensor) for name, tensor in archive.tensors().items()}


@contextmanager
def _opened_archive(path: Path) -> Iterator["_TensorArchive"]:
    with opened(path) as file:
        try:
            if not zipfile.is_zipfile(file):
                expected = "a whole ZIP archive as torch.save writes it"
                raise mismatch(path, "truncated or damaged", expected, "none")  # noqa: TRY301
            with zipfile.ZipFile(file) as archive:
                yield _TensorArchive(path, archive)
        except (CheckpointError, OSError):
            raise
        except RefusedPickleError as error:
            raise CheckpointError(f"{path} holds more than tensors, or none: {error}.") from error
        except Exception as error:  # zipfile raises almost anything on a damaged archive
            raise CheckpointError(f"{path} is damaged: {type(error).__name__}: {error}.") from error


class _TensorArchive:
    """An open archive."""

    def __init__(self, path: Path, archive: zipfile.ZipFile) -> None:
        self._path = path
        self._archive = archive
        programs = [name for name in archive.namelist() if name.endswith(f"/{_PROGRAM}")]
        if len(programs) != 1:
            raise mismatch(path, "content", f"one {_PROGRAM}", len(programs))
        # The directory within the archive, named after the file when it was saved.
        self._root = programs[0].removesuffix(_PROGRAM)

    def tensors(self) -> dict[str, StoredTensor]:
        # Before torch 2.1 the byte order was not written.
        if f"{self._root}byteorder" in self._archive.namelist():
            order = self._archive.read(self._entry("byteorder"))
            if order != b"little":
                raise mismatch(self._path, "byte order", "little", order)
        program = self._entry(_PROGRAM)
        if program.file_size > MAX_PROGRAM_BYTES:
            expected = f"at most {MAX_PROGRAM_BYTES} bytes"
            raise mismatch(self._path, _PROGRAM, expected, program.file_size)
        return run_tensor_program(self._archive.read(program))

    def check(self, storage: Storage) -> zipfile.ZipInfo:
        """Whether the numbers are there, and as many as the description says."""
        entry = self._entry(f"data/{storage.key}")
        num_bytes = storage.num_items * NUMPY_DTYPES[storage.dtype].itemsize
        if entry.file_size != num_bytes:
            raise mismatch(self._path, entry.filename, f"{num_bytes} bytes", entry.file_size)
        self._archive.open(entry).close()  # reads its header
        return entry

    def load(self, tensor: StoredTensor) -> NDArray[Any]:
        entry = self.check(tensor.storage)
        numbers = decode_numbers(self._archive.read(entry), tensor.storage.dtype)
        strides = [stride * numbers.itemsize for stride in tensor.strides]
        return as_strided(numbers[tensor.offset :], tensor.shape, strides).copy()

    def _entry(self, name: str) -> zipfile.ZipInfo:
        try:
            entry = self._archive.getinfo(self._root + name)
        except KeyError as error:
            missing = reprlib.repr(name)
            raise CheckpointError(f"{self._path}: {missing} is missing within it.") from error
        if entry.compress_type != zipfile.ZIP_STORED or entry.compress_size != entry.file_size:
            raise mismatch(self._path, entry.filename, "no compression", "compressed")
        return entry
