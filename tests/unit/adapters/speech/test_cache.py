import asyncio
import gc
from collections.abc import AsyncGenerator
from contextlib import aclosing
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from app.adapters.speech.cache import CachedModel, MemoryCache, entry_bytes
from app.adapters.speech.cache_levels import DiskCache
from app.domain.audio import AudioChunk
from app.domain.errors import SynthesisError
from app.domain.segment import TextSegment
from app.domain.speech import SamplingParams, SynthesisParams
from tests.examples import examples
from tests.fakes.clock import FakeClock
from tests.fakes.speech_model import FAKE_INFO, FakeSpeechModel

TEXT = "A sentence of several chunks."
SEGMENT = TextSegment(0, TEXT)
PARAMS = SynthesisParams(FAKE_INFO.voices[0])
NUM_CHUNKS = 6
SAMPLED = msgspec.structs.replace(FAKE_INFO, has_sampling=True)


class Rig:
    """A cache around a fake that speaks a chunk each time it is told to."""

    def __init__(
        self,
        max_bytes: int = 1_000_000,
        files: DiskCache | None = None,
        temperature: float = 0.0,
        identity: str = "one",
        **info: Any,
    ) -> None:
        self.model = FakeSpeechModel(msgspec.structs.replace(FAKE_INFO, **info))
        self.memory = MemoryCache(max_bytes)
        self.cached = CachedModel(self.model, self.memory, files, lambda: identity, temperature)

    async def load(self) -> "Rig":
        await self.cached.load()
        return self

    def ask(
        self,
        text: str = TEXT,
        params: SynthesisParams = PARAMS,
        due_at: float = 0.0,
        index: int = 0,
    ) -> AsyncGenerator[AudioChunk, None]:
        return self.cached.synthesize(TextSegment(index, text), params, due_at)

    async def speak(self, text: str = TEXT, params: SynthesisParams = PARAMS) -> list[AudioChunk]:
        return await drain(self.ask(text, params))

    def hold(self) -> asyncio.Event:
        """Sentences wait before their first chunk until the event is set."""
        may_speak = asyncio.Event()

        async def wait(_: TextSegment) -> None:
            await may_speak.wait()

        self.model.before_speaking = wait
        return may_speak


async def drain(chunks: AsyncGenerator[AudioChunk, None]) -> list[AudioChunk]:
    async with aclosing(chunks):
        return [chunk async for chunk in chunks]


def samples(chunks: list[AudioChunk]) -> list[bytes]:
    return [chunk.samples.tobytes() for chunk in chunks]


async def let_run() -> None:
    for _ in range(20):
        await asyncio.sleep(0)


@pytest.fixture
async def rig() -> Rig:
    return await Rig().load()


async def test_what_was_spoken_is_repeated_chunk_by_chunk_without_the_model(rig: Rig) -> None:
    first = await rig.speak()
    second = await drain(rig.ask(index=7))
    assert len(first) == NUM_CHUNKS
    assert samples(first) == samples(second)
    assert all(chunk.samples.dtype == np.float32 for chunk in second)
    assert len(rig.model.spoken) == 1


@pytest.mark.parametrize(
    ("text", "params"),
    [
        ("Another sentence.", PARAMS),
        (TEXT, SynthesisParams(FAKE_INFO.voices[1])),
        (TEXT, SynthesisParams(FAKE_INFO.voices[0], 1.25)),
        (TEXT, SynthesisParams(FAKE_INFO.voices[0], 1.0, SamplingParams(seed=1))),
    ],
)
async def test_another_text_or_delivery_is_spoken(
    rig: Rig, text: str, params: SynthesisParams
) -> None:
    await rig.speak()
    await rig.speak(text, params)
    assert len(rig.model.spoken) == 2


async def test_what_it_holds_can_be_asked(rig: Rig) -> None:
    assert not rig.cached.holds(SEGMENT, PARAMS)
    await rig.speak()
    assert rig.cached.holds(TextSegment(3, TEXT), PARAMS)
    assert not rig.cached.holds(SEGMENT, SynthesisParams(FAKE_INFO.voices[1]))


@pytest.mark.parametrize("num_followers", [2, 5])
async def test_equal_requests_at_once_are_spoken_once_and_all_hear_all(
    rig: Rig, num_followers: int
) -> None:
    asked = [rig.ask(due_at=float(number)) for number in range(num_followers)]
    heard = await asyncio.gather(*map(drain, asked))
    assert len(rig.model.spoken) == 1
    assert rig.model.due_at == [0.0]
    assert all(samples(each) == samples(heard[0]) for each in heard)
    assert len(heard[0]) == NUM_CHUNKS


