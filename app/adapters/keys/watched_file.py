"""Keys in a file that may change while they are used."""

import asyncio
from collections.abc import Sequence
from pathlib import Path
from typing import Final

import structlog

from app.adapters.keys.toml_file import read_keys
from app.domain.access import ApiKey, InvalidKeysError, KeyLimits, Keyring
from app.ports.clock import Clock

LOOK_EVERY_S: Final = 1.0
"""Seconds for which nobody looks at the file again."""

State = tuple[int, ...]
"""By which one content of a file is told from another, without reading it."""

_log = structlog.get_logger(__name__)


class WatchedKeyFile:
    """A KeySource over a file. A new file that cannot be used changes nothing, and is logged once.

    Args:
        path: of the file.
        given: further keys, which do not change.
        limits: of keys in the file that have none of their own.
        clock: says when to look again.

    Raises:
        InvalidKeysError: the file cannot be used.
    """

    def __init__(
        self, path: Path, given: Sequence[ApiKey], limits: KeyLimits, clock: Clock
    ) -> None:
        self._path = path
        self._given = tuple(given)
        self._limits = limits
        self._clock = clock
        self._looked_at = clock.monotonic()
        self._looking = asyncio.Lock()
        self._state = _state(path)
        self._keyring = self._read()

    async def current(self) -> Keyring:
        if self._clock.monotonic() - self._looked_at >= LOOK_EVERY_S:
            await self._look()
        return self._keyring

    async def wait_for_change(self, known: Keyring) -> Keyring:
        while self._keyring is known:
            await self._clock.sleep(LOOK_EVERY_S)
            await self._look()
        return self._keyring

    async def _look(self) -> None:
        self._looked_at = self._clock.monotonic()  # first of all, so that nobody else looks
        async with self._looking:  # whoever waits for a change must see what another look finds
            await asyncio.to_thread(self._reload)

    def _reload(self) -> None:
        state = _state(self._path)  # before reading: a change meanwhile is seen the next time
        if state == self._state:
            return
        self._state = state
        try:
            self._keyring = self._read()
        except InvalidKeysError as error:
            _log.error("keys.not_reloaded", reason=str(error))
        else:
            _log.info("keys.reloaded", num_keys=len(self._keyring))

    def _read(self) -> Keyring:
        return Keyring((*self._given, *read_keys(self._path, self._limits)))


def _state(path: Path) -> State:
    try:
        found = path.stat()
    except OSError:
        return ()
    return found.st_dev, found.st_ino, found.st_size, found.st_mtime_ns, found.st_ctime_ns
