"""The port to wherever the keys are kept."""

from typing import Protocol

from app.domain.access import Keyring


class KeySource(Protocol):
    """Keys that may change while they are used."""

    async def current(self) -> Keyring:
        """The keys in force. Never fails: what cannot be used changes nothing."""
        ...
