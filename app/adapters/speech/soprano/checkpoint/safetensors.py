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
from app.adapters.speech.soprano.checkpoint.shapes import ITEM_BYTES, TensorInfo
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
        return {name: _load(file, data_start, entry) for name, entry in entries.items()}


def _load(file: BinaryIO, data_start: int, entry: _Entry) -> NDArray[Any]:
    start, end = entry.data_offsets
    file.seek(data_start + start)
    return decode_numbers(file.read(end - start), entry.dtype).reshape(entry.shape)


def _read_entries(path: Path, file: BinaryIO) -> tuple[dict[str, _Entry], int]:
    """The header, checked, and where the numbers begin."""
    file_bytes = os.fstat(file.fileno()).st_size
    header = _read_header(path, file, file_bytes)
    raw = decode_json(path, header, dict[str, msgspec.Raw])
    raw.pop(_METADATA, None)
    entries = {name: decode_json(path, entry, _Entry) for name, entry in raw.items()}
    data_start = _LENGTH_BYTES + len(header)
    _check_layout(path, entries, file_bytes - data_start)
    return entries, data_start


def _read_header(path: Path, file: BinaryIO, file_bytes: int) -> bytes:
    header_bytes = int.from_bytes(file.read(_LENGTH_BYTES), "little")
    if header_bytes > MAX_HEADER_BYTES:
        raise mismatch(path, "kind", "a safetensors file", f"a header of {header_bytes} bytes")
    if file_bytes < _LENGTH_BYTES + header_bytes:
        expected = f"a header of {header_bytes} bytes"
        raise mismatch(path, "truncated", expected, f"{file_bytes} bytes in all")
    return file.read(header_bytes)


def _check_layout(path: Path, entries: dict[str, _Entry], data_bytes: int) -> None:
    """The tensors follow each other and fill the file."""
    position = 0
    for name, entry in sorted(entries.items(), key=lambda item: item[1].data_offsets):
        start, end = entry.data_offsets
        if entry.dtype not in ITEM_BYTES:
            raise mismatch(
                path, f"dtype of {name!r}", f"one of {', '.join(ITEM_BYTES)}", entry.dtype
            )
        num_bytes = math.prod(entry.shape) * ITEM_BYTES[entry.dtype]
        if (start, end) != (position, position + num_bytes):
            expected = f"bytes {position} to {position + num_bytes}"
            raise mismatch(path, f"place of {name!r}", expected, f"{start} to {end}")
        position = end
    if position != data_bytes:
        what = "truncated" if data_bytes < position else "size"
        raise mismatch(path, what, f"{position} bytes of tensors", f"{data_bytes}")
    if not entries:
        raise CheckpointError(f"{path} holds no tensors.")


_NUMPY_DTYPES: Final = {
    "BOOL": "?",
    "U8": "u1",
    "I8": "i1",
    "I16": "<i2",
    "I32": "<i4",
    "I64": "<i8",
    "F16": "<f2",
    "BF16": "<u2",
    "F32": "<f4",
    "F64": "<f8",
}


def decode_numbers(content: bytes | memoryview, dtype: str) -> NDArray[Any]:
    """The numbers in `content`, (num_items,).

    Args:
        content: little-endian.
        dtype: a key of ITEM_BYTES; bfloat16, which numpy lacks, becomes float32.
    """
    numbers = np.frombuffer(content, _NUMPY_DTYPES[dtype])
    if dtype == "BF16":  # the upper half of a float32
        return (numbers.astype(np.uint32) << 16).view(np.float32)
    return numbers
