"""Keys to the server, kept as digests only.

A key has 256 random bits, so nobody finds it from its SHA-256 by trying: a slow hash with salt
protects passwords, which people choose, and would only make every request slow here.
"""

import hmac
import re
import secrets
from collections.abc import Iterable
from hashlib import sha256
from typing import Final

import msgspec

# Start of the keys that are made here; tools that look for leaked secrets know the `sk-`.
KEY_PREFIX: Final = "sk-soprano-"
NUM_KEY_BYTES: Final = 32  # random bytes of a key that is made here
MIN_KEY_CHARS: Final = 16  # of a key from elsewhere; what is shorter can be found by trying

_NAME: Final = re.compile(r"[a-z0-9][a-z0-9_-]{0,31}")
_KEY: Final = re.compile(r"[!-+\--~]+")  # what a header can carry, without the comma of lists


class InvalidKeysError(Exception):
    """Keys that cannot be used. The message has names, never keys."""


class KeyLimits(msgspec.Struct, frozen=True):
    """What one key may ask for. 0 is no limit."""

    requests_per_minute: int = 0
    max_concurrent: int = 0


class ApiKey(msgspec.Struct, frozen=True):
    """A key that is known."""

    name: str  # whose it is; fit for logs
    digest: bytes  # SHA-256 of the key, 32 bytes
    limits: KeyLimits = KeyLimits()  # of all requests with it


class Keyring:
    """All keys that are known, if any. Raises InvalidKeysError if two have one name or one key."""

    def __init__(self, keys: Iterable[ApiKey] = ()) -> None:
        self._by_name: dict[str, ApiKey] = {}
        names_by_digest: dict[bytes, str] = {}
        for key in keys:
            if key.name in self._by_name:
                raise InvalidKeysError(f"Two keys have the name {key.name}.")
            if twin := names_by_digest.get(key.digest):
                raise InvalidKeysError(f"{twin} and {key.name} have the same key.")
            self._by_name[key.name] = key
            names_by_digest[key.digest] = key.name

    def __len__(self) -> int:
        return len(self._by_name)

    def find(self, key: str) -> ApiKey | None:
        """Whose key it is; takes the same time wherever it stands in the ring, and if nowhere."""
        digest = hash_key(key)
        found = None
        for known in self._by_name.values():
            if hmac.compare_digest(known.digest, digest):
                found = known
        return found

    def named(self, name: str) -> ApiKey | None:
        """The key of that name."""
        return self._by_name.get(name)


def new_key() -> str:
    """A key that nobody has."""
    return KEY_PREFIX + secrets.token_urlsafe(NUM_KEY_BYTES)


def hash_key(key: str) -> bytes:
    """What is kept of a key: 32 bytes."""
    return sha256(key.encode("utf-8", "replace")).digest()


def check_name(name: str) -> None:
    """Raise InvalidKeysError, which does not show it, unless `name` can be a key's name."""
    if not _NAME.fullmatch(name):
        raise InvalidKeysError(
            "The name of a key must be 1 to 32 of a-z, 0-9, '_' and '-', a letter or digit first."
        )


def parse_keys(text: str, limits: KeyLimits) -> list[ApiKey]:
    """The keys in `name:key,name2:key2`; none in a blank text. Raises InvalidKeysError."""
    keys = []
    for number, item in enumerate(map(str.strip, text.split(",")), 1):
        if not item:
            continue
        name, _, key = item.partition(":")
        if not (_NAME.fullmatch(name) and _KEY.fullmatch(key)):  # either may be a key: show none
            raise InvalidKeysError(
                f"Item {number} is not name:key, with 1 to 32 of a-z, 0-9, '_' and '-' for the"
                " name, and printable ASCII without spaces for the key."
            )
        if len(key) < MIN_KEY_CHARS:
            raise InvalidKeysError(
                f"The key of {name} is too short to be safe: {MIN_KEY_CHARS} characters at least;"
                " `soprano-api keys create` makes good ones."
            )
        keys.append(ApiKey(name, hash_key(key), limits))
    return keys


MINUTE_NS: Final = 60_000_000_000


class TokenBucket:
    """Holds up to `per_minute` tokens, is full at first, and gains one every 60 / `per_minute` s.

    Counts in whole units, of which a token has as many as a minute has nanoseconds: each nanosecond
    then adds exactly `per_minute` of them, and nothing is ever rounded away.
    """

    def __init__(self, per_minute: int, now: float) -> None:
        self._per_minute = per_minute
        self._capacity = per_minute * MINUTE_NS
        self._level = self._capacity
        self._seen_ns = round(now * 1e9)

    def take(self, now: float) -> float:
        """Take a token; 0, or if there is none, the seconds until there is one."""
        now_ns = round(now * 1e9)
        gained = (now_ns - self._seen_ns) * self._per_minute
        self._level = min(self._capacity, self._level + gained)
        self._seen_ns = now_ns
        missing = MINUTE_NS - self._level
        if missing > 0:
            return -(-missing // self._per_minute) / 1e9
        self._level -= MINUTE_NS
        return 0.0

    def put_back(self) -> None:
        """Return a token that was taken and not used."""
        self._level = min(self._capacity, self._level + MINUTE_NS)
