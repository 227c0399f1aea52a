"""A Valkey that is slow, silent or gone, seen from the client."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

import pytest
import structlog.testing
from valkey.exceptions import ConnectionError as LostError
from valkey.exceptions import ResponseError

from app.adapters.valkey import (
    MAX_COMMANDS,
    RENEW_S,
    RETRY_S,
    TIMEOUT_S,
    ValkeyClient,
    ValkeyLimits,
    build_client,
)
from tests.fakes.clock import FakeClock


class FakeConnectionPool:
    async def disconnect(self, *, inuse_connections: bool) -> None:
        assert not inuse_connections


class FakeValkey:
    """Answers every command with 1, or as `answer` says; remembers the commands."""

    def __init__(self) -> None:
        self.connection_pool = FakeConnectionPool()
        self.commands: list[tuple[Any, ...]] = []
        self.answer: Callable[[], Awaitable[int]] | None = None

    async def execute_command(self, *command: Any) -> int:
        self.commands.append(command)
        return 1 if self.answer is None else await self.answer()

    async def aclose(self) -> None:
        pass


async def hang() -> int:
    return await asyncio.Future()


async def lose() -> int:
    raise LostError("Connection closed by server.")


async def object_to_it() -> int:
    raise ResponseError("OOM command not allowed when used memory > 'maxmemory'.")


class Rig:
    def __init__(self) -> None:
        self.clock, self.valkey = FakeClock(), FakeValkey()
        self.client = ValkeyClient(self.valkey, self.clock)

    async def open(self) -> "Rig":
        await self.client.open()
        await self.clock.advance(0)
        assert self.client.is_up
        self.valkey.commands.clear()
        return self

    async def execute_at_once(self) -> Any:
        begun = self.clock.monotonic()
        result = await self.client.execute("GET", "x")
        assert self.clock.monotonic() == begun
        return result


@pytest.fixture
async def rig() -> Rig:
    return await Rig().open()


async def test_before_it_is_open_and_after_it_is_closed_nothing_is_sent() -> None:
    rig = Rig()
    assert await rig.execute_at_once() is None
    await rig.open()
    assert await rig.execute_at_once() == 1
    await rig.client.close()
    assert await rig.execute_at_once() is None
    await rig.client.close()


async def test_silence_costs_each_command_under_way_50_ms_and_none_after_it(rig: Rig) -> None:
    rig.valkey.answer = hang
    running = [asyncio.create_task(rig.client.execute("GET", "x")) for _ in range(100)]
    await rig.clock.advance(TIMEOUT_S - 0.001)
    assert not any(task.done() for task in running)
    late = asyncio.create_task(rig.client.execute("GET", "late"))
    await rig.clock.advance(0.001)
    assert all(task.done() and task.result() is None for task in [*running, late])
    assert len(rig.valkey.commands) == MAX_COMMANDS
    for _ in range(100):
        assert await rig.execute_at_once() is None
    assert len(rig.valkey.commands) == MAX_COMMANDS


async def test_it_is_tried_in_the_background_and_used_again_once_it_answers_in_time(
    rig: Rig,
) -> None:
    with structlog.testing.capture_logs() as events:
        rig.valkey.answer = lose
        assert await rig.execute_at_once() is None
        await rig.clock.advance(5 * RETRY_S)
        sent = [command[0] for command in rig.valkey.commands]
        assert sent == ["GET", *["PING"] * 5]
        rig.valkey.answer = hang
        await rig.clock.advance(5 * RETRY_S)
        assert await rig.execute_at_once() is None
        rig.valkey.answer = None
        await rig.clock.advance(2 * RETRY_S)
        assert await rig.execute_at_once() == 1
    told = [(event["event"], event.get("reason")) for event in events]
    assert told == [
        ("valkey.failed", "Connection closed by server."),
        ("valkey.failed", "no answer in time"),
        ("valkey.connected", None),
    ]


async def test_one_that_answers_slowly_is_not_used_again(rig: Rig) -> None:
    async def answer_late() -> int:
        await rig.clock.sleep(2 * TIMEOUT_S)
        return 1

    rig.valkey.answer = answer_late
    running = asyncio.create_task(rig.client.execute("GET", "x"))
    await rig.clock.advance(TIMEOUT_S)
    assert await running is None
    await rig.clock.advance(10 * RETRY_S)
    assert not rig.client.is_up


async def test_an_error_that_it_answers_is_logged_once_and_spares_no_other_command(
    rig: Rig,
) -> None:
    rig.valkey.answer = object_to_it
    with structlog.testing.capture_logs() as events:
        for _ in range(3):
            assert await rig.execute_at_once() is None
    assert [event["event"] for event in events] == ["valkey.failed"]
    assert len(rig.valkey.commands) == 3
    rig.valkey.answer = None
    assert await rig.execute_at_once() == 1


async def test_a_command_that_is_given_up_leaves_the_turn_to_others(rig: Rig) -> None:
    rig.valkey.answer = hang
    running = [asyncio.create_task(rig.client.execute("GET", "x")) for _ in range(MAX_COMMANDS)]
    await rig.clock.advance(0)
    for task in running:
        task.cancel()
    await asyncio.gather(*running, return_exceptions=True)
    rig.valkey.answer = None
    assert await rig.execute_at_once() == 1


async def test_places_are_renewed_while_they_are_held_and_not_after_it(rig: Rig) -> None:
    limits = ValkeyLimits(rig.client, rig.clock)
    first, second = await limits.acquire("alice", 5), await limits.acquire("alice", 5)
    assert first is not None
    assert second is not None
    rig.valkey.commands.clear()
    await rig.clock.advance(RENEW_S)
    (command,) = rig.valkey.commands
    assert command[3] == "soprano:running:alice"
    assert set(command[5:]) == {first, second}
    await limits.release("alice", first)
    rig.valkey.commands.clear()
    await rig.clock.advance(RENEW_S)
    assert [command[5:] for command in rig.valkey.commands] == [(second,)]
    await limits.release("alice", second)
    rig.valkey.commands.clear()
    await rig.clock.advance(10 * RENEW_S)
    assert rig.valkey.commands == []
    assert rig.clock.num_sleepers == 0


async def test_a_place_given_back_while_it_is_renewed_is_given_back_again(rig: Rig) -> None:
    limits = ValkeyLimits(rig.client, rig.clock)
    place = await limits.acquire("alice", 5)
    assert place is not None

    async def answer_late() -> int:
        rig.valkey.answer = None
        await rig.clock.sleep(TIMEOUT_S / 2)
        return 1

    rig.valkey.answer = answer_late
    await rig.clock.advance(RENEW_S)
    rig.valkey.commands.clear()
    await limits.release("alice", place)
    await rig.clock.advance(TIMEOUT_S)
    release = ("ZREM", "soprano:running:alice", place)
    assert rig.valkey.commands == [release, release]


async def test_what_cannot_be_asked_is_allowed(rig: Rig) -> None:
    limits = ValkeyLimits(rig.client, rig.clock)
    rig.valkey.answer = lose
    assert await limits.take("alice", 1) == 0
    assert await limits.take("alice", 1) == 0
    places = [await limits.acquire("alice", 1) for _ in range(2)]
    assert None not in places
    for place in places:
        assert place is not None
        await limits.release("alice", place)


@pytest.mark.parametrize(
    "url",
    [
        "valkey://:secret@host:notaport/0",
        "http://secret@host",
        "valkey://:secret@host:6379?unknown=1",
        "rediss://:secret@host?ssl_cert_reqs=maybe",
        "valkey://:secret/with/slash@host:6379",
    ],
)
def test_an_address_that_cannot_be_used_is_told_without_the_password(url: str) -> None:
    with pytest.raises(ValueError, match="not an address") as caught:
        build_client(url, FakeClock())
    assert "secret" not in str(caught.value)


@pytest.mark.parametrize("scheme", ["valkey", "valkeys", "redis", "rediss"])
def test_addresses_of_every_kind_can_be_used(scheme: str) -> None:
    build_client(f"{scheme}://user:secret@host:6380/3", FakeClock())
    build_client("unix:///run/valkey.sock?db=2", FakeClock())
