"""A KeySource that a test sets."""

import asyncio

from app.domain.api_keys import ApiKey, KeyLimits, Keyring, hash_key


class FakeKeySource:
    """Has the keys that were given, by name; none at first. Who waits for a change sees it at once.

    Attributes:
        num_waiting: how many wait for a change.
    """

    def __init__(self) -> None:
        self.num_waiting = 0
        self._keys: dict[str, ApiKey] = {}
        self._keyring = Keyring()
        self._changed = asyncio.Event()

    def give(self, name: str, key: str, limits: KeyLimits | None = None) -> None:
        """One more key, or another for a name."""
        self._keys[name] = ApiKey(name, hash_key(key), limits or KeyLimits())
        self._change()

    def take(self, name: str) -> None:
        """Forget a key."""
        del self._keys[name]
        self._change()

    def _change(self) -> None:
        self._keyring = Keyring(self._keys.values())
        self._changed.set()
        self._changed = asyncio.Event()

    async def current(self) -> Keyring:
        return self._keyring

    async def wait_for_change(self, known: Keyring) -> Keyring:
        self.num_waiting += 1
        try:
            while self._keyring is known:
                await self._changed.wait()
        finally:
            self.num_waiting -= 1
        return self._keyring
