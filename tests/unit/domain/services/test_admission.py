import asyncio

import pytest

from app.domain.admission import ANYBODY, RETRY_SPREAD_S, AdmissionLimits, Caller
from app.domain.errors import QueueTimeoutError, ServerOverloadedError, SpeechError
from app.domain.services.admission import Admission, Slot
from tests.fakes.clock import FakeClock


class Rig:
    """A door, and requests in front of it."""

    def __init__(self, max_running: int = 1, max_queued: int = 3, max_wait_s: float = 10.0) -> None:
        self.clock = FakeClock()
        self.chance = 0.0
        limits = AdmissionLimits(
            max_running=max_running, max_queued=max_queued, max_wait_s=max_wait_s
        )
        self.admission = Admission(limits, self.clock, lambda: self.chance)

    async def ask(
        self, caller: Caller = ANYBODY, num_chars: int = 10
    ) -> tuple[Slot, asyncio.Task[None]]:
        """A request that may wait now."""
        slot = self.admission.slot(caller)
        task = asyncio.create_task(slot.enter(num_chars))
        await settle()
        return slot, task

    async def error_of(self, task: asyncio.Task[None]) -> SpeechError:
        await settle()
        error = task.exception()
        assert isinstance(error, SpeechError)
        return error


async def settle() -> None:
    for _ in range(30):
        await asyncio.sleep(0)


async def test_whoever_finds_nobody_begins_at_once() -> None:
    rig = Rig()
    _, task = await rig.ask()
    assert task.done()
    assert rig.admission.load().num_running == 1


async def test_the_next_begins_when_one_leaves() -> None:
    rig = Rig()
    first, _ = await rig.ask()
    _, second = await rig.ask()
    _, third = await rig.ask()
    first.leave()
    await settle()
    assert (second.done(), third.done()) == (True, False)
    assert rig.admission.load().num_queued == 1


async def test_whoever_waits_too_long_is_told() -> None:
    rig = Rig()
    await rig.ask()
    _, waiting = await rig.ask()
    await rig.clock.advance(9.9)
    assert not waiting.done()
    await rig.clock.advance(0.1)
    assert isinstance(await rig.error_of(waiting), QueueTimeoutError)
    assert rig.admission.load().num_queued == 0


async def test_nobody_waits_beyond_the_own_deadline() -> None:
    rig = Rig()
    await rig.ask()
    _, waiting = await rig.ask(Caller("ann", rig.clock.monotonic() + 3.0))
    await rig.clock.advance(3.0)
    assert isinstance(await rig.error_of(waiting), QueueTimeoutError)


async def test_a_full_line_refuses_and_says_when_to_come_back() -> None:
    rig = Rig(max_queued=2)
    first, _ = await rig.ask(num_chars=20)
    await rig.ask(num_chars=20)
    await rig.clock.advance(2.0)
    first.leave()  # 20 characters took 2 s
    await rig.ask(num_chars=60)
    await rig.ask(num_chars=40)
    rig.chance = 0.5
    _, refused = await rig.ask()
    error = await rig.error_of(refused)
    assert isinstance(error, ServerOverloadedError)
    assert error.retry_after_s == pytest.approx(100 / 20 * 2.0 + RETRY_SPREAD_S / 2)


async def test_whoever_has_to_make_room_is_told() -> None:
    rig = Rig(max_queued=2)
    await rig.ask()
    _, older = await rig.ask(Caller("ann"))
    _, newer = await rig.ask(Caller("ann"))
    _, other = await rig.ask(Caller("bob"))
    assert isinstance(await rig.error_of(newer), ServerOverloadedError)
    assert not older.done()
    assert not other.done()


async def test_a_client_who_leaves_the_line_is_forgotten() -> None:
    rig = Rig()
    first, _ = await rig.ask()
    _, leaving = await rig.ask()
    _, last = await rig.ask()
    leaving.cancel()
    await settle()
    assert rig.admission.load().num_queued == 1
    first.leave()
    await settle()
    assert last.done()


