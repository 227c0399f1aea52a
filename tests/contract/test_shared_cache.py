"""What every SharedCache keeps."""

import asyncio

import pytest

from app.adapters.clock import SystemClock
from app.adapters.valkey import MAX_ENTRY_BYTES, PIECE_BYTES, ValkeyCache, ValkeyClient
from app.ports.shared_state import Claim, SharedCache
from tests.fakes.shared_state import FakeSharedCache

KEY, OTHER_KEY = "a" * 64, "b" * 64
LEASE_S = 60.0


@pytest.fixture(params=["fake", pytest.param("valkey", marks=pytest.mark.integration)])
def cache(request: pytest.FixtureRequest) -> SharedCache:
    if request.param == "fake":
        return FakeSharedCache(SystemClock())
    return ValkeyCache(request.getfixturevalue("valkey_client"))


async def test_what_was_written_is_read_and_counted(cache: SharedCache) -> None:
    assert await cache.count([KEY, OTHER_KEY]) == 0
    assert await cache.read(KEY) == b""
    await cache.write(KEY, "one", b"sound")
    assert await cache.read(KEY) == b"sound"
    assert await cache.count([KEY, OTHER_KEY]) == 1
    assert await cache.count([KEY, KEY]) == 2
    assert await cache.claim(KEY, "two", LEASE_S) is Claim.STORED
    await cache.write(KEY, "two", b"other sound")
    assert await cache.read(KEY) == b"other sound"


@pytest.mark.parametrize(
    "num_bytes", [1, PIECE_BYTES - 1, PIECE_BYTES, PIECE_BYTES + 1, 5 * PIECE_BYTES, 3_000_000]
)
async def test_an_entry_of_any_size_comes_back_byte_by_byte(
    cache: SharedCache, num_bytes: int
) -> None:
    content = bytes(number % 251 for number in range(num_bytes))
    await cache.write(KEY, "one", content)
    assert await cache.read(KEY) == content


async def test_of_many_who_ask_at_the_same_time_one_makes_it(cache: SharedCache) -> None:
    asked = [cache.claim(KEY, str(number), LEASE_S) for number in range(40)]
    answers = await asyncio.gather(*asked)
    assert sorted(answers, key=str) == [Claim.GRANTED, *[Claim.TAKEN] * 39]
    assert await cache.claim(OTHER_KEY, "other", LEASE_S) is Claim.GRANTED


async def test_what_is_given_back_is_granted_to_the_next(cache: SharedCache) -> None:
    assert await cache.claim(KEY, "one", LEASE_S) is Claim.GRANTED
    await cache.release(KEY, "two")
    assert await cache.claim(KEY, "two", LEASE_S) is Claim.TAKEN
    await cache.release(KEY, "one")
    assert await cache.claim(KEY, "two", LEASE_S) is Claim.GRANTED


async def test_a_maker_that_died_holds_nobody_up_for_longer_than_its_lease(
    cache: SharedCache,
) -> None:
    assert await cache.claim(KEY, "one", 0.05) is Claim.GRANTED
    async with asyncio.timeout(10):
        while await cache.claim(KEY, "two", LEASE_S) is not Claim.GRANTED:
            await asyncio.sleep(0.005)
    await cache.release(KEY, "one")  # too late: it is another's now
    assert await cache.claim(KEY, "three", LEASE_S) is Claim.TAKEN


@pytest.mark.integration
async def test_an_entry_expires_and_what_is_too_large_is_not_kept(
    valkey_client: ValkeyClient,
) -> None:
    cache = ValkeyCache(valkey_client)
    await cache.claim(KEY, "one", LEASE_S)
    await cache.write(KEY, "one", bytes(MAX_ENTRY_BYTES + 1))
    assert await cache.claim(KEY, "two", LEASE_S) is Claim.GRANTED
    await cache.write(KEY, "two", b"sound")
    entry = f"soprano:speech:{KEY}"
    assert 86_000 < await valkey_client.execute("TTL", entry) <= 86_400
    await valkey_client.execute("EXPIRE", entry, 5)
    assert await cache.claim(KEY, "three", LEASE_S) is Claim.STORED
    assert 86_000 < await valkey_client.execute("TTL", entry) <= 86_400


@pytest.mark.integration
async def test_what_others_keep_under_the_same_name_is_no_entry(
    valkey_client: ValkeyClient,
) -> None:
    cache = ValkeyCache(valkey_client)
    await valkey_client.execute("LPUSH", f"soprano:speech:{KEY}", "something")
    assert await cache.read(KEY) is None
    assert valkey_client.is_up
    await valkey_client.execute("SET", f"soprano:speech:{KEY}", bytes(2 * MAX_ENTRY_BYTES))
    content = await cache.read(KEY)
    assert content is not None
    assert len(content) < MAX_ENTRY_BYTES + 2 * PIECE_BYTES
