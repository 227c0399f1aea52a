"""What one of several threads holds while it decides, and puts down only to compute or to wait."""

import threading
from collections.abc import Callable
from types import TracebackType
from typing import TypeVar

T = TypeVar("T")


class Baton:
    """A lock. A `with` block holds it; `put_down` is the one thing that others may run beside.

    What the holder knew of sentences, rows and states may be out of date when it is back.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()

    @property
    def is_held(self) -> bool:
        """Whether some thread holds it."""
        return self._lock.locked()

    def __enter__(self) -> None:
        self._lock.acquire()

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._lock.release()

    def put_down(self, function: Callable[[], T]) -> T:
        """Call that without it; called by its holder, who has it again when this returns."""
        self._lock.release()
        try:
            return function()
        finally:
            self._lock.acquire()
