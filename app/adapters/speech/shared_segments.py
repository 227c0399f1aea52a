"""Segments that several servers share: what one has made, or makes now, the others need not make.

Single flight across servers: the first one to ask is granted a lease and makes the segment; the
others look for it every `POLL_S`. They get it once it is whole. A maker that fails gives its lease
back, and the next one to look takes over; so it does when the lease of a maker that died expires.

Lease and waiting last as long as the segment plays, and `MAX_LEASE_S` at most: a server that keeps
ahead of playback makes most segments in that time, nobody waits long for one that died, and a lease
need not be renewed. A server that has waited for so long makes the segment without a lease.
"""

import asyncio
from collections.abc import Coroutine
from typing import Final

from app.adapters.speech.segment_bytes import Chunks, from_bytes, to_bytes
from app.ports.clock import Clock
from app.ports.shared_state import Claim, SharedCache

POLL_S: Final = 0.02  # a fifth of the time to first audio; costs 50 small commands per second

MIN_LEASE_S: Final = 1.0  # what is short takes longer to make than to play
MAX_LEASE_S: Final = 5.0

# Beyond these nothing is written: Valkey is slower than the model, and memory is not for that.
MAX_WRITES: Final = 8


class SharedSegments:
    """Segments in a SharedCache. Nothing is written before the audio was handed out."""

    def __init__(self, cache: SharedCache, clock: Clock) -> None:
        self._cache = cache
        self._clock = clock
        self._granted: set[str] = set()  # holders of leases
        self._writing: set[asyncio.Task[None]] = set()
        self.open = cache.open
        self.count = cache.count

    async def close(self) -> None:
        """Wait for what is being written, and disconnect. May be called without `open`."""
        await asyncio.gather(*self._writing, return_exceptions=True)
        await self._cache.close()

    async def find(self, key: str, holder: str, play_s: float) -> Chunks | None:
        """The segment, if another server has made it or does so in time; None: it is to be made.

        Once it is made, call `write`, and in any case `release`, with the same `holder`, which is
        another one each time. `play_s` is its playing time, in seconds, about.
        """
        wait_s = min(max(MIN_LEASE_S, play_s), MAX_LEASE_S)
        give_up_at = self._clock.monotonic() + wait_s
        while (claim := await self._cache.claim(key, holder, wait_s)) is Claim.TAKEN:
            if self._clock.monotonic() >= give_up_at:
                return None
            await self._clock.sleep(POLL_S)
        if claim is Claim.STORED:
            content = await self._cache.read(key)
            if content is None:
                return None
            if chunks := await asyncio.to_thread(from_bytes, key, content):
                return chunks
        if claim is not None:  # granted, or damaged: what is made replaces it
            self._granted.add(holder)
        return None

    def write(self, key: str, holder: str, chunks: Chunks) -> None:
        """Begin to keep a segment that `find` let this server make; returns at once."""
        if holder in self._granted and len(self._writing) < MAX_WRITES:
            self._granted.remove(holder)
            self._begin(self._write(key, holder, chunks))

    def release(self, key: str, holder: str) -> None:
        """Let others make a segment that was not written; returns at once."""
        if holder in self._granted:
            self._granted.remove(holder)
            self._begin(self._cache.release(key, holder))

    async def _write(self, key: str, holder: str, chunks: Chunks) -> None:
        content = await asyncio.to_thread(to_bytes, key, chunks)
        await self._cache.write(key, holder, content)

    def _begin(self, work: Coroutine[None, None, None]) -> None:
        task = asyncio.create_task(work)
        self._writing.add(task)
        task.add_done_callback(self._writing.discard)