async def test_a_client_who_leaves_in_the_moment_of_its_turn_gives_it_on() -> None:
    rig = Rig()
    first, _ = await rig.ask()
    _, leaving = await rig.ask()
    _, last = await rig.ask()
    first.leave()  # gives the turn to the second, whose task has not run since
    leaving.cancel()
    await settle()
    assert leaving.cancelled()
    assert last.done()
    assert rig.admission.load().num_running == 1
    assert rig.admission.load().num_open == 1


async def test_a_request_with_nothing_for_the_model_to_do_lets_another_begin() -> None:
    rig = Rig()
    first, _ = await rig.ask()
    _, second = await rig.ask()
    first.segment_began()
    first.segment_began()
    first.segment_ended()
    await settle()
    assert not second.done()
    first.segment_ended()
    await settle()
    assert second.done()
    load = rig.admission.load()
    assert (load.num_running, load.num_open) == (1, 2)


async def test_audio_that_comes_fast_lets_others_begin_but_not_what_was_cached() -> None:
    rig = Rig(max_running=4)
    rig.admission.queue.capacity.begin_with(1)
    first, _ = await rig.ask()
    _, second = await rig.ask()
    first.segment_began()
    for took_s in (0.001, 3.0):
        await rig.clock.advance(3.0)
        rig.admission.slot(Caller()).audio_made(60.0, 3.0)  # all of it was cached
        first.audio_made(20.0, took_s)
        await settle()
        assert second.done() == (took_s > 1)


async def test_a_request_that_goes_on_counts_again_and_does_not_wait() -> None:
    rig = Rig()
    first, _ = await rig.ask()
    first.segment_began()
    first.segment_ended()
    assert rig.admission.load().num_running == 0
    first.segment_began()
    assert rig.admission.load().num_running == 1
    _, second = await rig.ask()
    assert not second.done()


async def test_leaving_twice_or_without_having_entered_changes_nothing() -> None:
    rig = Rig()
    rig.admission.slot(Caller()).leave()
    slot, _ = await rig.ask()
    slot.leave()
    slot.leave()
    load = rig.admission.load()
    assert (load.num_running, load.num_open) == (0, 0)


async def test_nothing_waits_after_a_burst_has_come_and_gone() -> None:
    rig = Rig(max_running=2, max_queued=10)
    asked = [await rig.ask(Caller(f"key{index % 3}")) for index in range(30)]
    for _ in range(30):
        for slot, task in asked:
            if task.done() and task.exception() is None:
                slot.leave()
        await settle()
    assert all(task.done() for _, task in asked)
    load = rig.admission.load()
    assert (load.num_queued, load.num_running, load.num_open) == (0, 0, 0)
    assert sum(task.exception() is None for _, task in asked) == 12


async def test_the_line_is_full_when_as_many_wait_as_may() -> None:
    rig = Rig(max_running=1, max_queued=2)
    found = []
    for _ in range(3):
        found.append(rig.admission.is_full())
        await rig.ask()
    assert found == [False, False, False]
    assert rig.admission.is_full()


async def test_a_line_with_too_many_characters_is_full() -> None:
    rig = Rig(max_running=1, max_queued=3)
    await rig.ask()
    await rig.ask(num_chars=AdmissionLimits().max_queued_chars)
    assert rig.admission.is_full()


def test_where_nobody_may_wait_there_is_no_full_line() -> None:
    assert not Rig(max_queued=0).admission.is_full()


async def test_where_nobody_may_wait_whoever_finds_a_turn_free_begins() -> None:
    rig = Rig(max_wait_s=0.0)
    _, first = await rig.ask()
    assert first.done()
    assert first.exception() is None
    _, second = await rig.ask()
    await rig.clock.advance(0)
    assert isinstance(await rig.error_of(second), QueueTimeoutError)
