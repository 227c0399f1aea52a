"""Who may come in, how often, and until when."""

import asyncio
from collections.abc import Callable
from contextlib import AsyncExitStack

import pytest

from app.domain.api_keys import KeyLimits
from app.domain.errors import InvalidApiKeyError, MissingApiKeyError, RateLimitError
from app.domain.services.access_control import AccessControl, Grant
from tests.fakes.clock import FakeClock
from tests.fakes.key_source import FakeKeySource
from tests.fakes.shared_state import FakeSharedLimits

KEY = "sk-soprano-0123456789abcdef"


class Door:
    """An AccessControl over fakes."""

    def __init__(self, **limits: int) -> None:
        self.keys, self.clock = FakeKeySource(), FakeClock()
        self.keys.give("alice", KEY, KeyLimits(**limits))
        self.chance = 0.0
        self.access = AccessControl(self.keys, self.clock, lambda: self.chance)

    async def enter(self, held: AsyncExitStack, key: str = KEY) -> Grant:
        found = await self.access.identify(key)
        assert found is not None
        grant = held.enter_context(self.access.grant(found))
        await held.enter_async_context(grant.occupy())
        await grant.count_request()
        await asyncio.sleep(0)  # the keys are watched from now on
        return grant


@pytest.mark.parametrize("presented", [None, "", KEY, "x" * 8_000])
async def test_without_keys_everybody_may_come_in(presented: str | None) -> None:
    access = AccessControl(FakeKeySource(), FakeClock(), lambda: 0.0)
    assert await access.identify(presented) is None


async def test_a_key_is_known_by_its_name() -> None:
    found = await Door().access.identify(KEY)
    assert found is not None
    assert found.name == "alice"


@pytest.mark.parametrize("presented", [None, ""])
async def test_no_key_is_told_from_a_wrong_one(presented: str | None) -> None:
    with pytest.raises(MissingApiKeyError):
        await Door().access.identify(presented)
    with pytest.raises(InvalidApiKeyError) as caught:
        await Door().access.identify(KEY[:-1])
    assert KEY[:-1] not in str(caught.value)
    assert not isinstance(caught.value, MissingApiKeyError)


async def test_a_key_that_was_taken_away_opens_no_more() -> None:
    door = Door()
    door.keys.give("bob", "another key of bob")
    door.keys.take("alice")
    with pytest.raises(InvalidApiKeyError):
        await door.access.identify(KEY)


async def test_no_more_run_at_the_same_time_than_allowed_and_an_error_frees_the_place() -> None:
    door = Door(max_concurrent=2)
    async with AsyncExitStack() as held:
        await door.enter(held)
        with pytest.raises(ZeroDivisionError):
            async with AsyncExitStack() as failing:
                await door.enter(failing)
                with pytest.raises(RateLimitError) as caught:
                    await door.enter(held)
                assert caught.value.retry_after_s == 1.0
                assert "2 at the same time" in str(caught.value)
                raise ZeroDivisionError
        await door.enter(held)
        with pytest.raises(RateLimitError):
            await door.enter(held)
    for _ in range(3):
        async with AsyncExitStack() as held:
            await door.enter(held)


async def test_no_more_begin_per_minute_than_allowed() -> None:
    door = Door(requests_per_minute=2)
    async with AsyncExitStack() as held:
        await door.enter(held)
        await door.enter(held)
        with pytest.raises(RateLimitError) as caught:
            await door.enter(held)
        assert caught.value.retry_after_s == 30.0
        await door.clock.advance(30)
        await door.enter(held)


async def test_a_request_refused_for_another_that_runs_costs_nothing_of_the_minute() -> None:
    door = Door(requests_per_minute=2, max_concurrent=1)
    async with AsyncExitStack() as held:
        await door.enter(held)
        for _ in range(5):
            with pytest.raises(RateLimitError, match="same time"):
                await door.enter(held)
    async with AsyncExitStack() as held:
        await door.enter(held)


