"""A second thread, which works as long as there is something to do beside the first."""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

from app.adapters.speech.soprano_onnx.baton import Baton

Work = Callable[[], None]


class Helper:
    """The thread. All of it happens under the baton, which a work puts down while it computes.

    Args:
        baton: held by whoever decides what is done and takes what came of it.
        next_work: decides what it does next; None is nothing.
        report: called after each work, and with the error of one that failed, after which it does
            nothing more.

    Attributes:
        is_busy: whether it works.
    """

    def __init__(
        self,
        baton: Baton,
        next_work: Callable[[], Work | None],
        report: Callable[[Exception | None], None],
    ) -> None:
        self._baton = baton
        self._next_work = next_work
        self._report = report
        self._threads = ThreadPoolExecutor(1, "soprano-helper")
        self.is_busy = False

    def wake(self) -> None:
        """Have it work if it rests and there is something to do; called with the baton."""
        if not self.is_busy and (work := self._next_work()) is not None:
            self.is_busy = True
            self._threads.submit(self._go_on, work)

    def _go_on(self, work: Work | None) -> None:
        try:
            with self._baton:
                while work is not None:
                    work()
                    self._report(None)
                    work = self._next_work()
                self.is_busy = False
        except Exception as error:  # noqa: BLE001 - the first thread must hear of it
            self._report(error)

    def close(self) -> None:
        """Wait until it has nothing more to do, and end it; called without the baton."""
        self._threads.shutdown()
