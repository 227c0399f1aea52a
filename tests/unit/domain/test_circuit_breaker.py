"""The breaker against its definition, written as plainly as can be, under any order of events."""

import random
from typing import Any

import pytest
from hypothesis import strategies as st
from hypothesis.stateful import (
    Bundle,
    RuleBasedStateMachine,
    consumes,
    initialize,
    invariant,
    precondition,
    rule,
)

from app.domain.resilience import (
    PROBE_WAIT_S,
    BreakerPolicy,
    BreakerState,
    CallOutcome,
    CircuitBreaker,
    Permit,
)
from tests.fakes.clock import FakeClock

SUCCESS, FAILURE, IGNORED = CallOutcome.SUCCESS, CallOutcome.FAILURE, CallOutcome.IGNORED
CLOSED, OPEN, HALF_OPEN = BreakerState.CLOSED, BreakerState.OPEN, BreakerState.HALF_OPEN


class Reference:
    """The rules one by one, with every outcome of all time kept."""

    def __init__(self, policy: BreakerPolicy) -> None:
        self.policy = policy
        self.state = CLOSED
        self.number = 0
        self.history: list[tuple[float, CallOutcome]] = []
        self.num_failed_probes = 0
        self.closed_at: float | None = None
        self.opened_at = 0.0
        self.duration_s = 0.0
        self.is_probing = False

    def go(self, state: BreakerState) -> None:
        self.state, self.is_probing, self.history = state, False, []
        self.number += 1

    def open(self, now: float) -> None:
        self.opened_at = now
        doubled = self.policy.open_s
        for _ in range(self.num_failed_probes):
            doubled = min(2 * doubled, self.policy.max_open_s)
        self.duration_s = min(doubled, self.policy.max_open_s)
        self.go(OPEN)

    def acquire(self, now: float) -> str:
        if self.state is OPEN and now >= self.opened_at + self.duration_s:
            self.go(HALF_OPEN)
        if self.state is CLOSED:
            return "call"
        if self.state is HALF_OPEN and not self.is_probing:
            self.is_probing = True
            return "probe"
        return "refused"

    def record(self, permit: Permit, number: int, outcome: CallOutcome, now: float) -> None:
        if number != self.number:
            return
        if permit.is_probe:
            self.record_probe(outcome, now)
        elif outcome is not IGNORED:
            self.record_call(outcome, now)

    def record_probe(self, outcome: CallOutcome, now: float) -> None:
        self.is_probing = False
        if outcome is SUCCESS:
            self.closed_at = now
            self.go(CLOSED)
        if outcome is FAILURE:
            self.num_failed_probes += 1
            self.open(now)

    def record_call(self, outcome: CallOutcome, now: float) -> None:
        self.history.append((now, outcome))
        last = self.history[-self.policy.window_size :]
        young = [each for at, each in last if now - at <= self.policy.window_s]
        if len(young) < self.policy.min_outcomes:
            return
        if young.count(FAILURE) >= self.policy.failure_ratio * len(young):
            if self.closed_at is None or now - self.closed_at >= self.policy.calm_s:
                self.num_failed_probes = 0
            self.open(now)


