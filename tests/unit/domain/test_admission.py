"""The line against its rules, written as plainly as can be, under any order of events."""

import operator

import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from app.domain.admission import (
    MAX_RETRY_AFTER_S,
    MIN_RETRY_AFTER_S,
    PACE_MEMORY,
    WAIT_MARGIN,
    AdmissionLimits,
    AdmissionQueue,
    Pace,
    Ticket,
)
from app.domain.errors import ServerOverloadedError

CALLERS = st.sampled_from([None, "ann", "bob", "eve"])


def ticket(
    caller: str | None = None, num_chars: int = 10, at: float = 0.0, until: float = 1e9
) -> Ticket:
    return Ticket(caller, num_chars, at, until)


def full_queue(*, max_queued: int = 4, max_queued_chars: int = 1_000) -> AdmissionQueue:
    """A model that is busy, and nobody who waits."""
    limits = AdmissionLimits(
        max_running=1, max_queued=max_queued, max_queued_chars=max_queued_chars
    )
    queue = AdmissionQueue(limits)
    queue.arrive(ticket())
    queue.next(0.0)
    return queue


def begin_all(queue: AdmissionQueue) -> list[Ticket]:
    """All that wait, in the order in which they begin."""
    begun: list[Ticket] = []
    while True:
        queue.pause(0.0)
        found, _ = queue.next(0.0)
        if found is None:
            return begun
        begun.append(found)


def move(queue: AdmissionQueue, *, every_s: float) -> None:
    """Let it be known how fast turns come free, with a request of 10 characters."""
    queue.pause(every_s)  # it had the only turn since 0.0
    queue.arrive(ticket(at=every_s))
    queue.next(every_s)


def test_whoever_comes_first_is_first() -> None:
    queue = full_queue()
    waiting = [ticket() for _ in range(4)]
    for one in waiting:
        assert queue.arrive(one) == []
    assert begin_all(queue) == waiting


def test_callers_take_turns_however_much_one_of_them_sends() -> None:
    queue = full_queue(max_queued=10)
    many = [ticket("ann") for _ in range(5)]
    few = [ticket("bob") for _ in range(2)]
    for one in many + few:
        queue.arrive(one)
    order = [one.caller for one in begin_all(queue)]
    assert order == ["ann", "bob", "ann", "bob", "ann", "ann", "ann"]


def test_a_full_line_refuses_a_caller_who_has_as_much_in_it_as_anybody() -> None:
    queue = full_queue(max_queued=4)
    for _ in range(4):
        queue.arrive(ticket("ann"))
    with pytest.raises(ServerOverloadedError):
        queue.arrive(ticket("ann"))
    assert queue.load(0.0).num_queued == 4


def test_in_a_full_line_whoever_has_most_makes_room_with_the_newest() -> None:
    queue = full_queue(max_queued=4)
    many = [ticket("ann") for _ in range(4)]
    for one in many:
        queue.arrive(one)
    assert queue.arrive(ticket("bob")) == [many[-1]]
    assert queue.arrive(ticket("bob")) == [many[-2]]
    with pytest.raises(ServerOverloadedError):  # now they have as much each
        queue.arrive(ticket("bob"))


def test_a_refusal_for_characters_leaves_the_line_as_it_was() -> None:
    queue = full_queue(max_queued=10, max_queued_chars=100)
    waiting = [ticket("ann", 30) for _ in range(3)]
    for one in waiting:
        queue.arrive(one)
    with pytest.raises(ServerOverloadedError):
        queue.arrive(ticket("bob", 95))
    assert begin_all(queue) == waiting


def test_a_text_longer_than_all_that_may_wait_can_wait_alone() -> None:
    queue = full_queue(max_queued_chars=100)
    assert queue.arrive(ticket(num_chars=5_000)) == []
    with pytest.raises(ServerOverloadedError):
        queue.arrive(ticket(num_chars=1))


def test_what_waited_too_long_is_not_begun() -> None:
    queue = full_queue()
    late, good = ticket(until=5.0), ticket(until=9.0)
    queue.arrive(late)
    queue.arrive(good)
    queue.pause(5.1)
    assert queue.next(5.1) == (good, [late])


def test_no_more_wait_than_can_begin_in_time() -> None:
    queue = full_queue(max_queued=32)
    move(queue, every_s=1.5)
    for _ in range(3):  # 10 s / 1.5 s, of which half
        assert not queue.is_full()
        queue.arrive(ticket())
    with pytest.raises(ServerOverloadedError):
        queue.arrive(ticket())
    assert queue.is_full()


def test_one_may_wait_however_slow_the_model_is() -> None:
    queue = full_queue()
    move(queue, every_s=1_000.0)
    queue.arrive(ticket())
    with pytest.raises(ServerOverloadedError):
        queue.arrive(ticket())