async def test_keys_do_not_count_for_each_other() -> None:
    door = Door(requests_per_minute=1, max_concurrent=1)
    door.keys.give("bob", "another key of bob", KeyLimits(1, 1))
    async with AsyncExitStack() as held:
        await door.enter(held)
        await door.enter(held, "another key of bob")


async def test_new_limits_hold_at_once_and_what_runs_is_still_counted() -> None:
    door = Door()
    async with AsyncExitStack() as held:
        for _ in range(3):
            await door.enter(held)
        door.keys.give("alice", KEY, KeyLimits(max_concurrent=3))
        with pytest.raises(RateLimitError, match="3 at the same time"):
            await door.enter(held)
        door.keys.give("alice", KEY, KeyLimits(requests_per_minute=1))
        await door.enter(held)
        with pytest.raises(RateLimitError, match="1 per minute"):
            await door.enter(held)
        door.keys.give("alice", KEY)
        await door.enter(held)


async def test_a_limit_that_stays_is_not_filled_up_by_a_change_of_the_other() -> None:
    door = Door(requests_per_minute=1)
    async with AsyncExitStack() as held:
        await door.enter(held)
        door.keys.give("alice", KEY, KeyLimits(requests_per_minute=1, max_concurrent=9))
        with pytest.raises(RateLimitError, match="per minute"):
            await door.enter(held)


OTHER_KEY = "another key of bob"


async def let_others_run() -> None:
    for _ in range(5):
        await asyncio.sleep(0)


@pytest.mark.parametrize(
    "revoke",
    [
        lambda keys: keys.take("alice"),
        lambda keys: keys.give("alice", "a new key of alice"),
        lambda keys: (keys.take("alice"), keys.give("alicia", KEY)),
    ],
    ids=["taken away", "replaced", "renamed"],
)
async def test_what_runs_with_a_key_that_is_taken_away_is_told_and_nothing_else(
    revoke: Callable[[FakeKeySource], None],
) -> None:
    door = Door()
    door.keys.give("bob", OTHER_KEY)
    async with AsyncExitStack() as held:
        first, second = await door.enter(held), await door.enter(held)
        other = await door.enter(held, OTHER_KEY)
        door.keys.give("cid", "a key of cid, which is new")
        await let_others_run()
        assert not any(grant.revoked.done() for grant in (first, second, other))
        revoke(door.keys)
        await let_others_run()
        assert first.revoked.done()
        assert second.revoked.done()
        assert not other.revoked.done()
        door.keys.give("cid", "another key of cid")
        await let_others_run()
        assert not other.revoked.done()


async def test_a_key_that_was_taken_away_and_came_back_revokes_only_what_ran_before() -> None:
    door = Door()
    door.keys.give("bob", OTHER_KEY)
    async with AsyncExitStack() as held:
        before = await door.enter(held)
        door.keys.take("alice")
        await let_others_run()
        door.keys.give("alice", KEY)
        after = await door.enter(held)
        await let_others_run()
        assert before.revoked.done()
        assert not after.revoked.done()


async def test_a_change_just_before_the_keys_are_watched_is_not_missed() -> None:
    door = Door()
    door.keys.give("bob", OTHER_KEY)
    found = await door.access.identify(KEY)
    assert found is not None
    with door.access.grant(found) as grant:
        door.keys.take("alice")
        await let_others_run()
        assert grant.revoked.done()


async def test_one_watches_for_all_that_runs_and_nobody_when_nothing_runs() -> None:
    door = Door()
    for _ in range(2):
        async with AsyncExitStack() as held:
            for _ in range(3):
                await door.enter(held)
            await let_others_run()
            assert door.keys.num_waiting == 1
        await let_others_run()
        assert door.keys.num_waiting == 0


async def test_what_begins_as_the_last_one_ends_is_watched() -> None:
    door = Door()
    door.keys.give("bob", OTHER_KEY)
    async with AsyncExitStack() as held:
        await door.enter(held)
        await held.aclose()
        grant = await door.enter(held)
        door.keys.take("alice")
        await let_others_run()
        assert grant.revoked.done()


