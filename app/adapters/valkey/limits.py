"""Limits of keys in Valkey. Its clock is the only one that counts, so those of servers may differ.

The token bucket is a GCRA (ITU-T I.371): one number, the time at which the bucket is full again.
Places are members of a sorted set, each with the time at which it expires unless it is renewed.
"""

import asyncio
import secrets
from contextvars import Context
from typing import Final

from app.adapters.valkey.client import RETRY_S, ValkeyClient
from app.ports.clock import Clock

MINUTE_US: Final = 60_000_000
LEASE_S: Final = 30.0  # of a place, since it was renewed; a server that dies holds it for so long
RENEW_S: Final = 10.0

# KEYS: bucket. ARGV: microseconds of a token. Returns those until there is one; 0 if it was taken.
TAKE: Final = """
local time = redis.call('TIME')
local now = time[1] * 1000000 + time[2]
local full = math.max(now, tonumber(redis.call('GET', KEYS[1]) or now)) + ARGV[1]
local wait = full - now - 60000000
if wait > 0 then return math.ceil(wait) end
redis.call('SET', KEYS[1], string.format('%.3f', full), 'PX', math.ceil((full - now) / 1000))
return 0
"""

# KEYS: places. ARGV: place, how many there are, milliseconds of the lease.
ACQUIRE: Final = """
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
redis.call('ZREMRANGEBYSCORE', KEYS[1], '-inf', now)
if redis.call('ZCARD', KEYS[1]) >= tonumber(ARGV[2]) then return 0 end
redis.call('ZADD', KEYS[1], now + ARGV[3], ARGV[1])
redis.call('PEXPIRE', KEYS[1], ARGV[3])
return 1
"""

# KEYS: places. ARGV: milliseconds of the lease, places.
RENEW: Final = """
local time = redis.call('TIME')
local expires = time[1] * 1000 + math.floor(time[2] / 1000) + ARGV[1]
for i = 2, #ARGV do redis.call('ZADD', KEYS[1], expires, ARGV[i]) end
redis.call('PEXPIRE', KEYS[1], ARGV[1])
return 1
"""


class ValkeyLimits:
    """SharedLimits. What is held is told again every `RENEW_S`, also to a Valkey that forgot it."""

    def __init__(self, client: ValkeyClient, clock: Clock) -> None:
        self._client = client
        self._clock = clock
        self._held: dict[str, set[str]] = {}  # places by the name of the key; no set is empty
        self._unreturned: dict[str, set[str]] = {}  # given back while nobody could be told
        self._renewing: asyncio.Task[None] | None = None

    async def take(self, name: str, per_minute: int) -> float:
        bucket = f"soprano:bucket:{name}"
        wait_us = await self._client.execute("EVAL", TAKE, 1, bucket, MINUTE_US / per_minute)
        return (wait_us or 0) / 1e6

    async def acquire(self, name: str, most: int) -> str | None:
        place, lease_ms = secrets.token_hex(8), round(LEASE_S * 1000)
        arguments = place, most, lease_ms
        if await self._client.execute("EVAL", ACQUIRE, 1, _places(name), *arguments) == 0:
            return None
        self._held.setdefault(name, set()).add(place)
        if self._renewing is None or self._renewing.done():
            self._renewing = asyncio.create_task(self._renew_all(), context=Context())
        return place

    async def release(self, name: str, place: str) -> None:
        self._held[name].remove(place)
        if not self._held[name]:
            del self._held[name]
        await self._give_back(name, {place})

    async def _give_back(self, name: str, places: set[str]) -> None:
        if await self._client.execute("ZREM", _places(name), *places) is None:
            self._unreturned.setdefault(name, set()).update(places)

    async def _renew_all(self) -> None:
        renewed_at = self._clock.monotonic()
        while self._held or self._unreturned:
            await self._clock.sleep(RETRY_S if self._unreturned else RENEW_S)
            unreturned, self._unreturned = self._unreturned, {}
            for name, places in unreturned.items():
                await self._give_back(name, places)
            if self._clock.monotonic() - renewed_at < RENEW_S:
                continue
            renewed_at = self._clock.monotonic()
            for name, places in list(self._held.items()):
                told = tuple(places)
                lease_ms = round(LEASE_S * 1000)
                await self._client.execute("EVAL", RENEW, 1, _places(name), lease_ms, *told)
                # Given back meanwhile, perhaps before they were renewed.
                if gone := set(told) - self._held.get(name, set()):
                    await self._give_back(name, gone)


def _places(name: str) -> str:
    return f"soprano:running:{name}"