def test_without_a_line_only_what_begins_at_once_is_taken() -> None:
    queue = AdmissionQueue(AdmissionLimits(max_running=1, max_queued=0))
    queue.arrive(ticket())
    assert queue.next(0.0)[0] is not None
    with pytest.raises(ServerOverloadedError):
        queue.arrive(ticket())


def test_a_paused_request_leaves_its_place_to_another_and_needs_none_to_go_on() -> None:
    queue = full_queue()
    queue.arrive(ticket())
    queue.pause(0.0)
    assert queue.next(0.0)[0] is not None
    queue.resume()
    assert queue.load(0.0).num_running == 2
    queue.arrive(ticket())
    queue.pause(0.0)
    assert queue.next(0.0)[0] is None


def test_no_more_are_open_than_may_be() -> None:
    queue = AdmissionQueue(AdmissionLimits(max_running=1, max_open=2))
    for _ in range(2):
        queue.arrive(ticket())
        assert queue.next(0.0)[0] is not None
        queue.pause(0.0)
    queue.arrive(ticket())
    assert queue.next(0.0)[0] is None
    queue.end(0.0)
    assert queue.next(0.0)[0] is not None


def test_callers_are_told_to_wait_until_those_before_them_have_begun() -> None:
    queue = full_queue()
    move(queue, every_s=1.0)
    queue.arrive(ticket(num_chars=30))
    assert queue.retry_after_s() == pytest.approx(3.0)


def test_time_in_which_a_turn_is_free_does_not_count_for_the_pace() -> None:
    queue = full_queue()
    queue.pause(1.0)
    queue.arrive(ticket(at=1_000.0))
    queue.next(1_000.0)
    queue.arrive(ticket(at=1_000.0, num_chars=30))
    assert queue.retry_after_s() == pytest.approx(3.0)


def test_the_pace_is_known_before_anybody_has_waited() -> None:
    queue = AdmissionQueue(AdmissionLimits(max_running=4, max_queued=32, max_wait_s=10.0))
    num_running = 0
    for now in range(0, 40, 2):  # four that ask, listen, and ask again
        if num_running == 4:
            queue.pause(now)
            queue.end(now)
            num_running -= 1
        queue.arrive(ticket(at=now))
        assert queue.next(now)[0] is not None
        num_running += 1
    for _ in range(2):  # 10 s / 2 s, of which half
        queue.arrive(ticket(at=40.0))
    with pytest.raises(ServerOverloadedError):
        queue.arrive(ticket(at=40.0))


@given(st.lists(st.tuples(st.integers(1, 5_000), st.floats(0.001, 100.0)), max_size=20))
def test_what_callers_are_told_to_wait_is_never_absurd(begun: list[tuple[int, float]]) -> None:
    queue = full_queue(max_queued=100, max_queued_chars=200_000)
    now = 0.0
    for num_chars, interval_s in begun:
        if not queue.is_full():
            queue.arrive(ticket(num_chars=num_chars))
        now += interval_s
        queue.pause(now)
        queue.next(now)
    assert MIN_RETRY_AFTER_S <= queue.retry_after_s() <= MAX_RETRY_AFTER_S


def test_the_pace_is_that_of_those_who_began_last() -> None:
    pace = Pace()
    assert (pace.interval_s, pace.wait_s(10)) == (0.0, 0.0)
    pace.record(100, 2.0)
    assert pace.interval_s == pytest.approx(2.0)
    assert pace.wait_s(50) == pytest.approx(1.0)
    for _ in range(400):
        pace.record(100, 8.0)
    assert pace.interval_s == pytest.approx(8.0)


