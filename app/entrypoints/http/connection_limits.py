"""What one connection may take of the server's time and memory. Knows nothing of sockets."""

from typing import Final

import msgspec

# 2,000 connections that each sent 250 kB of a body and stopped took 0.5 to 1.4 GB without a limit.
# This has room for 256 bodies of the largest size (server.max_body_bytes) that come slowly; a body
# that comes at once, as short ones do, is not counted at all. With more, slow clients take more
# memory; with less, long texts from slow networks are rejected earlier.
MAX_UNFINISHED_BYTES: Final = 64 * 1024 * 1024


class ConnectionLimits(msgspec.Struct, frozen=True):
    """Limits on the connections of a server.

    Attributes:
        head_timeout_s: in which the head of a request must have come.
        write_stall_s: for which a client may take nothing of what waits for it.
        max_connections: that are open at the same time.
        unfinished: bodies and messages on all of them that have come in part.
    """

    head_timeout_s: float
    write_stall_s: float
    max_connections: int
    unfinished: "UnfinishedBytes" = msgspec.field(
        default_factory=lambda: UnfinishedBytes(MAX_UNFINISHED_BYTES)
    )


class UnfinishedBytes:
    """The size of all request bodies and WebSocket messages that have come in part.

    Args:
        max_bytes: that all connections may hold together.
    """

    def __init__(self, max_bytes: int) -> None:
        self.max_bytes = max_bytes
        self.num_bytes = 0


class UnfinishedPart:
    """The share of one connection in `whole`; resize it to 0 in the end."""

    def __init__(self, whole: UnfinishedBytes) -> None:
        self._whole = whole
        self._num_bytes = 0

    def resize(self, num_bytes: int) -> bool:
        """Whether it may have so many bytes, which then are counted; it may always shrink."""
        change = num_bytes - self._num_bytes
        if change > 0 and self._whole.num_bytes + change > self._whole.max_bytes:
            return False
        self._num_bytes = num_bytes
        self._whole.num_bytes += change
        return True


class WriteWatch:
    """Notices that what waits to be sent does not become less.

    Args:
        limit_s: for so many seconds.
    """

    def __init__(self, limit_s: float) -> None:
        self.limit_s = limit_s
        self._num_waiting = 0
        self._taken_at = 0.0

    def is_stalled(self, num_waiting: int, now: float) -> bool:
        """Whether nothing was taken for too long; asked again and again.

        Args:
            num_waiting: bytes that wait to be sent.
            now: the time, in seconds.
        """
        if self._num_waiting == 0 or num_waiting < self._num_waiting:
            self._taken_at = now
        self._num_waiting = num_waiting
        return num_waiting > 0 and now - self._taken_at >= self.limit_s

    def note_progress(self) -> None:
        """Something was taken, even if more has come to wait since."""
        self._num_waiting = 0
