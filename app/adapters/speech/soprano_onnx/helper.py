"""A second thread, which computes one thing at a time while the step loop does something else."""

import queue
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TypeVar

T = TypeVar("T")


class Helper:
    """The thread, and the way back from it.

    Args:
        inbox: of the step loop; what is put there is called in its thread.
    """

    def __init__(self, inbox: "queue.SimpleQueue[Callable[[], None]]") -> None:
        self._inbox = inbox
        self._threads = ThreadPoolExecutor(1, "soprano-helper")
        self._is_stopped = False
        self.is_busy = False

    def compute(self, function: Callable[[], T], take: Callable[[T], None]) -> None:
        """Call `function` there, and `take` with what it gave in the step loop's thread.

        An error is raised in the step loop's thread. Not to be called while it is busy.
        """
        self.is_busy = True

        def take_result(future: "Future[T]") -> None:
            self.is_busy = False
            if not self._is_stopped:
                take(future.result())

        future = self._threads.submit(function)
        future.add_done_callback(lambda done: self._inbox.put(lambda: take_result(done)))

    def stop(self) -> None:
        """From now on its results and errors are forgotten."""
        self._is_stopped = True

    def close(self) -> None:
        """Wait until it has nothing more to do, and end it."""
        self._threads.shutdown()
