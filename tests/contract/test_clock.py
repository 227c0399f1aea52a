"""What every clock does, the fake included."""

import asyncio
from collections.abc import Awaitable, Callable
from datetime import timedelta

import pytest

from app.adapters.clock import SystemClock
from app.ports.clock import Clock
from tests.fakes.clock import START, FakeClock

PassTime = Callable[[float], Awaitable[None]]


@pytest.fixture(params=[SystemClock, FakeClock])
def clock(request: pytest.FixtureRequest) -> Clock:
    chosen: Clock = request.param()
    return chosen


@pytest.fixture
def pass_time(clock: Clock) -> PassTime:
    """Lets time pass for a moment, on whichever clock."""
    return clock.advance if isinstance(clock, FakeClock) else clock.sleep


def test_the_wall_clock_is_in_utc(clock: Clock) -> None:
    assert clock.now().utcoffset() == timedelta(0)


async def test_both_kinds_of_time_move_forward_together(clock: Clock, pass_time: PassTime) -> None:
    monotonic, now = clock.monotonic(), clock.now()
    await pass_time(0.02)
    assert clock.monotonic() - monotonic >= 0.02
    # The real wall clock may be set meanwhile; by less than this in a test run.
    assert abs((clock.now() - now).total_seconds() - (clock.monotonic() - monotonic)) < 1


async def test_a_sleep_lasts_as_long_as_asked(clock: Clock, pass_time: PassTime) -> None:
    start = clock.monotonic()
    sleeper = asyncio.create_task(clock.sleep(0.02))
    await pass_time(0.03)
    await sleeper
    assert clock.monotonic() - start >= 0.02


@pytest.mark.parametrize("duration_s", [0, -1])
async def test_a_sleep_of_no_time_lets_other_tasks_run_and_returns(
    clock: Clock, duration_s: float
) -> None:
    has_run = asyncio.Event()
    asyncio.get_running_loop().call_soon(has_run.set)
    await clock.sleep(duration_s)
    assert has_run.is_set()


async def test_sleepers_wake_in_the_order_of_their_times(clock: Clock, pass_time: PassTime) -> None:
    woken: list[float] = []

    async def sleep(duration_s: float) -> None:
        await clock.sleep(duration_s)
        woken.append(duration_s)

    sleepers = [asyncio.create_task(sleep(duration)) for duration in (0.06, 0.02, 0.04)]
    await pass_time(0.1)
    await asyncio.gather(*sleepers)
    assert woken == [0.02, 0.04, 0.06]


async def test_a_sleep_can_be_cancelled(clock: Clock, pass_time: PassTime) -> None:
    sleeper = asyncio.create_task(clock.sleep(10))
    await pass_time(0.001)
    sleeper.cancel()
    await pass_time(0.001)
    assert sleeper.cancelled()


async def test_the_fake_starts_at_a_known_moment_and_stands_still() -> None:
    clock = FakeClock()
    await asyncio.sleep(0.01)
    assert (clock.monotonic(), clock.now()) == (0.0, START)


async def test_a_sleeper_of_the_fake_sees_its_own_time_and_may_sleep_on() -> None:
    clock, seen = FakeClock(), []

    async def tick() -> None:
        while True:
            await clock.sleep(0.1)
            seen.append(clock.monotonic())

    ticking = asyncio.create_task(tick())
    await clock.advance(0.35)
    assert seen == [0.1, 0.2, 0.3]
    assert (clock.monotonic(), clock.num_sleepers) == (0.35, 1)
    assert clock.slept_s == [0.1] * 4
    ticking.cancel()
    await clock.advance(1)
    assert clock.num_sleepers == 0
