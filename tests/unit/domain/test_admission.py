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
    Capacity,
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
        queue.pause(ticket(), 0.0)
        found, _ = queue.next(0.0)
        if found is None:
            return begun
        begun.append(found)


def move(queue: AdmissionQueue, *, every_s: float) -> None:
    """Let it be known how fast turns come free, with a request of 10 characters."""
    queue.pause(ticket(), every_s)  # it had the only turn since 0.0
    queue.arrive(ticket(at=every_s))
    queue.next(every_s)


def run_full(capacity: Capacity, *, made: float) -> int:
    """The number after two minutes, in which others wait all the time.

    The model makes `made` seconds of audio a second: one segment after the other, each of which has
    waited for nine others.
    """
    now = 0.0
    capacity.note_running(capacity.num, now)
    while now < 120:
        now += SEGMENT_S / made
        capacity.audio_made(SEGMENT_S, 10 * SEGMENT_S / made, now)
        capacity.note_running(capacity.num, now)
    return capacity.num


SEGMENT_S = 4.0


@pytest.mark.parametrize(
    ("num", "made", "last"),
    [(3, 8.4, 5), (5, 5.2, 3), (2, 10.0, 6), (8, 1.0, 1), (4, 99.0, 8)],  # 5 x 1.6 = 8
)
def test_the_capacity_moves_to_what_is_made_while_all_turns_are_taken(
    num: int, made: float, last: int
) -> None:
    assert run_full(Capacity(AdmissionLimits(max_running=8), num), made=made) == last


def test_segments_that_end_together_are_no_higher_speed() -> None:
    capacity = Capacity(AdmissionLimits(max_running=16), 3)
    capacity.note_running(3, 9.0)  # all of them were begun long before
    for _ in range(3):
        capacity.audio_made(5.0, 10.0, 10.0)
    capacity.audio_made(5.0, 10.0, 10.1)
    assert capacity.num == 3
    capacity.audio_made(5.0, 10.0, 20.0)
    assert capacity.num <= 3  # 1.8 seconds of audio a second, and not 20


def test_many_segments_of_which_the_first_are_short_under_way_are_no_higher_speed() -> None:
    """Ten requests with four segments each, of which the model makes one after the other."""
    capacity = Capacity(AdmissionLimits(max_running=32), 10)
    now = 0.0
    capacity.note_running(10, now)
    for _ in range(40):
        now += 5.0 / 15  # 15 seconds of audio a second
        capacity.audio_made(5.0, now, now)
        capacity.note_running(capacity.num, now)
        assert 9 <= capacity.num <= 11


def test_what_was_cached_says_nothing_of_the_speed() -> None:
    capacity = Capacity(AdmissionLimits(max_running=16), 3)
    capacity.note_running(3, 0.0)
    for second in range(20):
        capacity.audio_made(5.0, 0.001, second + 0.001)
    assert capacity.num == 3


def test_the_capacity_of_a_server_that_is_not_full_is_not_known_any_better() -> None:
    capacity = Capacity(AdmissionLimits(max_running=8), 4)
    capacity.note_running(4, 0.0)
    capacity.note_running(3, 2.5)
    for second in range(9):
        capacity.audio_made(99.0, 4.0, 5.0 + second)
    assert capacity.num == 4


def test_what_was_learnt_before_a_quiet_time_is_forgotten() -> None:
    capacity = Capacity(AdmissionLimits(max_running=16), 4)
    capacity.note_running(4, 0.0)
    for second in range(1, 10):
        capacity.audio_made(1.0, 0.5, second)
    before = capacity.num
    capacity.note_running(0, 10.0)
    capacity.note_running(before, 1_000.0)
    capacity.audio_made(90.0, 0.5, 1_000.5)
    assert capacity.num == before
    capacity.audio_made(90.0, 0.5, 1_003.0)
    assert capacity.num > before


def test_a_capacity_that_was_asked_for_is_kept() -> None:
    capacity = Capacity(AdmissionLimits(min_running=4, max_running=4), 2)
    assert run_full(capacity, made=0.5) == 4


@pytest.mark.parametrize(("begun_with", "num"), [(0, 1), (5, 5), (99, 8)])
def test_the_queue_lets_as_many_run_as_the_machine_keeps_up_with(begun_with: int, num: int) -> None:
    queue = AdmissionQueue(AdmissionLimits(max_running=8))
    queue.capacity.begin_with(begun_with)
    for _ in range(9):
        queue.arrive(ticket())
    assert len([found for _ in range(9) if (found := queue.next(0.0)[0])]) == num
    assert queue.load(0.0).max_running == num


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
    queue.pause(ticket(), 5.1)
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
    queue.pause(ticket(), 0.0)
    assert queue.next(0.0)[0] is not None
    queue.resume(ticket(), 0.0)
    assert queue.load(0.0).num_running == 2
    queue.arrive(ticket())
    queue.pause(ticket(), 0.0)
    assert queue.next(0.0)[0] is None