class QueueMachine(RuleBasedStateMachine):
    """Any order of arrivals, departures, pauses, returns and ends."""

    LIMITS = AdmissionLimits(
        max_running=2, max_open=4, max_queued=5, max_queued_chars=100, max_wait_s=10.0
    )

    def __init__(self) -> None:
        super().__init__()
        self.queue = AdmissionQueue(self.LIMITS)
        self.now = 0.0
        self.waiting: dict[str | None, list[Ticket]] = {}  # whose turn it is comes first
        self.num_running = 0
        self.num_paused = 0
        self.filled_at: float | None = None
        self.intervals_s: list[float] = []  # from one that took the last turn until one came free

    def all_waiting(self) -> list[Ticket]:
        return [one for line in self.waiting.values() for one in line]

    def forget(self, one: Ticket) -> None:
        line = self.waiting[one.caller]
        line.remove(one)
        if not line:
            del self.waiting[one.caller]

    def is_full(self) -> bool:
        return self.num_running >= 2 or self.num_running + self.num_paused >= 4

    def note_interval(self) -> None:
        if self.filled_at is not None and not self.is_full():
            self.intervals_s.append(self.now - self.filled_at)
            self.filled_at = None

    def most_waiting(self) -> int:
        """By what was seen of the pace."""
        weights = [PACE_MEMORY**age for age in range(len(self.intervals_s))]
        total_s = sum(map(operator.mul, weights, reversed(self.intervals_s)))
        if not total_s:
            return 5
        return min(5, max(1, int(WAIT_MARGIN * 10 * sum(weights) / total_s)))

    def expected_removals(self, caller: str | None, num_chars: int) -> int | None:
        """How many of those who have most must go; None if that does not make room."""
        lines = {name: [one.num_chars for one in line] for name, line in self.waiting.items()}
        num_removed = 0
        while True:
            sizes = [size for line in lines.values() for size in line]
            if not sizes or (len(sizes) < self.most_waiting() and sum(sizes) + num_chars <= 100):
                return num_removed
            greediest = max(lines.values(), key=len)
            if len(greediest) <= len(lines.get(caller, [])) + 1:
                return None
            greediest.pop()
            num_removed += 1

    @rule(caller=CALLERS, num_chars=st.integers(1, 60), wait_s=st.integers(0, 20))
    def arrive(self, caller: str | None, num_chars: int, wait_s: int) -> None:
        one = ticket(caller, num_chars, self.now, self.now + wait_s)
        expected = self.expected_removals(caller, num_chars)
        if expected is None:
            with pytest.raises(ServerOverloadedError):
                self.queue.arrive(one)
        else:
            removed = self.queue.arrive(one)
            assert len(removed) == expected
            for other in removed:
                assert other is self.waiting[other.caller][-1]
                self.forget(other)
            self.waiting.setdefault(caller, []).append(one)
        self.serve()

    @rule(seconds=st.integers(0, 15))
    def pass_time(self, seconds: int) -> None:
        self.now += seconds

    def serve(self) -> None:
        """Whoever begins is first of the caller whose turn it is, and not late."""
        while True:
            found, expired = self.queue.next(self.now)
            for one in expired:
                assert one.expires_at < self.now
                self.forget(one)
            if found is None:
                break
            caller = next(iter(self.waiting))
            assert found is self.waiting[caller][0]
            assert found.expires_at >= self.now
            self.forget(found)
            if caller in self.waiting:
                self.waiting[caller] = self.waiting.pop(caller)
            self.num_running += 1
            if self.is_full():
                self.filled_at = self.now
        assert self.is_full() or not self.waiting

    @precondition(lambda self: self.num_running)
    @rule()
    def pause(self) -> None:
        self.queue.pause(self.now)
        self.num_running -= 1
        self.num_paused += 1
        self.note_interval()
        self.serve()

    @precondition(lambda self: self.num_paused)
    @rule()
    def resume(self) -> None:
        self.queue.resume()
        self.num_running += 1
        self.num_paused -= 1

    @precondition(lambda self: self.num_paused)
    @rule()
    def end(self) -> None:
        self.queue.end(self.now)
        self.num_paused -= 1
        self.note_interval()
        self.serve()

    @precondition(lambda self: self.waiting)
    @rule(data=st.data())
    def leave(self, data: st.DataObject) -> None:
        one = data.draw(st.sampled_from(self.all_waiting()))
        assert self.queue.leave(one)
        assert not self.queue.leave(one)
        self.forget(one)

    @invariant()
    def counts_are_right(self) -> None:
        load, waiting = self.queue.load(self.now), self.all_waiting()
        assert load.num_queued == len(waiting) <= 5
        assert load.num_queued_chars == sum(one.num_chars for one in waiting)
        assert load.num_running == self.num_running
        assert load.num_open == self.num_running + self.num_paused
        arrivals = [one.arrived_at for one in waiting]
        assert load.oldest_s == self.now - min(arrivals, default=self.now)


TestQueueMachine = QueueMachine.TestCase


@given(st.lists(st.tuples(CALLERS, st.integers(1, 9)), min_size=1, max_size=40))
def test_each_caller_gets_its_share(arrivals: list[tuple[str | None, int]]) -> None:
    """Nobody begins twice while another waits."""
    queue = full_queue(max_queued=50, max_queued_chars=10_000)
    for caller, num_chars in arrivals:
        queue.arrive(ticket(caller, num_chars))
    left = {caller: sum(name == caller for name, _ in arrivals) for caller, _ in arrivals}
    begun = dict.fromkeys(left, 0)
    for one in begin_all(queue):
        begun[one.caller] += 1
        left[one.caller] -= 1
        still_waiting = [begun[caller] for caller, count in left.items() if count]
        assert begun[one.caller] - min(still_waiting, default=begun[one.caller]) <= 1
