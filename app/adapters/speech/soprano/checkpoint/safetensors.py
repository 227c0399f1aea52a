"""A safetensors file, read without its library, which has no bfloat16 for numpy.

The format: the length of the header as 8 bytes, little-endian, the header as JSON, then the numbers
of all tensors without gaps (github.com/huggingface/safetensors, README).
"""

import math
import os
from pathlib import Path
from typing import Annotated, Any, BinaryIO, Final

import msgspec
import numpy as np
from numpy.typing import NDArray

from app.adapters.speech.soprano.checkpoint.files import decode_json, mismatch, opened
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


def read_header(path: Path) -> dict[str, TensorInfo]:
    """The tensors by name; their numbers stay on disk.

    Raises:
        CheckpointError: the file cannot be read, or its size, header and offsets do not agree.
    """
    with opened(path) as file:
        entries, _ = _read_entries(path, file)
    return {name: TensorInfo(entry.dtype, entry.shape) for name, entry in entries.items()}


def load_safetensors(path: Path) -> dict[str, NDArray[Any]]:
    """The tensors with their numbers; bfloat16 becomes float32.

    Raises:
        CheckpointError: as `read_header`.
    """
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
    """The numbers in `content`, (num_items,).

    Args:
        content: little-endian.
        dtype: a key of NUMPY_DTYPES; bfloat16, which numpy lacks, becomes float32.
    """
    numbers = np.frombuffer(content, NUMPY_DTYPES[dtype])
    if dtype == "BF16":  # the upper half of a float32
        return (numbers.astype(np.uint32) << 16).view(np.float32)
    return numbers
