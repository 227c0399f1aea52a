"""The ports to files that are reloaded when they change: API keys and pronunciations."""

from typing import Protocol

from app.domain.api_keys import Keyring
from app.domain.text.pronunciations import Pronunciations


class KeySource(Protocol):
    """Keys that may change while they are used.

    No method fails: what cannot be used changes nothing.
    """

    async def current(self) -> Keyring:
        """The keys in force, the same object until they change."""

    async def wait_for_change(self, known: Keyring) -> Keyring:
        """Wait until the keys in force are not `known`, and return them within a second."""


class LexiconSource(Protocol):
    """Knows how some words are said."""

    @property
    def pronunciations(self) -> Pronunciations:
        """As they are now; they may change while the server runs."""
