"""How the C library of the process keeps memory."""

import ctypes
import sys
import threading
import time
from typing import Final

# Parameters of `mallopt`, in glibc's <malloc.h>.
M_ARENA_MAX: Final = -8
M_MMAP_THRESHOLD: Final = -3
M_TRIM_THRESHOLD: Final = -1

NUM_ARENAS: Final = 2

# What is larger is taken from the system and given back each time; no array of sound is.
LARGE_BYTES: Final = 8 << 20

# Of what is free at the end of an arena, which is what a piece of sound takes; more is not needed.
KEPT_BYTES: Final = 16 << 20

# Between two times at which what is free within the arenas is given back. It takes some 5 ms, and
# clearing what is needed again takes as long: a thousandth of the time. A busy server fills the
# arenas again within half a minute.
TRIM_INTERVAL_S: Final = 10.0


def tune_allocation(trim_interval_s: float = TRIM_INTERVAL_S) -> None:
    """Have all threads share two arenas, which keep what a sound takes but no more; glibc only.

    Each thread would get one of its own, up to eight per core: threads that make, encode and store
    sound would keep what they have freed many times over. And each piece of sound would be made in
    memory that the system has to clear first: a tenth to a sixth of the time of decoding.

    What is free below something still in use stays with an arena until it is asked to give it back,
    20 to 60 MB in a busy server. A thread asks for as long as the process lives.
    """
    if sys.platform != "linux":
        return
    library = ctypes.CDLL(None)
    if not hasattr(library, "mallopt") or not hasattr(library, "malloc_trim"):
        return  # another C library
    library.mallopt(M_ARENA_MAX, NUM_ARENAS)
    library.mallopt(M_MMAP_THRESHOLD, LARGE_BYTES)
    library.mallopt(M_TRIM_THRESHOLD, KEPT_BYTES)

    def trim() -> None:
        while True:
            time.sleep(trim_interval_s)
            library.malloc_trim(0)

    threading.Thread(target=trim, name="trim-memory", daemon=True).start()
