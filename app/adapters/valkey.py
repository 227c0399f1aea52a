"""A Valkey (or Redis) that several servers share, and that never holds a request up.

One that does not answer costs what is under way `TIMEOUT_S`, once: from then on every command
returns at once, until a PING, sent in the background every `RETRY_S`, is answered in time.
The package is an extra, so it is imported where it is used.
"""

import asyncio
import secrets
from collections.abc import Sequence
from contextvars import Context
from typing import Any, Final

import structlog

from app.domain.services.time_limit import within
from app.ports.clock import Clock
from app.ports.shared_state import Claim

TIMEOUT_S: Final = 0.05  # of a command; one in the same network takes a millisecond
CONNECT_S: Final = 1.0  # of all connections, which may need names resolved and TLS
RETRY_S: Final = 1.0  # between attempts to reach it again

# Commands at the same time, each with a connection; more wait here. A command takes 0.2 ms.
MAX_COMMANDS: Final = 16

Argument = str | bytes | int | float

_log = structlog.get_logger(__name__)


def build_client(url: str, clock: Clock) -> "ValkeyClient":
    """A client of the server at `url`; connects to nothing yet.

    Raises ImportError without the extra, or ValueError, which does not show the address: it has the
    password.
    """
    from valkey.asyncio import ConnectionPool, SSLConnection, Valkey
    from valkey.exceptions import ValkeyError

    contexts: list[Any] = []

    class TlsConnection(SSLConnection):
        """Shares one context: reading the certificates of the system takes 45 ms."""

        def __init__(self, **options: Any) -> None:
            super().__init__(**options)
            contexts.append(self.ssl_context)
            del contexts[1:]
            self.ssl_context = contexts[0]

    is_tls = url.startswith(("valkeys:", "rediss:"))
    options: dict[str, Any] = {"ssl_check_hostname": True} if is_tls else {}
    try:
        # The time limits are ours; what a client calls itself costs two more commands.
        pool: Any = ConnectionPool.from_url(url, socket_timeout=None, lib_name=None, **options)
        if is_tls:
            pool.connection_class = TlsConnection
        pool.make_connection()  # checks the options in the address
    except (TypeError, ValueError, ValkeyError):
        raise ValueError("it is not an address such as valkey://host:6379/0") from None
    return ValkeyClient(Valkey.from_pool(pool), clock)


class ValkeyClient:
    """Runs commands, with a circuit breaker and without retries.

    `client` is a `valkey.asyncio.Valkey`, whose methods have no types.
    """

    def __init__(self, client: Any, clock: Clock) -> None:
        self._client = client
        self._clock = clock
        self._turns = asyncio.Semaphore(MAX_COMMANDS)
        self._connecting: asyncio.Task[None] | None = None
        self._logged = ""  # the failure that was logged last, since all was well
        self.is_up = False

    async def open(self) -> None:
        """Begin to connect; until then no command is sent. May be called twice."""
        if self._connecting is None:
            self._connecting = asyncio.create_task(self._connect(0.0), context=Context())

    async def close(self) -> None:
        """Disconnect, and send nothing more. May be called without `open`, and twice."""
        self.is_up = False
        if self._connecting is not None:
            self._connecting.cancel()
            await asyncio.gather(self._connecting, return_exceptions=True)
        await self._client.aclose()

    async def execute(self, *command: Argument, limit_s: float = TIMEOUT_S) -> Any:
        """The reply to a command, which should not be nil; None if there is none within `limit_s`.

        A command that fails may have been carried out all the same.
        """
        from valkey.exceptions import ResponseError, ValkeyError

        async with self._turns:
            if not self.is_up:
                return None
            try:
                return await within(self._clock, limit_s, self._client.execute_command(*command))
            except ResponseError as error:  # it answers: the others need not be spared
                self._log_once(error)
            except (ValkeyError, OSError) as error:
                self._log_once(error)
                if self.is_up:
                    self.is_up = False
                    # In a context of its own: its log events are of no request.
                    connecting = self._connect(RETRY_S)
                    self._connecting = asyncio.create_task(connecting, context=Context())
            return None

    async def _connect(self, delay_s: float) -> None:
        from valkey.exceptions import ValkeyError

        while True:
            await self._clock.sleep(delay_s)
            delay_s = RETRY_S
            try:
                # Those that are idle may lead to a machine that is no longer there.
                idle = self._client.connection_pool.disconnect(inuse_connections=False)
                await within(self._clock, CONNECT_S, idle)
                await within(self._clock, CONNECT_S, self._client.execute_command("PING"))
                # The other connections are made now, too: with TLS that takes 100 ms.
                pings = [self._client.execute_command("PING") for _ in range(MAX_COMMANDS)]
                made = asyncio.gather(*pings, return_exceptions=True)
                await within(self._clock, CONNECT_S, made)
                await within(self._clock, TIMEOUT_S, self._client.execute_command("PING"))
            except (ValkeyError, OSError) as error:
                self._log_once(error)
            else:
                self.is_up, self._logged = True, ""
                _log.info("valkey.connected")
                return

    def _log_once(self, error: Exception) -> None:
        reason = str(error) or "no answer in time"
        if reason != self._logged:
            self._logged = reason
            _log.warning("valkey.failed", reason=reason)


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
        self.open, self.close = client.open, client.close

    async def count(self, keys: Sequence[str]) -> int:
        return await self._client.execute("EXISTS", *map(_entry, keys)) or 0

    async def claim(self, key: str, holder: str, lease_s: float) -> Claim | None:
        arguments = holder, round(lease_s * 1000), ENTRY_TTL_S * 1000
        answer = await self._client.execute("EVAL", CLAIM, 2, _entry(key), _lease(key), *arguments)
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
