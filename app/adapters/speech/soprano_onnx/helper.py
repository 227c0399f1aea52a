"""A second thread, which computes one thing at a time while the step loop does something else."""

import queue
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TypeVar

from app.ports.clock import Clock

T = TypeVar("T")


class Helper:
    """The thread, and the way back from it.

    Args:
        inbox: of the step loop; what is put there is called in its thread.
        clock: measures what it takes.

    Attributes:
        is_busy: whether a result is still to be taken.
        spent_s: seconds for which it has computed what was taken.
    """

    def __init__(self, inbox: "queue.SimpleQueue[Callable[[], None]]", clock: Clock) -> None:
        self._inbox = inbox
        self._clock = clock
        self._threads = ThreadPoolExecutor(1, "soprano-helper")
        self._is_stopped = False
        self.is_busy = False
        self.spent_s = 0.0

    def compute(self, function: Callable[[], T], take: Callable[[T], None]) -> None:
        """Call `function` there, and `take` with what it gave in the step loop's thread.

        An error is raised in the step loop's thread. Not to be called while it is busy.
        """
        self.is_busy = True

        def timed() -> tuple[T, float]:
            started = self._clock.monotonic()
            return function(), self._clock.monotonic() - started

        def take_result(future: "Future[tuple[T, float]]") -> None:
            self.is_busy = False
            if self._is_stopped:
                return
            result, took_s = future.result()
            self.spent_s += took_s
            take(result)

        future = self._threads.submit(timed)
        future.add_done_callback(lambda done: self._inbox.put(lambda: take_result(done)))

    def stop(self) -> None:
        """From now on its results and errors are forgotten."""
        self._is_stopped = True

    def close(self) -> None:
        """Wait until it has nothing more to do, and end it."""
        self._threads.shutdown()