class BreakerMachine(RuleBasedStateMachine):
    """Calls that overlap in any way, and a clock that runs and jumps."""

    permits: Bundle[tuple[Permit, int]] = Bundle("permits")

    @initialize(window_size=st.integers(5, 20), failure_ratio=st.sampled_from([0.3, 0.5, 1.0]))
    def begin(self, window_size: int, failure_ratio: float) -> None:
        policy = BreakerPolicy(window_size=window_size, failure_ratio=failure_ratio, jitter=0.0)
        self.now = 0.0
        self.changes: list[tuple[BreakerState, BreakerState]] = []
        self.breaker = CircuitBreaker(policy, lambda: 0.5, self.changed)
        self.reference = Reference(policy)
        self.num_probes = 0

    def changed(self, old: BreakerState, new: BreakerState, reason: str) -> None:
        assert reason
        self.changes.append((old, new))

    @rule(target=permits)
    def acquire(self) -> Any:
        expected = self.reference.acquire(self.now)
        found = self.breaker.acquire(self.now)
        if found is None:
            assert expected == "refused"
            assert self.breaker.wait_s(self.now) > 0
            return (Permit(-1), -1)
        assert expected == ("probe" if found.is_probe else "call")
        return (found, self.reference.number)

    @rule(held=consumes(permits), outcome=st.sampled_from(list(CallOutcome)))
    def end(self, held: tuple[Permit, int], outcome: CallOutcome) -> None:
        permit, number = held
        self.reference.record(permit, number, outcome, self.now)
        self.breaker.record(permit, outcome, self.now)

    @rule(count=st.integers(1, 6))
    def fail_often(self, count: int) -> None:
        for _ in range(count):
            self.end(self.acquire(), FAILURE)

    @rule(duration_s=st.sampled_from([0.5, 1.0, 5.0, 10.0, 30.0, 31.0, 60.0, 90_000.0]))
    def wait(self, duration_s: float) -> None:
        self.now += duration_s

    @precondition(lambda self: self.breaker.state is OPEN)
    @rule()
    def wait_as_told(self) -> None:
        self.now += self.breaker.wait_s(self.now)

    @invariant()
    def the_states_agree(self) -> None:
        if hasattr(self, "breaker"):
            assert self.breaker.state is self.reference.state
            assert (self.breaker.open_for_s(self.now) > 0) <= (self.breaker.state is not CLOSED)

    @invariant()
    def states_follow_each_other_as_they_may(self) -> None:
        allowed = {(CLOSED, OPEN), (OPEN, HALF_OPEN), (HALF_OPEN, OPEN), (HALF_OPEN, CLOSED)}
        assert set(getattr(self, "changes", [])) <= allowed


TestBreakerMachine = BreakerMachine.TestCase


class Bench:
    """A breaker, its clock and what it told."""

    def __init__(self, policy: BreakerPolicy | None = None, chance: float = 0.5) -> None:
        self.clock = FakeClock()
        self.told: list[BreakerState] = []
        self.breaker = CircuitBreaker(
            policy or BreakerPolicy(), lambda: chance, lambda _, new, __: self.told.append(new)
        )

    def now(self) -> float:
        return self.clock.monotonic()

    def acquire(self) -> Permit:
        permit = self.breaker.acquire(self.now())
        assert isinstance(permit, Permit)
        return permit

    def refusal(self) -> float:
        assert self.breaker.acquire(self.now()) is None
        return self.breaker.wait_s(self.now())

    def end(self, *outcomes: CallOutcome) -> None:
        for outcome in outcomes:
            self.breaker.record(self.acquire(), outcome, self.now())


async def test_a_whole_life_closed_open_half_open_closed() -> None:
    bench = Bench()
    bench.end(*[FAILURE] * 4)
    assert bench.breaker.state is CLOSED
    bench.end(FAILURE)
    assert bench.refusal() == pytest.approx(5.0)
    await bench.clock.advance(4.75)
    assert bench.refusal() == pytest.approx(0.25)
    await bench.clock.advance(0.25)
    bench.end(FAILURE)  # the first probe
    assert bench.refusal() == pytest.approx(10.0)
    await bench.clock.advance(10)
    probe = bench.acquire()
    assert probe.is_probe
    assert bench.breaker.state is HALF_OPEN
    assert [bench.refusal() for _ in range(49)] == [PROBE_WAIT_S] * 49
    assert bench.breaker.open_for_s(bench.now()) == pytest.approx(15.0)
    bench.breaker.record(probe, SUCCESS, bench.now())
    assert bench.told == [OPEN, HALF_OPEN, OPEN, HALF_OPEN, CLOSED]
    assert bench.breaker.open_for_s(bench.now()) == 0
    bench.end(*[FAILURE] * 4)  # of an empty window
    assert bench.breaker.state is CLOSED


