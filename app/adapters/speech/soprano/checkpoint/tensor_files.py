"""The two files of tensors in a checkpoint, read without torch and without safetensors' library.

The library has no bfloat16 for numpy. Its format: the length of the header as 8 bytes,
little-endian, the header as JSON, then the numbers of all tensors without gaps
(github.com/huggingface/safetensors, README).

A `.pth` file, as `torch.save` writes it, is a ZIP archive with nothing compressed: `NAME/data.pkl`
describes the tensors, `NAME/data/KEY` are the numbers. What the description may ask for is decided
in restricted_pickle.py.
"""

import math
import os
import reprlib
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Any, BinaryIO, Final

import msgspec
import numpy as np
from numpy.lib.stride_tricks import as_strided
from numpy.typing import NDArray

from app.adapters.speech.soprano.checkpoint.files import decode_json, mismatch, opened
from app.adapters.speech.soprano.checkpoint.restricted_pickle import (
    RefusedPickleError,
    Storage,
    StoredTensor,
    run_tensor_program,
)
from app.adapters.speech.soprano.checkpoint.shapes import NUMPY_DTYPES, TensorInfo
from app.domain.errors import CheckpointError

MAX_HEADER_BYTES: Final = 100_000_000  # as in the format's own reader
_LENGTH_BYTES: Final = 8
_METADATA: Final = "__metadata__"

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
    raw.pop(_METADATA, None)
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
_BYTE_ORDER: Final = "byteorder"


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
            _check_is_archive(path, file)
            with zipfile.ZipFile(file) as archive:
                yield _TensorArchive(path, archive)
        except (CheckpointError, OSError):
            raise
        except RefusedPickleError as error:
            raise CheckpointError(f"{path} holds more than tensors, or none: {error}.") from error
        except Exception as error:  # zipfile raises almost anything on a damaged archive
            raise CheckpointError(f"{path} is damaged: {type(error).__name__}: {error}.") from error


def _check_is_archive(path: Path, file: BinaryIO) -> None:
    if not zipfile.is_zipfile(file):
        expected = "a whole ZIP archive as torch.save writes it"
        raise mismatch(path, "truncated or damaged", expected, "none")


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
        if f"{self._root}{_BYTE_ORDER}" in self._archive.namelist():
            order = self._archive.read(self._entry(_BYTE_ORDER))
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
            raise CheckpointError(
                f"{self._path}: {reprlib.repr(name)} is missing within it."
            ) from error
        if entry.compress_type != zipfile.ZIP_STORED or entry.compress_size != entry.file_size:
            raise mismatch(self._path, entry.filename, "no compression", "compressed")
        return entry
