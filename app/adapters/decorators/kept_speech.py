"""Speech in memory, bounded in bytes: what was used longest ago goes first.

Speech that is still being made has its place reserved, so the bound holds for both together.
"""

from collections import OrderedDict
from typing import Final

from app.domain.audio import AudioChunk

Chunks = tuple[AudioChunk, ...]
"""All chunks of one segment, in order."""

ENTRY_BYTES: Final = 1_024
CHUNK_BYTES: Final = 512
"""What Python needs beside the samples, for an entry with its key and for a chunk; rounded up."""


def chunk_bytes(chunk: AudioChunk) -> int:
    """What a chunk takes in memory."""
    return chunk.samples.nbytes + CHUNK_BYTES


def entry_bytes(chunks: Chunks) -> int:
    """What an entry takes in memory."""
    return ENTRY_BYTES + sum(map(chunk_bytes, chunks))


class KeptSpeech:
    """Entries by key. Used on the event loop; only `in` may be asked from other threads.

    Args:
        max_bytes: of all entries and reservations; 0 keeps nothing.
    """

    def __init__(self, max_bytes: int) -> None:
        self.max_bytes = max_bytes
        self._entries: OrderedDict[str, Chunks] = OrderedDict()
        self._num_kept_bytes = 0
        self._num_reserved_bytes = 0

    @property
    def num_bytes(self) -> int:
        """Kept and reserved; never more than `max_bytes`."""
        return self._num_kept_bytes + self._num_reserved_bytes

    def __contains__(self, key: str) -> bool:
        return key in self._entries

    def get(self, key: str) -> Chunks | None:
        """The chunks of an entry, which is then the one used last."""
        chunks = self._entries.get(key)
        if chunks is not None:
            self._entries.move_to_end(key)
        return chunks

    def reserve(self, num_bytes: int) -> bool:
        """Make room, at the cost of entries; False if others have reserved too much for that."""
        if self._num_reserved_bytes + num_bytes > self.max_bytes:
            return False
        self._num_reserved_bytes += num_bytes
        while self.num_bytes > self.max_bytes:
            self._drop(next(iter(self._entries)))
        return True

    def release(self, num_bytes: int) -> None:
        """Give back what was reserved."""
        self._num_reserved_bytes -= num_bytes

    def keep(self, key: str, chunks: Chunks) -> None:
        """Turn the `entry_bytes` that were reserved for it into an entry."""
        if key in self._entries:
            self._drop(key)
        num_bytes = entry_bytes(chunks)
        self._num_reserved_bytes -= num_bytes
        self._num_kept_bytes += num_bytes
        self._entries[key] = chunks

    def _drop(self, key: str) -> None:
        self._num_kept_bytes -= entry_bytes(self._entries.pop(key))