async def test_its_open_time_doubles_up_to_a_limit_and_is_short_again_after_a_calm_minute() -> None:
    bench = Bench()
    bench.end(*[FAILURE] * 5)
    times_s = []
    for _ in range(6):
        times_s.append(bench.refusal())
        await bench.clock.advance(times_s[-1])
        bench.end(FAILURE)
    assert times_s == pytest.approx([5, 10, 20, 40, 60, 60])
    await bench.clock.advance(60)
    bench.end(SUCCESS)
    await bench.clock.advance(59)
    bench.end(*[FAILURE] * 5)
    assert bench.refusal() == pytest.approx(60)
    await bench.clock.advance(60)
    bench.end(SUCCESS)
    await bench.clock.advance(60)
    bench.end(*[FAILURE] * 5)
    assert bench.refusal() == pytest.approx(5)


@pytest.mark.parametrize(("chance", "expected_s"), [(0.0, 4.0), (0.5, 5.0), (1 - 1e-9, 6.0)])
def test_chance_makes_the_open_time_a_fifth_longer_or_shorter(
    chance: float, expected_s: float
) -> None:
    bench = Bench(chance=chance)
    bench.end(*[FAILURE] * 5)
    assert bench.refusal() == pytest.approx(expected_s)


async def test_failures_are_forgotten_after_half_a_minute() -> None:
    bench = Bench()
    for _ in range(50):
        bench.end(FAILURE)
        await bench.clock.advance(8)
    assert bench.told == []


@pytest.mark.parametrize(("age_s", "state"), [(30.0, OPEN), (30.001, CLOSED)])
async def test_a_failure_counts_for_half_a_minute_and_no_longer(
    age_s: float, state: BreakerState
) -> None:
    bench = Bench()
    bench.end(*[FAILURE] * 4)
    await bench.clock.advance(age_s)
    bench.end(FAILURE)
    assert bench.breaker.state is state


def test_half_of_the_last_calls_must_fail() -> None:
    bench = Bench()
    bench.end(*[SUCCESS] * 20, *[FAILURE] * 9)
    assert bench.breaker.state is CLOSED
    bench.end(FAILURE)
    assert bench.breaker.state is OPEN


async def test_a_probe_that_says_nothing_gives_its_permit_to_the_next() -> None:
    bench = Bench()
    bench.end(*[FAILURE] * 5)
    await bench.clock.advance(5)
    bench.end(IGNORED)
    assert bench.breaker.state is HALF_OPEN
    assert bench.acquire().is_probe


async def test_a_late_outcome_changes_nothing() -> None:
    bench = Bench()
    late = [bench.acquire() for _ in range(10)]
    bench.end(*[FAILURE] * 5)
    for permit in late[:5]:
        bench.breaker.record(permit, SUCCESS, bench.now())
    assert bench.breaker.state is OPEN
    await bench.clock.advance(5)
    bench.end(SUCCESS)
    for permit in late[5:]:
        bench.breaker.record(permit, FAILURE, bench.now())
    assert bench.breaker.state is CLOSED


async def test_a_clock_that_jumps_only_lets_a_probe_through() -> None:
    bench = Bench()
    bench.end(*[FAILURE] * 4)
    await bench.clock.advance(1e6)
    bench.end(FAILURE)
    assert bench.breaker.state is CLOSED
    bench.end(*[FAILURE] * 4)
    await bench.clock.advance(1e6)
    assert bench.acquire().is_probe
    assert bench.refusal() == PROBE_WAIT_S


def test_a_window_smaller_than_the_minimum_is_enough_when_full() -> None:
    bench = Bench(BreakerPolicy(window_size=2))
    bench.end(FAILURE, FAILURE)
    assert bench.breaker.state is OPEN


def test_equal_chance_gives_equal_lives() -> None:
    def live() -> float:
        breaker = CircuitBreaker(BreakerPolicy(), random.Random(1).random)
        for _ in range(5):
            permit = breaker.acquire(0.0)
            assert isinstance(permit, Permit)
            breaker.record(permit, FAILURE, 0.0)
        return breaker.wait_s(0.0)

    assert live() == live() != 5.0
