"""The ports to what several servers share: cached speech, and what the keys have used of limits.

What cannot be reached is like what is empty: no method raises, or takes long.
"""

from collections.abc import Sequence
from enum import StrEnum
from typing import Protocol


class Claim(StrEnum):
    """What became of the wish to make an entry."""

    STORED = "stored"  # it is there already
    GRANTED = "granted"  # the caller is the one to make it
    TAKEN = "taken"  # another one makes it now


class SharedCache(Protocol):
    """Entries of bytes by key, that all servers see. Keys are hexadecimal digits."""

    async def open(self) -> None:
        """Begin to connect; does not wait for it."""

    async def close(self) -> None:
        """Disconnect. May be called without `open`, and twice."""

    async def count(self, keys: Sequence[str]) -> int:
        """How many of `keys` have an entry."""

    async def claim(self, key: str, holder: str, lease_s: float) -> Claim | None:
        """Ask for an entry, or for the right to make it; None if nobody can be asked.

        What is granted ends with `write` or `release`, or after `lease_s` seconds; `holder` is
        another one each time.
        """

    async def read(self, key: str) -> bytes | None:
        """What was written; empty bytes if there is no entry, None if it cannot be read."""

    async def write(self, key: str, holder: str, content: bytes) -> None:
        """Keep an entry, at the cost of an older one, and give back what was granted to `holder`.

        Takes up to a second: nobody who waits for speech should wait for it.
        """

    async def release(self, key: str, holder: str) -> None:
        """Give back what was granted to `holder`, if it still is."""


class SharedLimits(Protocol):
    """What each key uses on all servers together. While nobody can be asked, all is allowed."""

    async def take(self, name: str, per_minute: int) -> float:
        """Take a token from the bucket of a key; 0, or the seconds until there is one.

        The bucket holds `per_minute` tokens and gains as many per minute; see TokenBucket.
        """

    async def acquire(self, name: str, most: int) -> str | None:
        """One of the `most` places that a key has; None if none is free.

        It is held until `release`, or until some seconds after the death of this server.
        """

    async def release(self, name: str, place: str) -> None:
        """Give a place back; it is free when this returns."""
