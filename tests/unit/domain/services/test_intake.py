import asyncio

import pytest

from app.domain.errors import ServerDrainingError
from app.domain.services.lifecycle import Intake


async def test_it_is_open_until_it_drains_and_then_over() -> None:
    intake = Intake()
    intake.check()
    assert (intake.is_draining, intake.over.done()) == (False, False)
    intake.drain()
    with pytest.raises(ServerDrainingError):
        intake.check()
    assert (intake.is_draining, intake.over.done()) == (True, False)
    intake.end()
    assert (intake.is_draining, intake.over.done()) == (True, True)


async def test_its_end_is_the_end_of_draining_too() -> None:
    intake = Intake()
    intake.end()
    with pytest.raises(ServerDrainingError):
        intake.check()


async def test_who_waits_is_told_of_each_step() -> None:
    intake = Intake()
    draining = asyncio.create_task(intake.wait_until_draining())
    over = intake.over
    await asyncio.sleep(0)
    assert (draining.done(), over.done()) == (False, False)
    intake.drain()
    await draining
    assert not over.done()
    intake.end()
    await over
