import asyncio

import pytest

from app.adapters.speech.embedded_voice import DueQueue


async def work(turns: DueQueue, due_at: float, done: list[float], may_end: asyncio.Event) -> None:
    async with turns.take(due_at):
        await may_end.wait()
        done.append(due_at)


async def test_whoever_is_due_first_is_next() -> None:
    turns, may_end = DueQueue(1), asyncio.Event()
    done: list[float] = []
    tasks = [asyncio.create_task(work(turns, at, done, may_end)) for at in (5.0, 3.0, 1.0, 2.0)]
    await asyncio.sleep(0)
    may_end.set()
    await asyncio.gather(*tasks)
    assert done == [5.0, 1.0, 2.0, 3.0]


async def test_no_more_than_allowed_work_at_once_and_all_get_their_turn() -> None:
    turns = DueQueue(3)
    num_working, most = 0, 0

    async def count(due_at: float) -> None:
        nonlocal num_working, most
        async with turns.take(due_at):
            num_working += 1
            most = max(most, num_working)
            await asyncio.sleep(0.001)
            num_working -= 1

    await asyncio.gather(*(count(float(n % 4)) for n in range(20)))
    assert (most, num_working) == (3, 0)


@pytest.mark.parametrize("is_given_first", [True, False])
async def test_a_turn_of_somebody_who_left_goes_to_the_next(*, is_given_first: bool) -> None:
    turns, may_end = DueQueue(1), asyncio.Event()
    done: list[float] = []
    holder = asyncio.create_task(work(turns, 0.0, done, may_end))
    await asyncio.sleep(0)
    leaver = asyncio.create_task(work(turns, 1.0, done, may_end))
    patient = asyncio.create_task(work(turns, 2.0, done, may_end))
    await asyncio.sleep(0)
    may_end.set()
    if is_given_first:
        await asyncio.sleep(0)  # the holder ends and gives its turn to the one that leaves
    leaver.cancel()
    await asyncio.gather(holder, leaver, patient, return_exceptions=True)
    assert 2.0 in done
    assert turns._num_free == 1