def test_a_short_text_that_can_begin_at_once_needs_no_room_in_the_line() -> None:
    queue = AdmissionQueue(AdmissionLimits(max_running=4, max_queued=2))
    for _ in range(5):
        queue.arrive(ticket(num_chars=1_001))
        queue.next(0.0)
    with pytest.raises(ServerOverloadedError):
        queue.arrive(ticket(num_chars=1_001))
    short = ticket(num_chars=10)
    assert queue.arrive(short) == []
    assert queue.next(0.0) == (short, [])


def test_a_quarter_of_the_turns_is_kept_for_short_texts() -> None:
    queue = AdmissionQueue(AdmissionLimits(max_running=8))
    long_ones = [ticket("ann", num_chars=1_001) for _ in range(8)]
    short = ticket("ann", num_chars=1_000)
    for one in [*long_ones, short]:
        queue.arrive(one)
    begun = [queue.next(0.0)[0] for _ in range(8)]
    assert begun == [*long_ones[:6], short, None]
    queue.pause(long_ones[0], 0.0)
    assert queue.next(0.0)[0] is long_ones[6]


def test_no_more_are_open_than_may_be() -> None:
    queue = AdmissionQueue(AdmissionLimits(max_running=1, max_open=2))
    for _ in range(2):
        queue.arrive(ticket())
        assert queue.next(0.0)[0] is not None
        queue.pause(ticket(), 0.0)
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
    queue.pause(ticket(), 1.0)
    queue.arrive(ticket(at=1_000.0))
    queue.next(1_000.0)
    queue.arrive(ticket(at=1_000.0, num_chars=30))
    assert queue.retry_after_s() == pytest.approx(3.0)


def test_the_pace_is_known_before_anybody_has_waited() -> None:
    queue = AdmissionQueue(AdmissionLimits(max_running=4, max_queued=32, max_wait_s=10.0))
    num_running = 0
    for now in range(0, 40, 2):  # four that ask, listen, and ask again
        if num_running == 4:
            queue.pause(ticket(), now)
            queue.end(now)
            num_running -= 1
        queue.arrive(ticket(at=now))
        assert queue.next(now)[0] is not None
        num_running += 1
    for _ in range(2):  # 10 s / 2 s, of which half
        queue.arrive(ticket(at=40.0))
    with pytest.raises(ServerOverloadedError):
        queue.arrive(ticket(at=40.0))


@pytest.mark.parametrize(
    ("ends", "num_in_time"),  # 10 s, of which half, at one in so many
    [
        ([2.0, 2.0, 2.0, 2.0], 10),  # 2 s / 4
        ([1.0, 2.0, 3.0, 4.0], 8),  # 2.5 s / 4: a turn is taken for 2.5 s, and there are four
        ([1.0, 1.0, 1.0, 29.0], 2),  # 8 s / 4
    ],
)
def test_the_pace_is_that_of_all_turns_also_where_nobody_waits(
    ends: list[float], num_in_time: int
) -> None:
    queue = AdmissionQueue(AdmissionLimits(max_running=4, max_queued=32, max_wait_s=10.0))
    for now in (0.0, 40.0):
        for _ in ends:
            queue.arrive(ticket(at=now))
            assert queue.next(now)[0] is not None
        for end in ends:
            queue.pause(ticket(), now + end)
            queue.end(now + end)
    for _ in range(4 + num_in_time):
        queue.arrive(ticket(at=80.0))
        queue.next(80.0)
    with pytest.raises(ServerOverloadedError):
        queue.arrive(ticket(at=80.0))


def test_a_turn_that_one_took_that_came_back_says_nothing_of_the_pace() -> None:
    queue = AdmissionQueue(AdmissionLimits(max_running=2, max_queued=32, max_wait_s=10.0))
    first, second = ticket(), ticket()
    for one in (first, second):
        queue.arrive(one)
        queue.next(0.0)
    queue.pause(first, 2.0)
    queue.resume(first, 3.0)
    queue.pause(second, 12.0)
    queue.resume(second, 12.0)
    for _ in range(2):  # 10 s / 2 s, of which half
        queue.arrive(ticket(at=12.0))
    with pytest.raises(ServerOverloadedError):
        queue.arrive(ticket(at=12.0))