@pytest.mark.parametrize("num_heard", range(1, NUM_CHUNKS + 1))
async def test_whoever_joins_late_hears_it_from_the_beginning(rig: Rig, num_heard: int) -> None:
    early = rig.ask()
    start = [await anext(early) for _ in range(num_heard)]
    late, rest = await asyncio.gather(rig.speak(), drain(early))
    assert samples(late) == samples([*start, *rest])
    assert len(rig.model.spoken) == 1


async def test_chunks_are_handed_on_as_they_are_made(rig: Rig) -> None:
    early, late = rig.ask(), rig.ask()
    await anext(early)
    await anext(late)
    assert rig.model.num_chunks < NUM_CHUNKS
    await early.aclose()
    await late.aclose()


@pytest.mark.parametrize("num_heard", range(NUM_CHUNKS))
async def test_the_first_of_two_may_leave_and_the_second_hears_everything(
    rig: Rig, num_heard: int
) -> None:
    first, second = rig.ask(), asyncio.create_task(rig.speak())
    leaving = asyncio.create_task(anext(first))
    await let_run() if num_heard == 0 else await leaving
    for _ in range(num_heard - 1):
        await anext(first)
    await asyncio.gather(leaving, return_exceptions=True)
    await first.aclose()
    heard = await second
    assert len(heard) == NUM_CHUNKS
    assert len(rig.model.spoken) == 1
    assert rig.cached.holds(SEGMENT, PARAMS)


async def test_when_both_have_left_the_model_is_stopped_and_nothing_is_kept(rig: Rig) -> None:
    first, second = rig.ask(), rig.ask()
    await anext(first)
    await anext(second)
    await first.aclose()
    assert rig.model.num_running == 1
    await second.aclose()
    assert rig.model.num_running == 0
    assert rig.cached.num_bytes == 0
    assert not rig.cached.holds(SEGMENT, PARAMS)
    assert len(await rig.speak()) == NUM_CHUNKS
    assert len(rig.model.spoken) == 2


async def test_cancelling_all_who_wait_stops_the_model(rig: Rig) -> None:
    rig.hold()
    waiting = [asyncio.create_task(rig.speak()) for _ in range(3)]
    await let_run()
    assert rig.model.num_running == 1
    for task in waiting:
        task.cancel()
    await asyncio.gather(*waiting, return_exceptions=True)
    assert rig.model.num_running == 0
    assert asyncio.all_tasks() == {asyncio.current_task()}


async def test_who_leaves_before_the_work_has_begun_leaves_nothing_behind(rig: Rig) -> None:
    task = asyncio.create_task(rig.speak())
    await asyncio.sleep(0)
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
    await let_run()
    assert rig.cached.num_bytes == 0
    assert asyncio.all_tasks() == {asyncio.current_task()}
    assert len(await rig.speak()) == NUM_CHUNKS


async def test_a_request_that_comes_while_the_last_one_leaves_is_spoken_anew(rig: Rig) -> None:
    may_stop = asyncio.Event()
    is_stopping = asyncio.Event()

    async def stop_slowly(_: TextSegment) -> None:
        try:
            await asyncio.Event().wait()
        finally:
            is_stopping.set()
            await may_stop.wait()

    rig.model.before_speaking = stop_slowly
    leaving = asyncio.create_task(rig.speak())
    await let_run()
    leaving.cancel()
    await is_stopping.wait()
    rig.model.before_speaking = None
    assert len(await rig.speak()) == NUM_CHUNKS
    may_stop.set()
    await asyncio.gather(leaving, return_exceptions=True)
    assert rig.cached.holds(SEGMENT, PARAMS)


async def test_one_who_does_not_listen_holds_up_nobody(rig: Rig) -> None:
    slow = rig.ask()
    start = await anext(slow)
    heard = await rig.speak()
    assert len(heard) == NUM_CHUNKS
    assert samples([start, *await drain(slow)]) == samples(heard)


@pytest.mark.parametrize("fail_after_chunks", [0, 3])
async def test_a_failure_reaches_everyone_and_nothing_is_kept(
    rig: Rig, fail_after_chunks: int
) -> None:
    rig.model.fail_on = (TEXT, SynthesisError("it broke"))
    rig.model.fail_after_chunks = fail_after_chunks
    heard: list[int] = []

    async def listen() -> None:
        chunks = []
        try:
            async for chunk in rig.ask():
                chunks.append(chunk)
        finally:
            heard.append(len(chunks))

    ends = await asyncio.gather(*(listen() for _ in range(3)), return_exceptions=True)
    assert [str(end) for end in ends] == ["it broke"] * 3
    assert heard == [fail_after_chunks] * 3
    assert len(rig.model.spoken) == 1
    assert rig.cached.num_bytes == 0
    rig.model.fail_on = None
    assert len(await rig.speak()) == NUM_CHUNKS


