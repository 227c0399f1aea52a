"""The port to wherever the keys are kept."""

from typing import Protocol

from app.domain.api_keys import Keyring


class KeySource(Protocol):
    """Keys that may change while they are used.

    No method fails: what cannot be used changes nothing.
    """

    async def current(self) -> Keyring:
        """The keys in force, the same object until they change."""
        ...

    async def wait_for_change(self, known: Keyring) -> Keyring:
        """Wait until the keys in force are not `known`, and return them within a second."""
        ...
