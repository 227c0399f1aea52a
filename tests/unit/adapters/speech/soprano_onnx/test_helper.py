"""A second thread whose results come back through the inbox of the first."""

import queue
import threading
import time
from collections.abc import Callable, Iterator

import pytest

from app.adapters.clock.system import SystemClock
from app.adapters.speech.soprano_onnx.helper import Helper

Inbox = queue.SimpleQueue[Callable[[], None]]

MAX_WAIT_S = 10.0


@pytest.fixture
def inbox() -> Inbox:
    return queue.SimpleQueue()


@pytest.fixture
def helper(inbox: Inbox) -> Iterator[Helper]:
    helper = Helper(inbox, SystemClock())
    yield helper
    helper.close()


def test_what_it_computed_is_taken_by_whoever_reads_the_inbox(helper: Helper, inbox: Inbox) -> None:
    threads: list[int] = []
    helper.compute(threading.get_ident, threads.append)
    assert helper.is_busy
    come = inbox.get(timeout=MAX_WAIT_S)
    assert (threads, helper.is_busy) == ([], True)
    come()
    assert not helper.is_busy
    assert threads != [threading.get_ident()]


def test_it_tells_for_how_long_it_has_computed(helper: Helper, inbox: Inbox) -> None:
    for _ in range(2):
        helper.compute(lambda: time.sleep(0.02), lambda _: None)
        inbox.get(timeout=MAX_WAIT_S)()
    assert 0.04 <= helper.spent_s < 2 * MAX_WAIT_S


def test_an_error_is_raised_where_the_result_would_be_taken(helper: Helper, inbox: Inbox) -> None:
    def fail() -> None:
        raise RuntimeError("the runtime failed")

    helper.compute(fail, lambda _: None)
    with pytest.raises(RuntimeError, match="the runtime failed"):
        inbox.get(timeout=MAX_WAIT_S)()


def test_once_it_is_stopped_results_and_errors_are_forgotten(helper: Helper, inbox: Inbox) -> None:
    taken: list[int] = []

    def fail() -> int:
        raise RuntimeError("too late")

    helper.compute(fail, taken.append)
    helper.stop()
    inbox.get(timeout=MAX_WAIT_S)()
    helper.compute(lambda: 1, taken.append)
    inbox.get(timeout=MAX_WAIT_S)()
    assert taken == []


def test_closing_waits_for_what_is_under_way(inbox: Inbox) -> None:
    helper, begun, may_end, ended = (
        Helper(inbox, SystemClock()),
        *(threading.Event() for _ in range(3)),
    )

    def compute() -> None:
        begun.set()
        may_end.wait(MAX_WAIT_S)
        ended.set()

    helper.compute(compute, lambda _: None)
    begun.wait(MAX_WAIT_S)
    threading.Timer(0.05, may_end.set).start()
    helper.close()
    assert ended.is_set()
