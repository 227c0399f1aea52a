import asyncio
from collections.abc import Callable
from errno import EMFILE

import pytest

from app.adapters.speech.pool import (
    INSTANCE_WAIT_S,
    SUSPECT_AFTER_S,
    WARM_UP_LIMIT_S,
    PooledModel,
)
from app.domain.errors import (
    DeviceError,
    InstanceDeadError,
    InstanceLostError,
    InstanceSilentError,
    ModelLoadError,
    NoInstanceError,
    RunawaySpeechError,
    SpeechTimeoutError,
    SynthesisError,
)
from app.domain.resilience import PROBE_TEXT, TimeLimits
from app.domain.segment import TextSegment
from app.domain.speech import SynthesisParams
from app.ports.speech_model import SpeechModel
from tests.fakes.clock import FakeClock
from tests.fakes.speech_model import FAKE_INFO, FakeSpeechModel
from tests.fakes.speech_observer import FakeSpeechObserver

SEGMENT = TextSegment(0, "One sentence.")
PARAMS = SynthesisParams(FAKE_INFO.voices[0])
LIMITS = TimeLimits()
PAUSES_S = {1, 2, 4, 8, 16, 32, 60}
"""Between attempts; the clock is asked for other times as well."""


class Pool:
    """A pool of fakes, and every fake that was ever built."""

    def __init__(self, num_instances: int = 2, *, replaces_hung: bool = False) -> None:
        self.built: list[FakeSpeechModel] = []
        self.tell_of_death: list[Callable[[InstanceDeadError], None]] = []
        self.build_errors: list[Exception] = []
        self.load_errors: list[Exception] = []
        self.warm_up_errors: list[Exception] = []
        self.clock = FakeClock()
        self.observer = FakeSpeechObserver()
        self.model = PooledModel(
            self._build,
            num_instances,
            self.clock,
            self.observer,
            LIMITS,
            replaces_hung=replaces_hung,
        )

    def _build(self, index: int, on_death: Callable[[InstanceDeadError], None]) -> SpeechModel:
        model = FakeSpeechModel()
        if self.build_errors:
            raise self.build_errors.pop()
        if self.load_errors:
            model.load_error = self.load_errors.pop()
        if self.warm_up_errors:
            model.failures = [self.warm_up_errors.pop()]
        self.built.append(model)
        self.tell_of_death.append(on_death)
        return model

    async def load(self) -> None:
        """Until all live."""
        await self.model.load()
        await self.settle()

    async def settle(self) -> None:
        """Let all be done that needs no time; some of it is done in threads."""
        for _ in range(5):
            await self.clock.advance(0)
            await asyncio.to_thread(lambda: None)
        await self.clock.advance(0)

    async def wait_until_dead(self) -> None:
        while self.model.num_alive:
            await self.settle()

    async def speak(self) -> int:
        return sum([c.num_samples async for c in self.model.synthesize(SEGMENT, PARAMS)])

    def begin(self) -> asyncio.Task[int]:
        return asyncio.create_task(self.speak())

    def num_spoken(self) -> list[int]:
        """By each instance ever built, without what it had to prove."""
        return [sum(text == SEGMENT.text for text, *_ in model.spoken) for model in self.built]


async def test_each_instance_is_loaded_once_spoken_with_and_closed() -> None:
    pool = Pool(3)
    await pool.load()
    assert pool.model.num_alive == 3
    await pool.model.close()
    assert len(pool.built) == 3
    assert all(model.is_loaded and model.is_closed for model in pool.built)
    assert [[text for text, *_ in model.spoken] for model in pool.built] == [[PROBE_TEXT]] * 3


async def test_it_is_loaded_with_the_first_instance_and_the_others_follow_one_by_one() -> None:
    pool = Pool(3)
    pool.built[1].may_load.clear()
    await pool.load()
    assert pool.model.num_alive == 1
    assert not pool.built[2].is_loaded
    assert await pool.speak()
    pool.built[1].may_load.set()
    await pool.settle()
    assert pool.model.num_alive == 3


async def test_one_that_cannot_be_loaded_does_not_keep_back_those_behind_it() -> None:
    pool = Pool(3)
    pool.built[1].load_error = ModelLoadError("no memory")
    await pool.load()
    assert pool.model.num_alive == 2
    assert await pool.speak()
    await pool.clock.advance(1)
    await pool.settle()
    assert pool.model.num_alive == 3


