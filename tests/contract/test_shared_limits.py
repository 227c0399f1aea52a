"""What every SharedLimits keeps."""

import asyncio

import pytest

from app.adapters.clock import SystemClock
from app.adapters.valkey import ValkeyClient, ValkeyLimits
from app.ports.shared_state import SharedLimits
from tests.fakes.shared_state import FakeSharedLimits


@pytest.fixture(params=["fake", pytest.param("valkey", marks=pytest.mark.integration)])
def limits(request: pytest.FixtureRequest) -> SharedLimits:
    if request.param == "fake":
        return FakeSharedLimits(SystemClock())
    return ValkeyLimits(request.getfixturevalue("valkey_client"), SystemClock())


@pytest.mark.parametrize("rate", [1, 7, 60])
async def test_the_whole_rate_may_come_at_once_and_then_no_more(
    limits: SharedLimits, rate: int
) -> None:
    taken = await asyncio.gather(*(limits.take("alice", rate) for _ in range(2 * rate)))
    assert taken.count(0.0) == rate
    assert all(0 < wait_s <= 60 / rate for wait_s in taken if wait_s)
    assert await limits.take("bob", rate) == 0


async def test_who_waits_as_told_gets_a_token_and_nothing_is_counted_before(
    limits: SharedLimits,
) -> None:
    rate = 1_200  # one in 50 ms
    while not (wait_s := await limits.take("alice", rate)):
        pass
    waits_s = [await limits.take("alice", rate) for _ in range(3)]
    assert all(0 <= later_s <= 0.05 for later_s in waits_s)
    await asyncio.sleep(wait_s)
    assert await limits.take("alice", rate) == 0


async def test_no_more_places_are_given_than_there_are_and_one_given_back_is_free(
    limits: SharedLimits,
) -> None:
    places = await asyncio.gather(*(limits.acquire("alice", 3) for _ in range(10)))
    held = [place for place in places if place is not None]
    assert len(set(held)) == 3
    assert await limits.acquire("bob", 1) is not None
    await limits.release("alice", held[0])
    assert await limits.acquire("alice", 3) is not None
    assert await limits.acquire("alice", 3) is None
    assert await limits.acquire("alice", 4) is not None


@pytest.mark.integration
async def test_the_places_of_a_server_that_died_expire(valkey_client: ValkeyClient) -> None:
    dead, alive = (ValkeyLimits(valkey_client, SystemClock()) for _ in range(2))
    for _ in range(2):
        assert await dead.acquire("alice", 2) is not None
    assert await alive.acquire("alice", 2) is None
    # As 30 s later: no test waits for so long.
    for place in dead._held["alice"]:
        await valkey_client.execute("ZADD", "soprano:running:alice", 1, place)
    assert await alive.acquire("alice", 1) is not None
    assert 0 < await valkey_client.execute("PTTL", "soprano:running:alice") <= 30_000
