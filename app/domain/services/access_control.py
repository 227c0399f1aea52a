"""Who may come in, how much one key may have at once and per minute, and until when."""

import asyncio
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from contextvars import Context
from typing import Final

from app.domain.admission import ANYBODY, RETRY_SPREAD_S, Caller
from app.domain.api_keys import ApiKey, KeyLimits, Keyring, TokenBucket
from app.domain.errors import InvalidApiKeyError, MissingApiKeyError, RateLimitError
from app.ports.clock import Clock
from app.ports.reloaded_files import KeySource
from app.ports.shared_state import SharedLimits

# What a caller with too many running requests is told to wait; nobody knows when one ends.
RETRY_AFTER_ONE_ENDS_S: Final = 1.0


class AccessControl:
    """Limits of keys hold for this server; with `shared` for all servers together as well."""

    def __init__(
        self,
        keys: KeySource,
        clock: Clock,
        random: Callable[[], float],
        shared: SharedLimits | None = None,
    ) -> None:
        self._keys = keys
        self._clock = clock
        self._random = random
        self._shared = shared
        self._keyring: Keyring | None = None
        self._usages: dict[str, _Usage] = {}
        self._grants: set[Grant] = set()
        self._watching: asyncio.Task[None] | None = None

    async def needs_key(self) -> bool:
        """Whether the server has keys."""
        self._keyring = await self._keys.current()
        return len(self._keyring) > 0

    def recognize(self, presented: str | None) -> Caller | None:
        """Who presented a key, by the keys as of the last request; None if that is not sure."""
        if self._keyring is None:
            return None
        if not len(self._keyring):
            return ANYBODY
        key = self._keyring.find(presented) if presented else None
        return Caller(key.name) if key else None

    async def identify(self, presented: str | None) -> ApiKey | None:
        """Whose key was presented; None if the server has no keys and anybody may come in.

        Raises MissingApiKeyError, also for an empty one, or InvalidApiKeyError.
        """
        keyring = self._keyring = await self._keys.current()
        if not len(keyring):
            return None
        if not presented:
            raise MissingApiKeyError
        found = keyring.find(presented)
        if found is None:
            raise InvalidApiKeyError
        return found

    @contextmanager
    def grant(self, key: ApiKey) -> Iterator["Grant"]:
        """What one request may do with `key`, which was identified just now.

        The keys are watched as long as there is a grant, by one task for all of them.
        """
        usage = self._usages.setdefault(key.name, _Usage(self._clock, self._random))
        usage.adopt(key.limits)
        grant = Grant(key, usage, self._shared)
        self._grants.add(grant)
        if self._watching is None or self._watching.done():
            # In a context of its own: its log events are of no request.
            self._watching = asyncio.create_task(self._watch(), context=Context())
        try:
            yield grant
        finally:
            self._grants.remove(grant)
            if not self._grants and self._watching is not None:
                self._watching.cancel()
                self._watching = None

    async def _watch(self) -> None:
        keyring = await self._keys.current()
        while True:
            for grant in self._grants:
                grant.follow(keyring)
            keyring = await self._keys.wait_for_change(keyring)


class Grant:
    """What one request or socket may do with its key, until it ends or the key is revoked."""

    def __init__(self, key: ApiKey, usage: "_Usage", shared: SharedLimits | None) -> None:
        self.name = key.name  # of the key
        # Done once the key is not known any more. It is the same one for all that wait: wait for
        # it with `asyncio.wait`, which does not cancel it.
        self.revoked: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._digest = key.digest
        self._usage = usage
        self._shared = shared

    @asynccontextmanager
    async def occupy(self) -> AsyncIterator[None]:
        """Run as one of those that the key may have at once; raises RateLimitError on entering."""
        usage, most = self._usage, self._usage.limits.max_concurrent
        is_full = 0 < most <= usage.num_running
        place: str | None = None
        usage.num_running += 1
        try:
            if most and not is_full and self._shared is not None:
                place = await self._shared.acquire(self.name, most)
                is_full = place is None
            if is_full:
                raise usage.refusal(f"{most} at the same time", RETRY_AFTER_ONE_ENDS_S)
            yield
        finally:
            usage.num_running -= 1
            if place is not None and self._shared is not None:
                await self._shared.release(self.name, place)

    async def count_request(self) -> None:
        """Count one of the requests of a minute. Raises RateLimitError, and counts none."""
        usage, rate = self._usage, self._usage.limits.requests_per_minute
        wait_s = usage.take()
        if not wait_s and rate and self._shared is not None:
            wait_s = await self._shared.take(self.name, rate)
            if wait_s:
                usage.put_back(wait_s)
        if wait_s:
            raise usage.refusal(f"{rate} per minute", wait_s)

    def follow(self, keyring: Keyring) -> None:
        """Adopt the limits that the key has there; be revoked if it is another one, or none."""
        key = keyring.named(self.name)
        if key is not None and key.digest == self._digest:
            self._usage.adopt(key.limits)
        elif not self.revoked.done():
            self.revoked.set_result(None)


class _Usage:
    """What one key has used. Limits may change meanwhile; what runs is still counted."""

    def __init__(self, clock: Clock, random: Callable[[], float]) -> None:
        self._clock = clock
        self._random = random
        self.limits = KeyLimits()
        self.num_running = 0
        self._bucket = TokenBucket(0, 0.0)
        self._empty_until = 0.0  # all servers together have no token before, by the clock

    def adopt(self, limits: KeyLimits) -> None:
        if limits.requests_per_minute != self.limits.requests_per_minute:
            self._bucket = TokenBucket(limits.requests_per_minute, self._clock.monotonic())
            self._empty_until = 0.0
        self.limits = limits

    def take(self) -> float:
        if not self.limits.requests_per_minute:
            return 0.0
        now = self._clock.monotonic()
        return max(0.0, self._empty_until - now) or self._bucket.take(now)

    def put_back(self, wait_s: float) -> None:
        """A token was taken in vain: all servers together have none for `wait_s` seconds."""
        self._empty_until = self._clock.monotonic() + wait_s
        self._bucket.put_back()

    def refusal(self, limit: str, wait_s: float) -> RateLimitError:
        return RateLimitError(limit, wait_s + RETRY_SPREAD_S * self._random())
