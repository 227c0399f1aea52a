"""Several servers, each a CachedModel of its own, and what they share."""

import asyncio
from collections.abc import AsyncGenerator
from contextlib import aclosing

import pytest

from app.adapters.speech.cache import MAX_COUNTED, CachedModel, MemoryCache
from app.adapters.speech.cache_levels import MAX_WRITES, SharedSegments, to_bytes
from app.domain.audio import AudioChunk
from app.domain.errors import SynthesisError
from app.domain.segment import TextSegment
from app.domain.speech import SynthesisParams
from tests.eventually import eventually
from tests.fakes.clock import FakeClock
from tests.fakes.shared_state import FakeSharedCache
from tests.fakes.speech_model import FAKE_INFO, FakeSpeechModel

TEXT = "A sentence of several chunks, which plays for more than two seconds."
PLAY_S = len(TEXT) / 15  # about, as it is estimated
PARAMS = SynthesisParams(FAKE_INFO.voices[0])


class Server:
    """One of several; its model begins when it may."""

    def __init__(self, clock: FakeClock, shared: FakeSharedCache, identity: str = "one") -> None:
        self.model = FakeSpeechModel()
        self.may_speak = asyncio.Event()
        self.may_speak.set()
        self.model.before_speaking = self._wait
        self.segments = SharedSegments(shared, clock)
        memory = MemoryCache(1_000_000)
        self.cached = CachedModel(self.model, memory, None, lambda: identity, 0.0, self.segments)

    async def _wait(self, _: TextSegment) -> None:
        await self.may_speak.wait()

    async def load(self) -> "Server":
        await self.cached.load()
        await self.speak("Warm-up.")
        self.model.spoken.clear()
        return self

    def ask(self, text: str = TEXT) -> AsyncGenerator[AudioChunk, None]:
        return self.cached.synthesize(TextSegment(0, text), PARAMS)

    async def speak(self, text: str = TEXT) -> list[bytes]:
        async with aclosing(self.ask(text)) as chunks:
            return [chunk.samples.tobytes() async for chunk in chunks]

    @property
    def num_spoken(self) -> int:
        return len(self.model.spoken)


class Fleet:
    """Three servers with one cache."""

    def __init__(self) -> None:
        self.clock = FakeClock()
        self.shared = FakeSharedCache(self.clock)

    async def server(self, identity: str = "one") -> Server:
        server = await Server(self.clock, self.shared, identity).load()
        await settled(server)
        self.shared.num_calls.clear()
        return server

    async def poll(self) -> None:
        """Let those that wait look once more."""
        await self.clock.advance(0.021)


async def settled(server: Server) -> None:
    """Everything is written that was to be."""
    await eventually(lambda: not server.segments._writing)


@pytest.fixture
async def fleet() -> Fleet:
    return Fleet()


async def test_what_one_has_made_no_other_makes(fleet: Fleet) -> None:
    first, second = await fleet.server(), await fleet.server()
    made = await first.speak()
    await settled(first)
    assert await second.speak() == made
    assert await second.speak() == made
    assert (first.num_spoken, second.num_spoken) == (1, 0)
    assert fleet.shared.num_calls["claim"] == 2  # the second time it is in memory
    assert fleet.shared.num_calls["write"] == 1


async def test_equal_requests_at_the_same_time_are_made_once(fleet: Fleet) -> None:
    first, second, third = [await fleet.server() for _ in range(3)]
    first.may_speak.clear()
    speaking = [asyncio.create_task(each.speak()) for each in (first, second, third)]
    await fleet.poll()
    first.may_speak.set()
    made = await speaking[0]
    await settled(first)
    while not all(task.done() for task in speaking):
        await fleet.poll()
    assert [task.result() for task in speaking] == [made] * 3
    assert [each.num_spoken for each in (first, second, third)] == [1, 0, 0]


async def test_other_models_share_nothing(fleet: Fleet) -> None:
    first, second = await fleet.server(), await fleet.server("another checkpoint")
    await first.speak()
    await settled(first)
    await second.speak()
    assert second.num_spoken == 1


@pytest.mark.parametrize("how", ["fails", "leaves"])
async def test_when_the_maker_gives_up_the_next_one_takes_over(fleet: Fleet, how: str) -> None:
    first, second = await fleet.server(), await fleet.server()
    first.may_speak.clear()
    first.model.failures = [SynthesisError("it failed")]
    making = asyncio.create_task(first.speak())
    await fleet.poll()
    following = asyncio.create_task(second.speak())
    await fleet.poll()
    assert second.num_spoken == 0
    if how == "leaves":
        making.cancel()
    first.may_speak.set()
    await asyncio.gather(making, return_exceptions=True)
    await settled(first)
    await fleet.poll()
    assert len(await following) > 1
    assert second.num_spoken == 1


