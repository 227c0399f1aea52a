"""A KeySource that a test sets."""

from app.domain.access import ApiKey, KeyLimits, Keyring, hash_key


class FakeKeySource:
    """Has the keys that were given, by name; none at first."""

    def __init__(self) -> None:
        self._keys: dict[str, ApiKey] = {}

    def give(self, name: str, key: str, limits: KeyLimits | None = None) -> None:
        """One more key, or another for a name."""
        self._keys[name] = ApiKey(name, hash_key(key), limits or KeyLimits())

    def take(self, name: str) -> None:
        """Forget a key."""
        del self._keys[name]

    async def current(self) -> Keyring:
        return Keyring(self._keys.values())