async def test_the_least_busy_instance_speaks() -> None:
    pool = Pool(3)
    await pool.load()
    for model in pool.built:
        model.before_chunk = hang_later
    generators = [pool.model.synthesize(SEGMENT, PARAMS) for _ in range(6)]
    for generator in generators:
        await anext(generator)
    for model in pool.built:
        model.before_chunk = None
    assert [model.num_running for model in pool.built] == [2, 2, 2]
    await generators[1].aclose()
    assert await pool.speak()
    assert pool.num_spoken() == [2, 3, 2]
    for generator in generators:
        await generator.aclose()


async def test_what_is_due_first_is_spread_whatever_is_spoken_ahead() -> None:
    """Else the first sentences of all texts, which are heard now, may be on one instance."""
    pool = Pool(2)
    await pool.load()
    generators = [
        pool.model.synthesize(TextSegment(number, f"Sentence {number}."), PARAMS, due_at)
        for _ in range(4)
        for number, due_at in enumerate([0.0, 5.0, 10.0, 15.0])
    ]
    for generator in generators:
        await anext(generator)
    for number in range(4):
        text = f"Sentence {number}."
        counts = [[one for one, *_ in model.spoken].count(text) for model in pool.built]
        assert counts == [2, 2]
    for generator in generators:
        await generator.aclose()


async def test_a_dead_instance_is_taken_out_and_made_anew_while_the_other_serves() -> None:
    pool = Pool()
    await pool.load()
    pool.built[0].fail_on = (SEGMENT.text, InstanceDeadError(reason="crashed"))
    with pytest.raises(InstanceDeadError):
        await pool.speak()
    assert pool.model.num_alive == 1
    assert pool.observer.deaths == [(0, "crashed")]
    assert await pool.speak()
    await pool.settle()
    assert pool.built[0].is_closed
    assert len(pool.built) == 3
    assert pool.built[2].is_loaded
    assert await pool.speak()
    assert pool.num_spoken() == [1, 1, 1]


async def test_an_instance_that_tells_of_its_death_while_idle_is_made_anew() -> None:
    pool = Pool()
    await pool.load()
    pool.tell_of_death[1](InstanceDeadError(reason="silent"))
    assert pool.model.num_alive == 1
    await pool.settle()
    assert pool.model.num_alive == 2
    assert pool.observer.deaths == [(1, "silent")]
    pool.tell_of_death[1](InstanceDeadError())
    await pool.settle()
    assert len(pool.built) == 3, "the dead one has nothing to tell any more"


async def test_of_all_that_die_with_an_instance_the_first_tells_and_the_others_are_lost() -> None:
    pool = Pool(1)
    await pool.load()
    pool.built[0].fail_after_chunks = 1
    pool.built[0].fail_on = (SEGMENT.text, InstanceDeadError())
    generators = [pool.model.synthesize(SEGMENT, PARAMS) for _ in range(3)]
    for generator in generators:
        await anext(generator)
    errors: list[type[BaseException]] = []
    for generator in generators:
        with pytest.raises(InstanceDeadError) as raised:
            await anext(generator)
        errors.append(raised.type)
    assert errors == [InstanceDeadError, InstanceLostError, InstanceLostError]
    assert pool.observer.deaths == [(0, "failed")]


async def test_an_instance_that_cannot_be_made_is_tried_again_ever_later() -> None:
    pool = Pool()
    await pool.load()
    pool.load_errors = [ModelLoadError("no memory"), OSError(EMFILE, "too many open files")] * 2
    pool.load_errors.pop()
    pool.built[0].fail_on = (SEGMENT.text, InstanceDeadError())
    with pytest.raises(InstanceDeadError):
        await pool.speak()
    for _ in range(10):
        await pool.clock.advance(1.0)
        await pool.settle()
    assert [slept_s for slept_s in pool.clock.slept_s if slept_s in PAUSES_S] == [1, 2, 4]
    assert pool.built[-1].is_loaded
    assert pool.model.num_alive == 2


async def test_an_instance_that_cannot_even_be_built_is_tried_again() -> None:
    pool = Pool(1)
    await pool.load()
    pool.build_errors = [OSError(EMFILE, "too many open files")] * 3
    pool.tell_of_death[0](InstanceDeadError())
    for _ in range(10):
        await pool.clock.advance(1.0)
        await pool.settle()
    assert (pool.model.num_alive, len(pool.built)) == (1, 2)


async def test_with_no_instance_left_a_sentence_waits_for_one() -> None:
    pool = Pool(1)
    await pool.load()
    pool.load_errors = [ModelLoadError("no memory")]
    pool.tell_of_death[0](InstanceDeadError())
    speaking = pool.begin()
    await pool.settle()
    assert not speaking.done()
    await pool.clock.advance(1.0)
    await pool.settle()
    assert await speaking


