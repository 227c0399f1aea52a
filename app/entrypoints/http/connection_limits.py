"""What one connection may take of the server's time and memory. Knows nothing of sockets."""

import msgspec


class ConnectionLimits(msgspec.Struct, frozen=True):
    """Limits on the connections of a server.

    Attributes:
        head_timeout_s: in which the head of a request must have come.
        write_stall_s: for which a client may take nothing of what waits for it.
        max_connections: that are open at the same time.
    """

    head_timeout_s: float
    write_stall_s: float
    max_connections: int


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
