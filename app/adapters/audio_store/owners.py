"""A directory per owner, inside the directory of whoever has no name.

`owner-<name>` has no extension, so it cannot be the name of audio, and no audio can take it.
"""

import asyncio
import os
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from app.adapters.audio_store.files import in_thread
from app.adapters.audio_store.filesystem import FilesystemAudioStore, StoreLimits
from app.ports.clock import Clock

_OWNER: Final = re.compile(r"[a-z0-9][a-z0-9_-]{0,31}")
_PREFIX: Final = "owner-"


class FilesystemAudioStores:
    """AudioStores in `directory`; `limits` hold for each owner."""

    def __init__(self, directory: Path, limits: StoreLimits, clock: Clock) -> None:
        self._directory = directory
        self._limits = limits
        self._clock = clock
        self._opened: dict[str | None, FilesystemAudioStore] = {}
        self._opening = asyncio.Lock()

    async def for_owner(self, owner: str | None) -> FilesystemAudioStore:
        directory = self._directory_of(owner)
        async with self._opening:
            store = self._opened.get(owner)
            if store is None:
                store = FilesystemAudioStore(directory, self._limits, self._clock)
                await store.open()
                self._opened[owner] = store
        return store

    async def owners(self) -> Sequence[str | None]:
        return [None, *await in_thread(_find_owners, self._directory)]

    async def close(self) -> None:
        for store in self._opened.values():
            await store.close()
        self._opened.clear()

    def _directory_of(self, owner: str | None) -> Path:
        if owner is None:
            return self._directory
        if not _OWNER.fullmatch(owner):
            raise ValueError(f"{owner!r} cannot be the name of an owner")
        return self._directory / f"{_PREFIX}{owner}"


def _find_owners(directory: Path) -> Sequence[str]:
    with os.scandir(directory) as entries:
        names = [entry.name for entry in entries if entry.is_dir()]
    owners = [name.removeprefix(_PREFIX) for name in names if name.startswith(_PREFIX)]
    return sorted(filter(_OWNER.fullmatch, owners))