@given(st.lists(st.tuples(st.integers(1, 5_000), st.floats(0.001, 100.0)), max_size=20))
def test_what_callers_are_told_to_wait_is_never_absurd(begun: list[tuple[int, float]]) -> None:
    queue = full_queue(max_queued=100, max_queued_chars=200_000)
    now, running = 0.0, ticket()
    for num_chars, interval_s in begun:
        if not queue.is_full():
            queue.arrive(ticket(num_chars=num_chars))
        now += interval_s
        queue.pause(running, now)
        found, _ = queue.next(now)
        running = found or running
        if found is None:
            queue.resume(running, 0.0)
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
        max_running=4,
        max_open=6,
        max_queued=5,
        max_queued_chars=100,
        max_wait_s=10.0,
        max_short_chars=30,
    )

    def __init__(self) -> None:
        super().__init__()
        self.queue = AdmissionQueue(self.LIMITS)
        self.now = 0.0
        self.waiting: dict[str | None, list[Ticket]] = {}  # whose turn it is comes first
        self.running: list[Ticket] = []
        self.paused: list[Ticket] = []
        self.last_turn: tuple[Ticket, float] | None = None
        self.num_beside = 0  # of those that ran with it, when one came free
        self.freed_at = 0.0  # when the latest of them left
        # from one that took the last turn until one came free; then from one that leaves to the
        # next, as if all turns were still taken
        self.intervals_s: list[float] = []

    def all_waiting(self) -> list[Ticket]:
        return [one for line in self.waiting.values() for one in line]

    def forget(self, one: Ticket) -> None:
        line = self.waiting[one.caller]
        line.remove(one)
        if not line:
            del self.waiting[one.caller]

    def may_begin(self, one: Ticket) -> bool:
        num_long = sum(other.num_chars > 30 for other in self.running)
        if one.num_chars > 30 and num_long >= 3:
            return False
        return len(self.running) < 4 and len(self.running) + len(self.paused) < 6

    def note_interval(self) -> None:
        if self.last_turn is not None and self.may_begin(self.last_turn[0]):
            self.intervals_s.append(self.now - self.last_turn[1])
            self.last_turn = None
            self.num_beside = len(self.running) if len(self.running) == 3 else 0
            self.freed_at = self.now

    def most_waiting(self) -> int:
        """By what was seen of the pace."""
        weights = [PACE_MEMORY**age for age in range(len(self.intervals_s))]
        total_s = sum(map(operator.mul, weights, reversed(self.intervals_s)))
        if not total_s:
            return 5
        return min(5, max(1, int(WAIT_MARGIN * 10 * sum(weights) / total_s)))

    def expected_removals(self, caller: str | None, num_chars: int) -> int | None:
        """How many of those who have most must go; None if that does not make room."""
        if self.may_begin(ticket(caller, num_chars)):
            return 0
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
        """Whoever begins is the first that may, in the order of the callers, and not late."""
        while True:
            found, expired = self.queue.next(self.now)
            for one in expired:
                assert one.expires_at < self.now
                self.forget(one)
            if found is None:
                break
            assert found is next(filter(self.may_begin, self.all_waiting()))
            assert found.expires_at >= self.now
            self.forget(found)
            if found.caller in self.waiting:
                self.waiting[found.caller] = self.waiting.pop(found.caller)
            self.running.append(found)
            if not self.may_begin(found):
                self.last_turn = found, self.now
        assert not any(map(self.may_begin, self.all_waiting()))

    @precondition(lambda self: self.running)
    @rule(data=st.data())
    def pause(self, data: st.DataObject) -> None:
        one = data.draw(st.sampled_from(self.running))
        self.queue.pause(one, self.now)
        if self.last_turn is None and self.num_beside:
            self.num_beside -= 1
            self.intervals_s.append((self.now - self.freed_at) * (len(self.running) / 4))
            self.freed_at = self.now
        self.running.remove(one)
        self.paused.append(one)
        self.note_interval()
        self.serve()

    @precondition(lambda self: self.paused)
    @rule(data=st.data())
    def resume(self, data: st.DataObject) -> None:
        one = data.draw(st.sampled_from(self.paused))
        self.queue.resume(one, 0.0)
        self.paused.remove(one)
        self.running.append(one)
        if len(self.running) >= 4:
            self.num_beside = 0

    @precondition(lambda self: self.paused)
    @rule(data=st.data())
    def end(self, data: st.DataObject) -> None:
        self.paused.remove(data.draw(st.sampled_from(self.paused)))
        self.queue.end(self.now)
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
        assert load.num_running == len(self.running)
        assert load.num_open == len(self.running) + len(self.paused)
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