async def test_and_if_none_comes_it_fails_in_time() -> None:
    pool = Pool(1)
    await pool.load()
    pool.load_errors = [ModelLoadError("no memory")] * 9
    pool.tell_of_death[0](InstanceDeadError())
    speaking = pool.begin()
    await pool.clock.advance(INSTANCE_WAIT_S - 0.1)
    assert not speaking.done()
    await pool.clock.advance(0.2)
    with pytest.raises(NoInstanceError):
        await speaking
    await pool.model.close()


async def test_another_failure_leaves_the_instance_in_place() -> None:
    pool = Pool(1)
    await pool.load()
    pool.built[0].fail_on = (SEGMENT.text, SynthesisError())
    with pytest.raises(SynthesisError):
        await pool.speak()
    await pool.clock.advance(5.0)
    assert len(pool.built) == 1
    assert pool.observer.deaths == []


async def test_closing_ends_a_rebuild_that_waits() -> None:
    pool = Pool(1)
    await pool.load()
    pool.load_errors = [ModelLoadError("no memory")] * 9
    pool.built[0].fail_on = (SEGMENT.text, InstanceDeadError())
    with pytest.raises(InstanceDeadError):
        await pool.speak()
    await pool.clock.advance(1.5)
    await pool.model.close()
    assert asyncio.all_tasks() == {asyncio.current_task()}


async def test_an_instance_that_dies_while_the_pool_closes_is_not_made_anew() -> None:
    pool = Pool(2)
    await pool.load()
    await pool.model.close()
    pool.tell_of_death[0](InstanceDeadError(reason="crashed"))
    await pool.settle()
    assert len(pool.built) == 2
    assert asyncio.all_tasks() == {asyncio.current_task()}


async def test_a_first_instance_that_cannot_load_fails_the_load() -> None:
    pool = Pool(2)
    pool.built[0].load_error = ModelLoadError("no weights")
    with pytest.raises(ModelLoadError, match="no weights"):
        await pool.model.load()


async def test_a_first_instance_that_says_what_it_dies_of_fails_the_load() -> None:
    pool = Pool(2)
    pool.built[0].failures = [DeviceError()]
    with pytest.raises(DeviceError):
        await pool.model.load()


async def test_a_first_instance_that_dies_twenty_times_is_made_ever_later_until_it_lives() -> None:
    """Half of them while loading, half while warming up."""
    pool = Pool(1)
    pool.built[0].load_error = InstanceDeadError(reason="crashed")
    pool.load_errors = [InstanceDeadError(reason="crashed")] * 9
    loading = asyncio.create_task(pool.model.load())
    await pool.settle()
    while pool.load_errors:
        await pool.clock.advance(1)
    pool.warm_up_errors = [InstanceDeadError(reason="crashed")] * 10
    while not loading.done():
        assert pool.model.num_alive == 0
        await pool.clock.advance(1)
        await pool.settle()
    await loading
    assert pool.observer.deaths == [(0, "crashed")] * 20
    pauses_s = [slept_s for slept_s in pool.clock.slept_s if slept_s in PAUSES_S]
    assert pauses_s == [1, 2, 4, 8, 16, 32] + [60] * 14


async def test_an_instance_that_fails_at_the_first_sentence_alone_lives() -> None:
    pool = Pool(1)
    pool.built[0].failures = [RunawaySpeechError()]
    await pool.load()
    assert pool.model.num_alive == 1


async def test_whatever_a_model_raises_at_first_fails_the_load_as_an_error_of_speech() -> None:
    pool = Pool(1)
    pool.built[0].failures = [ValueError("an error of a library")]
    with pytest.raises(SynthesisError):
        await pool.model.load()


async def test_an_instance_that_hangs_at_first_is_made_anew() -> None:
    pool = Pool(1)
    pool.built[0].before_speaking = hang
    loading = asyncio.create_task(pool.model.load())
    await pool.settle()
    await pool.clock.advance(WARM_UP_LIMIT_S)
    await pool.settle()
    await pool.clock.advance(1)
    await loading
    assert pool.observer.deaths == [(0, "hung")]


async def hang(_: object) -> None:
    await asyncio.Event().wait()


async def hang_later(number: int) -> None:
    """After the first chunk."""
    if number:
        await asyncio.Event().wait()


async def give_up(pool: Pool, after_s: float) -> None:
    """Ask for a sentence, and be gone after a time without sound."""
    waiting = pool.begin()
    await pool.clock.advance(after_s)
    waiting.cancel()
    await pool.settle()


