"""How much room the store has, asked so that a disk that does not answer holds nobody up."""

import math
import shutil
import threading
from pathlib import Path
from typing import Final

PATIENCE_S: Final = 0.1
"""For an answer; a disk that is there gives it at once."""


class FreeSpace:
    """Of the volume that `directory` is in, or will be."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory.absolute()
        self._asking: threading.Thread | None = None
        self._num_bytes = math.nan

    def __call__(self) -> float:
        """Bytes; NaN where it cannot be told, or not at once."""
        if self._asking is None or not self._asking.is_alive():
            self._asking = threading.Thread(target=self._ask, name="store-space", daemon=True)
            self._asking.start()
        self._asking.join(PATIENCE_S)
        return math.nan if self._asking.is_alive() else self._num_bytes

    def _ask(self) -> None:
        try:
            directories = (self._directory, *self._directory.parents)
            existing = next(path for path in directories if path.exists())
            self._num_bytes = float(shutil.disk_usage(existing).free)
        except OSError:
            self._num_bytes = math.nan
