"""Tensors in a `.pth` file as `torch.save` writes it, read without torch.

A ZIP archive, nothing compressed: `NAME/data.pkl` describes the tensors, `NAME/data/KEY` are the
numbers. What the description may ask for is decided in restricted_pickle.py.
"""

import reprlib
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, BinaryIO, Final

from numpy.lib.stride_tricks import as_strided
from numpy.typing import NDArray

from app.adapters.speech.soprano.checkpoint.files import mismatch, opened
from app.adapters.speech.soprano.checkpoint.restricted_pickle import (
    RefusedPickleError,
    Storage,
    StoredTensor,
    run_tensor_program,
)
from app.adapters.speech.soprano.checkpoint.safetensors import decode_numbers
from app.adapters.speech.soprano.checkpoint.shapes import NUMPY_DTYPES, TensorInfo
from app.domain.errors import CheckpointError

MAX_PROGRAM_BYTES: Final = 16 * 1024 * 1024  # Soprano's description of its tensors has 11 kB

_PROGRAM: Final = "data.pkl"
_BYTE_ORDER: Final = "byteorder"


def read_tensor_shapes(path: Path) -> dict[str, TensorInfo]:
    """The tensors by name; their numbers are not read, only that they are there is checked.

    Raises:
        CheckpointError: the file cannot be read, is damaged, or holds anything but tensors.
    """
    with _opened_archive(path) as archive:
        tensors = archive.tensors()
        for tensor in tensors.values():
            archive.check(tensor.storage)
    return {name: TensorInfo(one.storage.dtype, one.shape) for name, one in tensors.items()}


def load_tensors(path: Path) -> dict[str, NDArray[Any]]:
    """The tensors with their numbers, in arrays of their own; bfloat16 becomes float32.

    Raises:
        CheckpointError: as `read_tensor_shapes`, and where a checksum is wrong.
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