async def test_a_failure_that_nobody_waits_for_is_no_complaint(rig: Rig) -> None:
    complaints: list[dict[str, Any]] = []
    asyncio.get_running_loop().set_exception_handler(lambda _, context: complaints.append(context))
    rig.model.fail_on = (TEXT, SynthesisError())
    rig.model.fail_after_chunks = 2
    slow = rig.ask()
    await anext(slow)
    await let_run()
    await slow.aclose()
    del slow
    rig.model.fail_on = None  # its traceback holds the task
    await let_run()
    gc.collect()
    assert complaints == []


UNSEEDED = SynthesisParams(FAKE_INFO.voices[0], 1.0, SamplingParams(temperature=0.5))
SEEDED = SynthesisParams(FAKE_INFO.voices[0], 1.0, SamplingParams(temperature=0.5, seed=1))


async def test_what_is_drawn_by_lot_is_drawn_each_time_and_for_each() -> None:
    rig = await Rig(has_sampling=True).load()
    await asyncio.gather(rig.speak(params=UNSEEDED), rig.speak(params=UNSEEDED))
    await rig.speak(params=UNSEEDED)
    assert len(rig.model.spoken) == 3
    assert not rig.cached.can_keep(UNSEEDED)
    assert rig.cached.num_bytes == 0


@pytest.mark.parametrize(
    ("params", "temperature"),
    [(SEEDED, 0.9), (PARAMS, 0.0)],
)
async def test_a_seed_or_no_temperature_makes_it_repeatable(
    params: SynthesisParams, temperature: float
) -> None:
    rig = await Rig(has_sampling=True, temperature=temperature).load()
    await rig.speak(params=params)
    await rig.speak(params=params)
    assert len(rig.model.spoken) == 1


async def test_the_default_temperature_counts() -> None:
    rig = await Rig(has_sampling=True, temperature=0.3).load()
    assert not rig.cached.can_keep(PARAMS)


async def test_of_size_0_it_is_off() -> None:
    rig = await Rig(max_bytes=0).load()
    await asyncio.gather(rig.speak(), rig.speak())
    assert len(rig.model.spoken) == 2
    assert not rig.cached.can_keep(PARAMS)


async def test_before_the_model_is_loaded_nothing_is_kept() -> None:
    rig = Rig()
    assert not rig.cached.can_keep(PARAMS)
    await rig.load()
    assert rig.cached.can_keep(PARAMS)


async def test_speech_that_outgrows_the_memory_is_still_heard_by_all_who_follow() -> None:
    rig = await Rig(max_bytes=10_000).load()
    first, second = rig.ask(), rig.ask()
    start = [await anext(first), await anext(second)]
    for _ in range(2):
        start += [await anext(first), await anext(second)]
    third = await rig.speak()
    assert len(rig.model.spoken) == 2
    rest = await asyncio.gather(drain(first), drain(second))
    assert samples([*start[::2], *rest[0]]) == samples([*start[1::2], *rest[1]]) == samples(third)
    assert len(third) == NUM_CHUNKS
    assert not rig.cached.holds(SEGMENT, PARAMS)
    assert rig.cached.num_bytes == 0


async def test_a_view_of_a_large_buffer_does_not_keep_the_buffer(rig: Rig) -> None:
    await rig.speak()
    kept = await rig.speak()
    assert all(chunk.samples.base is None for chunk in kept)


async def test_chunks_keep_all_their_fields() -> None:
    class Chunk(AudioChunk, frozen=True, eq=False):
        mark: int = 0

    class Marking(FakeSpeechModel):
        async def synthesize(
            self, segment: TextSegment, params: SynthesisParams, due_at: float = 0.0
        ) -> AsyncGenerator[AudioChunk, None]:
            yield Chunk(np.ones(10, np.float32)[2:], 16_000, mark=5)

    cached = CachedModel(Marking(), MemoryCache(10_000), None, lambda: "x", 0.0)
    await cached.load()
    for _ in range(2):
        (chunk,) = await drain(cached.synthesize(SEGMENT, PARAMS))
        assert isinstance(chunk, Chunk)
        assert (chunk.mark, chunk.num_samples) == (5, 8)


TEXTS = [f"{letter * (10 + 12 * number)}." for number, letter in enumerate("abcdefg")]
ACTIONS = st.lists(
    st.tuples(
        st.sampled_from(["ask", "hear", "leave", "finish"]), st.integers(0, len(TEXTS) - 1)
    ),
    max_size=40,
)  # fmt: skip


