"""How the C library of the process keeps memory."""

import ctypes
import sys
from typing import Final

M_ARENA_MAX: Final = -8
"""Of `mallopt`, in glibc's <malloc.h>."""

NUM_ARENAS: Final = 2


def share_memory_among_threads() -> None:
    """Have all threads take their memory from the same two arenas, where glibc is the C library.

    Each thread would get one of its own, up to eight per core, and keep there what it has freed:
    threads that make, encode and store sound would keep it many times over.
    """
    if sys.platform == "linux":
        mallopt = getattr(ctypes.CDLL(None), "mallopt", None)  # other C libraries have none
        if mallopt is not None:
            mallopt(M_ARENA_MAX, NUM_ARENAS)
