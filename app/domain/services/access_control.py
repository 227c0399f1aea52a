"""Who may come in, and how much one key may have at once and per minute."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Final

from app.domain.access import ApiKey, KeyLimits, Keyring
from app.domain.admission import ANYBODY, RETRY_SPREAD_S, Caller
from app.domain.errors import InvalidApiKeyError, MissingApiKeyError, RateLimitError
from app.domain.token_bucket import TokenBucket
from app.ports.clock import Clock
from app.ports.key_source import KeySource

RETRY_AFTER_ONE_ENDS_S: Final = 1.0
"""What a caller with too many running requests is told to wait; nobody knows when one ends."""


class AccessControl:
    """The door.

    Args:
        keys: that open it.
        clock: of the limits per minute.
        random: gives numbers in [0, 1); by chance callers wait a little longer than they must, so
            that they do not return together.
    """

    def __init__(self, keys: KeySource, clock: Clock, random: Callable[[], float]) -> None:
        self._keys = keys
        self._clock = clock
        self._random = random
        self._keyring: Keyring | None = None
        self._usages: dict[str, _Usage] = {}

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
        """Whose key was presented; None when the server has no keys and anybody may come in.

        Raises:
            MissingApiKeyError: none was presented, or an empty one.
            InvalidApiKeyError: nobody has this key.
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
    def admit(self, key: ApiKey) -> Iterator[None]:
        """Count one request with `key`, which runs until the end of the block.

        Raises (on entering):
            RateLimitError: the key has no more; nothing is counted.
        """
        now = self._clock.monotonic()
        usage = self._usages.setdefault(key.name, _Usage())
        usage.adopt(key.limits, now)
        try:
            usage.begin(now)
        except RateLimitError as error:
            error.retry_after_s += RETRY_SPREAD_S * self._random()
            raise
        try:
            yield
        finally:
            usage.end()


class _Usage:
    """What one key has used. Limits may change meanwhile; what runs is still counted."""

    def __init__(self) -> None:
        self._limits = KeyLimits()
        self._bucket: TokenBucket | None = None
        self._num_running = 0

    def adopt(self, limits: KeyLimits, now: float) -> None:
        if limits.requests_per_minute != self._limits.requests_per_minute:
            rate = limits.requests_per_minute
            self._bucket = TokenBucket(rate, now) if rate else None
        self._limits = limits

    def begin(self, now: float) -> None:
        most = self._limits.max_concurrent
        if most and self._num_running >= most:  # asked first, for it costs no token
            raise RateLimitError(f"{most} at the same time", RETRY_AFTER_ONE_ENDS_S)
        wait_s = self._bucket.take(now) if self._bucket else 0.0
        if wait_s > 0:
            raise RateLimitError(f"{self._limits.requests_per_minute} per minute", wait_s)
        self._num_running += 1

    def end(self) -> None:
        self._num_running -= 1
