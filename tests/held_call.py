"""Stops a thread at a known place, so that a test needs no luck with time."""

import threading
from typing import Any


class HeldCall:
    """One call of a method, by its number, that begins and goes on only when told to.

    Args:
        owner: whose method it is.
        name: of the method.
        number: of the call; the first one from now on is 1, and 0 is none.

    Attributes:
        num_calls: that have begun from now on.
    """

    def __init__(self, owner: Any, name: str, number: int) -> None:
        self._function = getattr(owner, name)
        self._number = number
        self.num_calls = 0
        self._has_begun = threading.Event()
        self._may_go_on = threading.Event()
        setattr(owner, name, self._call)

    def _call(self, *arguments: Any, **options: Any) -> Any:
        self.num_calls += 1
        if self.num_calls == self._number:
            self._has_begun.set()
            assert self._may_go_on.wait(timeout=30)
        return self._function(*arguments, **options)

    def wait_until_begun(self) -> None:
        """Block until it has."""
        assert self._has_begun.wait(timeout=30)

    def go_on(self) -> None:
        """Let it."""
        self._may_go_on.set()
