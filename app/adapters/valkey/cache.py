"""Cached speech in Valkey: an entry for each segment, and a lease on what is being made."""

from collections.abc import Sequence
from typing import Final

from app.adapters.valkey.client import ValkeyClient
from app.ports.shared_state import Claim

ENTRY_TTL_S: Final = 86_400  # since an entry was written, or asked for
WRITE_S: Final = 1.0  # of an entry, of which nobody waits for the end

# An entry is read in pieces, each with a time limit of its own: ten at the same time, as for one
# text, may come at 100 Mbit/s.
PIECE_BYTES: Final = 65_536

# A minute of Soprano; a sentence has half of it at most. What is larger is not ours.
MAX_ENTRY_BYTES: Final = 8_000_000

# KEYS: entry, lease. ARGV: holder, milliseconds of the lease and of the entry.
CLAIM: Final = """
if redis.call('PEXPIRE', KEYS[1], ARGV[3]) == 1 then return 'stored' end
if redis.call('SET', KEYS[2], ARGV[1], 'NX', 'PX', ARGV[2]) then return 'granted' end
return 'taken'
"""

# KEYS: lease. ARGV: holder.
RELEASE: Final = """
if redis.call('GET', KEYS[1]) == ARGV[1] then return redis.call('DEL', KEYS[1]) end
return 0
"""


class ValkeyCache:
    """SharedCache; how much it keeps is up to Valkey (`maxmemory`)."""

    def __init__(self, client: ValkeyClient) -> None:
        self._client = client

    async def open(self) -> None:
        await self._client.open()

    async def close(self) -> None:
        await self._client.close()

    async def count(self, keys: Sequence[str]) -> int:
        return await self._client.execute("EXISTS", *map(_entry, keys)) or 0

    async def claim(self, key: str, holder: str, lease_s: float) -> Claim | None:
        times = round(lease_s * 1000), ENTRY_TTL_S * 1000
        places = _entry(key), _lease(key)
        answer = await self._client.execute("EVAL", CLAIM, 2, *places, holder, *times)
        return None if answer is None else Claim(answer.decode())

    async def read(self, key: str) -> bytes | None:
        content = bytearray()
        for start in range(0, MAX_ENTRY_BYTES + 1, PIECE_BYTES):
            end = start + PIECE_BYTES - 1
            piece = await self._client.execute("GETRANGE", _entry(key), start, end)
            if piece is None:
                return None
            content += piece
            if len(piece) < PIECE_BYTES:
                break
        return bytes(content)

    async def write(self, key: str, holder: str, content: bytes) -> None:
        if len(content) <= MAX_ENTRY_BYTES:
            command = "SET", _entry(key), content, "EX", ENTRY_TTL_S
            await self._client.execute(*command, limit_s=WRITE_S)
        await self.release(key, holder)

    async def release(self, key: str, holder: str) -> None:
        await self._client.execute("EVAL", RELEASE, 1, _lease(key), holder)


def _entry(key: str) -> str:
    return f"soprano:speech:{key}"


def _lease(key: str) -> str:
    return f"soprano:lease:{key}"