async def test_nobody_waits_for_a_maker_that_died_longer_than_the_sentence_plays(
    fleet: Fleet,
) -> None:
    first, second, third = [await fleet.server() for _ in range(3)]
    first.may_speak.clear()
    second.may_speak.clear()
    making = asyncio.create_task(first.speak())
    await fleet.poll()
    begun = fleet.clock.monotonic()
    following = [asyncio.create_task(each.speak()) for each in (second, third)]
    while not (second.num_spoken and third.num_spoken):
        await fleet.poll()
    assert PLAY_S - 0.1 < fleet.clock.monotonic() - begun < PLAY_S + 0.1
    second.may_speak.set()
    assert (await following[0]) == (await following[1])
    making.cancel()
    await asyncio.gather(making, return_exceptions=True)


async def test_a_short_sentence_is_waited_for_as_long_as_a_model_may_need(fleet: Fleet) -> None:
    first, second = await fleet.server(), await fleet.server()
    first.may_speak.clear()
    making = asyncio.create_task(first.speak("Hi."))
    await fleet.poll()
    following = asyncio.create_task(second.speak("Hi."))
    await fleet.clock.advance(0.9)
    assert second.num_spoken == 0
    await fleet.clock.advance(0.2)
    assert second.num_spoken == 1
    making.cancel()
    await asyncio.gather(making, following, return_exceptions=True)


@pytest.mark.parametrize("content", [b"", b"x", bytes(100), to_bytes("another key", ())])
async def test_an_entry_that_is_damaged_is_made_again_and_replaced(
    fleet: Fleet, content: bytes
) -> None:
    first, second, third = [await fleet.server() for _ in range(3)]
    made = await first.speak()
    await settled(first)
    (key,) = [key for key, entry in fleet.shared.entries.items() if len(entry) > 10_000][-1:]
    fleet.shared.entries[key] = content
    assert await second.speak() == made
    await settled(second)
    assert await third.speak() == made
    assert (second.num_spoken, third.num_spoken) == (1, 0)


async def test_a_cache_that_cannot_be_reached_is_an_empty_one(fleet: Fleet) -> None:
    first, second = await fleet.server(), await fleet.server()
    fleet.shared.is_up = False
    made = await first.speak()
    assert await second.speak() == made
    await settled(first)
    fleet.shared.is_up = True
    assert await first.cached.count_shared([TextSegment(0, TEXT)], PARAMS) == 0


async def test_a_cache_that_is_lost_while_it_is_waited_for_ends_the_waiting(fleet: Fleet) -> None:
    first, second = await fleet.server(), await fleet.server()
    first.may_speak.clear()
    making = asyncio.create_task(first.speak())
    await fleet.poll()
    following = asyncio.create_task(second.speak())
    await fleet.poll()
    fleet.shared.is_up = False
    await fleet.poll()
    assert len(await following) > 1
    first.may_speak.set()
    await making
    await settled(first)


async def test_nothing_is_written_before_the_audio_is_handed_out(fleet: Fleet) -> None:
    server = await fleet.server()
    async with aclosing(server.ask()) as chunks:
        async for _ in chunks:
            assert fleet.shared.num_calls["write"] == 0
    await settled(server)
    assert fleet.shared.num_calls["write"] == 1


async def test_writes_that_are_slow_are_bounded_and_leave_no_lease(fleet: Fleet) -> None:
    server = await fleet.server()
    may_write = asyncio.Event()
    write = fleet.shared.write

    async def write_late(key: str, holder: str, content: bytes) -> None:
        await may_write.wait()
        await write(key, holder, content)

    fleet.shared.write = write_late  # type: ignore[method-assign]
    num_before = len(fleet.shared.entries)
    for number in range(2 * MAX_WRITES):
        await server.speak(f"Sentence {number}.")
    await eventually(lambda: fleet.shared.num_calls["release"] == MAX_WRITES)
    assert len(server.segments._writing) == MAX_WRITES
    may_write.set()
    await server.cached.close()
    assert len(fleet.shared.entries) == num_before + MAX_WRITES
    assert fleet.shared.leases == {}
    assert fleet.shared.num_calls["close"] == 1


async def test_what_others_have_is_counted_unless_the_text_is_long(fleet: Fleet) -> None:
    first, second = await fleet.server(), await fleet.server()
    await first.speak()
    await settled(first)
    mine, other = TextSegment(0, TEXT), TextSegment(1, "Another one.")
    assert await second.cached.count_shared([mine, other, mine], PARAMS) == 2
    assert await second.cached.count_shared([], PARAMS) == 0
    assert fleet.shared.num_calls["count"] == 1
    assert await second.cached.count_shared([mine] * (MAX_COUNTED + 1), PARAMS) == 0
    assert not second.cached.holds(mine, PARAMS)