async def test_an_instance_that_hangs_is_found_out_and_made_anew() -> None:
    pool = Pool(2, replaces_hung=True)
    await pool.load()
    pool.built[0].before_speaking = hang
    other = pool.model.synthesize(SEGMENT, PARAMS)
    await give_up(pool, SUSPECT_AFTER_S)
    assert pool.model.num_alive == 2
    assert await pool.speak(), "others are not sent there"
    await pool.clock.advance(LIMITS.first_chunk_s)
    await pool.settle()
    assert pool.observer.deaths == [(0, "hung")]
    assert pool.built[0].is_closed
    assert pool.model.num_alive == 2
    await other.aclose()
    await pool.model.close()


async def time_out(pool: Pool, num_sentences: int) -> list[type]:
    """How sentences fail that are asked for together and get no sound."""
    pool.built[0].before_speaking = hang
    waiting = [pool.begin() for _ in range(num_sentences)]
    await pool.settle()
    if num_sentences == 1:
        pool.built[0].before_speaking = None
    await pool.clock.advance(LIMITS.first_chunk_s)
    await pool.settle()
    return [type(error) for error in await asyncio.gather(*waiting, return_exceptions=True)]


async def test_of_all_that_wait_for_an_instance_that_hangs_the_first_tells() -> None:
    pool = Pool(1, replaces_hung=True)
    await pool.load()
    failed = await time_out(pool, 3)
    assert failed == [SpeechTimeoutError, InstanceSilentError, InstanceSilentError]
    await pool.clock.advance(LIMITS.first_chunk_s)
    await pool.settle()
    assert pool.observer.deaths == [(0, "hung")]


async def test_each_silence_of_an_instance_that_speaks_again_is_told() -> None:
    pool = Pool(1, replaces_hung=True)
    await pool.load()
    assert await time_out(pool, 1) == [SpeechTimeoutError]
    assert await time_out(pool, 1) == [SpeechTimeoutError]
    assert pool.observer.deaths == []


async def test_an_instance_that_proves_that_it_lives_stays() -> None:
    pool = Pool(1, replaces_hung=True)
    await pool.load()
    pool.built[0].before_speaking = hang
    waiting = pool.begin()
    await pool.clock.advance(SUSPECT_AFTER_S)
    pool.built[0].before_speaking = None
    waiting.cancel()
    await pool.settle()
    await pool.clock.advance(2 * LIMITS.first_chunk_s)
    assert pool.observer.deaths == []
    assert [text for text, *_ in pool.built[0].spoken] == [PROBE_TEXT, SEGMENT.text, PROBE_TEXT]
    assert await pool.speak()


async def test_sound_for_somebody_else_proves_it_as_well() -> None:
    pool = Pool(1, replaces_hung=True)
    await pool.load()
    pool.built[0].before_chunk = lambda number: pool.clock.sleep(4.0 if number else 0.0)
    listening = pool.model.synthesize(SEGMENT, PARAMS)
    await anext(listening)
    pool.built[0].before_speaking = hang
    await give_up(pool, SUSPECT_AFTER_S)
    await pool.clock.advance(LIMITS.first_chunk_s / 2)
    await anext(listening)
    await pool.clock.advance(LIMITS.first_chunk_s / 2)
    await pool.settle()
    assert pool.observer.deaths == []
    await listening.aclose()
    await pool.model.close()


@pytest.mark.parametrize("replaces_hung", [True, False])
async def test_a_listener_who_leaves_soon_or_a_pool_that_cannot_mend_it_proves_nothing(
    *, replaces_hung: bool
) -> None:
    pool = Pool(1, replaces_hung=replaces_hung)
    await pool.load()
    pool.built[0].before_speaking = hang
    await give_up(pool, SUSPECT_AFTER_S - 0.1 if replaces_hung else 100.0)
    assert [text for text, *_ in pool.built[0].spoken] == [PROBE_TEXT, SEGMENT.text]


async def test_what_is_spoken_ahead_may_wait_as_long_as_it_is_not_due() -> None:
    pool = Pool(1, replaces_hung=True)
    await pool.load()
    pool.built[0].before_speaking = hang
    due_at = pool.clock.monotonic() + 100
    waiting = asyncio.ensure_future(anext(pool.model.synthesize(SEGMENT, PARAMS, due_at)))
    await pool.clock.advance(50)
    waiting.cancel()
    await pool.settle()
    assert len(pool.built[0].spoken) == 2
