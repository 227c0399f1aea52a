"""When a worker counts as dead. Both processes hold to these numbers."""

from typing import Final

BEAT_S: Final = 1.0
"""Between two signs of life of a worker's event loop, in seconds."""

MAX_MISSED_BEATS: Final = 8
"""Of a worker whose model is loaded. Less than the time after which a sentence is given up, so that
those that have not sounded yet are spoken elsewhere in time."""

MAX_MISSED_BEATS_LOADING: Final = 60
"""Python itself may stand still that long while it loads large libraries from a slow disk."""

CLOSE_LIMIT_S: Final = 3.0
"""What a worker has for giving everything back, in seconds; then it is killed."""
