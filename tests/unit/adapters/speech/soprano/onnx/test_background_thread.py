"""A second thread that works under the first one's lock as long as there is something to do."""

import threading
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from app.adapters.speech.soprano.onnx.engine import OnnxEngine, Work, released
from app.adapters.speech.soprano.onnx.sessions import Sessions
from tests.fakes.clock import FakeClock

MAX_WAIT_S = 10.0


class Bench(OnnxEngine):
    """An engine whose first thread does not run, and whose second one has the works of a test."""

    def __init__(self) -> None:
        nothing: Any = None
        super().__init__(Sessions(nothing, nothing, nothing, 0, 1, is_split=True), FakeClock())
        self.works: list[Work] = []

    @property
    def is_busy(self) -> bool:
        return self._is_background_busy

    @property
    def lock(self) -> threading.Lock:
        return self._lock

    def _next_background(self) -> Work | None:
        assert self.lock.locked()
        return self.works.pop(0) if self.works else None

    def wake(self) -> None:
        with self.lock:
            self._wake_background()

    def wait(self) -> None:
        """Until the first thread would be woken; raises what would be raised there."""
        self._inbox.get(timeout=MAX_WAIT_S)()

    def end(self) -> None:
        assert self._background is not None
        self._background.shutdown()

    def computing(self, function: Callable[[], None]) -> Work:
        """Work that releases the lock for a function."""

        def work() -> None:
            with released(self.lock):
                function()

        return work


@pytest.fixture
def bench() -> Iterator[Bench]:
    bench = Bench()
    yield bench
    bench.end()


def test_it_goes_on_without_being_woken_as_long_as_there_is_something(bench: Bench) -> None:
    threads: list[int] = []
    bench.works += [lambda: threads.append(threading.get_ident())] * 3
    bench.wake()
    for _ in range(3):
        bench.wait()
    assert len(set(threads)) == 1
    assert threading.get_ident() not in threads


def test_it_rests_when_there_is_nothing_and_works_when_it_is_woken_again(bench: Bench) -> None:
    bench.wake()
    assert not bench.is_busy
    for _ in range(2):
        bench.works.append(lambda: None)
        bench.wake()
        bench.wait()
        with bench.lock:
            assert not bench.is_busy


def test_it_does_one_thing_at_a_time(bench: Bench) -> None:
    begun, may_end = threading.Event(), threading.Event()

    def wait() -> None:
        begun.set()
        may_end.wait(MAX_WAIT_S)

    bench.works.append(bench.computing(wait))
    bench.wake()
    assert begun.wait(MAX_WAIT_S)
    bench.works.append(lambda: None)
    bench.wake()
    assert bench.is_busy
    assert len(bench.works) == 1
    may_end.set()
    bench.wait()
    bench.wait()
    assert not bench.works


def test_an_error_is_reported_and_is_the_end(bench: Bench) -> None:
    def fail() -> None:
        raise RuntimeError("the runtime failed")

    bench.works += [bench.computing(fail), lambda: None]
    bench.wake()
    with pytest.raises(RuntimeError, match="the runtime failed"):
        bench.wait()
    bench.wake()
    assert len(bench.works) == 1
    assert not bench.lock.locked()


def test_closing_waits_for_what_is_under_way(bench: Bench) -> None:
    begun, may_end, ended = (threading.Event() for _ in range(3))

    def wait() -> None:
        begun.set()
        may_end.wait(MAX_WAIT_S)
        ended.set()

    bench.works.append(bench.computing(wait))
    bench.wake()
    assert begun.wait(MAX_WAIT_S)
    threading.Timer(0.05, may_end.set).start()
    bench.end()
    assert ended.is_set()
