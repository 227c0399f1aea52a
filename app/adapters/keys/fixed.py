"""Keys that never change."""

import asyncio

from app.domain.access import Keyring


class FixedKeys:
    """A KeySource over the keys of the settings; they change with a restart only."""

    def __init__(self, keyring: Keyring) -> None:
        self._keyring = keyring

    async def current(self) -> Keyring:
        return self._keyring

    async def wait_for_change(self, known: Keyring) -> Keyring:
        while self._keyring is known:
            await asyncio.Event().wait()
        return self._keyring
