"""Numbers as files of tensors store them, as numpy arrays."""

from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

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
