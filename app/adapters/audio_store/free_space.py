"""How much room the store has, asked in a thread: a disk that does not answer holds nobody up."""

import math
import shutil
import threading
from pathlib import Path
from typing import Final

START_WAIT_S: Final = 0.1
"""For the first answer; a disk that is there gives it at once."""


class FreeSpace:
    """Of the volume that `directory` is in, or will be."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory.absolute()
        self._num_bytes = math.nan
        self._begin_to_ask()
        self._asking.join(START_WAIT_S)

    def __call__(self) -> float:
        """Bytes, as of the call before; NaN where it cannot be told or the disk does not answer."""
        if self._asking.is_alive():
            return math.nan
        num_bytes = self._num_bytes
        self._begin_to_ask()
        return num_bytes

    def _begin_to_ask(self) -> None:
        self._asking = threading.Thread(target=self._ask, name="store-space", daemon=True)
        self._asking.start()

    def _ask(self) -> None:
        try:
            directories = (self._directory, *self._directory.parents)
            existing = next(path for path in directories if path.exists())
            self._num_bytes = float(shutil.disk_usage(existing).free)
        except OSError:
            self._num_bytes = math.nan