@settings(max_examples=examples(60), deadline=None)
@given(ACTIONS, st.integers(1, 120_000))
def test_whatever_is_asked_heard_and_left_the_limit_holds_and_nothing_is_lost(
    actions: list[tuple[str, int]], max_bytes: int
) -> None:
    asyncio.run(follow(actions, max_bytes))


async def follow(actions: list[tuple[str, int]], max_bytes: int) -> None:
    rig = await Rig(max_bytes).load()
    plain = FakeSpeechModel()
    asked: list[tuple[str, AsyncGenerator[AudioChunk, None], list[AudioChunk]]] = []
    for action, number in actions:
        if action == "ask":
            asked.append((TEXTS[number], rig.ask(TEXTS[number]), []))
        elif asked:
            text, chunks, heard = asked[number % len(asked)]
            if action == "hear":
                heard += [chunk] if (chunk := await anext(chunks, None)) else []
            else:
                asked.remove((text, chunks, heard))
                if action == "leave":
                    await chunks.aclose()
                else:
                    heard += await drain(chunks)
                    whole = await drain(plain.synthesize(TextSegment(0, text), PARAMS))
                    assert samples(heard) == samples(whole)
        assert rig.cached.num_bytes <= max_bytes
    for _, chunks, _ in asked:
        await chunks.aclose()
    await let_run()
    assert rig.model.num_running == 0
    assert asyncio.all_tasks() == {asyncio.current_task()}
    assert rig.memory._num_reserved_bytes == 0
    assert not rig.cached._in_flight


async def test_a_cache_of_50_mb_never_exceeds_it() -> None:
    limit = 50_000_000
    rig = await Rig(limit, sample_rate=32_000).load()
    highest = 0

    async def listen(text: str) -> None:
        nonlocal highest
        async for _ in rig.ask(text):
            highest = max(highest, rig.cached.num_bytes)
            assert rig.cached.num_bytes <= limit

    texts = [f"{number:05d} " + "a" * 94 for number in range(400)]
    for start in range(0, len(texts), 20):
        await asyncio.gather(*map(listen, texts[start : start + 20]))
    assert highest > limit * 0.9
    held = [rig.cached.holds(TextSegment(0, text), PARAMS) for text in texts]
    assert held == sorted(held)
    assert 150 < sum(held) < 200


def files(path: Path, max_bytes: int = 1_000_000) -> DiskCache:
    return DiskCache(path, max_bytes, FakeClock())


async def test_what_was_spoken_survives_a_restart(tmp_path: Path) -> None:
    rig = await Rig(files=files(tmp_path)).load()
    first = await rig.speak()
    await rig.cached.close()
    again = await Rig(files=files(tmp_path)).load()
    assert again.cached.holds(SEGMENT, PARAMS)
    await again.speak("Ready.")
    assert samples(await again.speak()) == samples(first)
    assert [text for text, *_ in again.model.spoken] == ["Ready."]
    await again.cached.close()


async def test_the_first_sentence_after_a_start_warms_the_model_up(tmp_path: Path) -> None:
    rig = await Rig(files=files(tmp_path)).load()
    await rig.speak()
    await rig.cached.close()
    again = await Rig(files=files(tmp_path)).load()
    await again.speak()
    assert len(again.model.spoken) == 1
    await again.cached.close()


async def test_another_model_finds_nothing_in_the_files(tmp_path: Path) -> None:
    rig = await Rig(files=files(tmp_path)).load()
    await rig.speak()
    await rig.cached.close()
    other = await Rig(files=files(tmp_path), identity="two").load()
    assert not other.cached.holds(SEGMENT, PARAMS)
    await other.cached.close()


async def test_what_memory_had_to_let_go_is_read_once_for_all_who_ask(tmp_path: Path) -> None:
    kept = files(tmp_path)
    rig = await Rig(entry_bytes(tuple(await speak_plainly())), kept).load()
    first = await rig.speak()
    await rig.speak("Another sentence.")
    await asyncio.gather(*kept._writing)
    heard = await asyncio.gather(*(rig.speak() for _ in range(5)))
    assert len(rig.model.spoken) == 2
    assert all(samples(each) == samples(first) for each in heard)
    await rig.cached.close()


async def speak_plainly() -> list[AudioChunk]:
    return await drain(FakeSpeechModel().synthesize(SEGMENT, PARAMS))


async def test_silence_is_not_kept_it_may_be_a_failure(rig: Rig) -> None:
    rig.model._chunks = lambda *_: []  # type: ignore[method-assign]
    assert await rig.speak() == []
    assert not rig.cached.holds(SEGMENT, PARAMS)
    assert rig.memory.num_bytes == 0
    await rig.speak()
    assert len(rig.model.spoken) == 2