async def test_new_limits_hold_for_what_runs_already() -> None:
    door = Door()
    async with AsyncExitStack() as held:
        grant = await door.enter(held)
        door.keys.give("alice", KEY, KeyLimits(requests_per_minute=1))
        await let_others_run()
        await grant.count_request()
        with pytest.raises(RateLimitError, match="1 per minute"):
            await grant.count_request()


async def test_a_limit_says_in_words_when_to_come_back() -> None:
    door = Door(requests_per_minute=2)
    door.chance = 0.75
    async with AsyncExitStack() as held:
        await door.enter(held)
        await door.enter(held)
        with pytest.raises(RateLimitError, match=r"2 per minute\. Try again in 32 s\.") as caught:
            await door.enter(held)
    assert caught.value.retry_after_s == 31.5


class Fleet:
    """Two servers with one SharedLimits, and a key of the same name at both."""

    def __init__(self, **limits: int) -> None:
        self.clock = FakeClock()
        self.shared = FakeSharedLimits(self.clock)
        self.doors = [Door(**limits) for _ in range(2)]
        for door in self.doors:
            door.clock = self.clock
            door.access = AccessControl(door.keys, self.clock, lambda: 0.0, self.shared)


async def test_requests_at_the_same_time_are_counted_for_all_servers() -> None:
    fleet = Fleet(max_concurrent=2)
    second = fleet.doors[1]
    async with AsyncExitStack() as held:
        for door in fleet.doors:
            await door.enter(held)
        for door in fleet.doors:
            with pytest.raises(RateLimitError, match="2 at the same time"):
                await door.enter(held)
        assert len(fleet.shared.places["alice"]) == 2
    assert fleet.shared.places["alice"] == set()
    async with AsyncExitStack() as held:
        await second.enter(held)
        await second.enter(held)
        with pytest.raises(RateLimitError):
            await second.enter(held)
        assert fleet.shared.num_calls["acquire"] == 6  # a server that has all itself asks nobody


async def test_requests_per_minute_are_counted_for_all_servers() -> None:
    fleet = Fleet(requests_per_minute=4)
    first, second = fleet.doors
    async with AsyncExitStack() as held:
        for _ in range(2):
            for door in fleet.doors:
                await door.enter(held)
        for door in fleet.doors:
            for _ in range(5):
                with pytest.raises(RateLimitError, match="4 per minute") as caught:
                    await door.enter(held)
                assert caught.value.retry_after_s == 15.0
        assert fleet.shared.num_calls["take"] == 6  # each asks once until there may be one
        await fleet.clock.advance(15)
        await second.enter(held)
        with pytest.raises(RateLimitError):
            await first.enter(held)


async def test_a_request_that_all_servers_refuse_costs_nothing_of_this_one() -> None:
    fleet = Fleet(requests_per_minute=2)
    first, second = fleet.doors
    async with AsyncExitStack() as held:
        await second.enter(held)
        await second.enter(held)
        await fleet.clock.advance(25)
        with pytest.raises(RateLimitError):
            await first.enter(held)
        fleet.shared.is_up = False
        await fleet.clock.advance(5)
        for _ in range(2):
            await first.enter(held)


async def test_while_others_cannot_be_asked_the_limits_hold_for_each_server() -> None:
    fleet = Fleet(requests_per_minute=2, max_concurrent=2)
    fleet.shared.is_up = False
    async with AsyncExitStack() as held:
        for door in fleet.doors:
            await door.enter(held)
            await door.enter(held)
            with pytest.raises(RateLimitError, match="same time"):
                await door.enter(held)
    for door in fleet.doors:
        async with AsyncExitStack() as held:
            with pytest.raises(RateLimitError, match="per minute"):
                await door.enter(held)


async def test_without_limits_nobody_is_asked() -> None:
    fleet = Fleet()
    async with AsyncExitStack() as held:
        await fleet.doors[0].enter(held)
    assert not fleet.shared.num_calls
