"""A model that fails, hangs, dies and comes back, behind the decorator. Time passes as told."""

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import aclosing, suppress
from typing import Any

import msgspec
import pytest

from app.adapters.speech.pool import BUSY_TIMES, PooledModel
from app.adapters.speech.resilient import HOLD_MARGIN_S, RESTART_S, ResilientModel
from app.domain.errors import (
    DeviceError,
    EngineBusyError,
    EngineUnavailableError,
    InstanceDeadError,
    InstanceLostError,
    InvalidAudioError,
    NoInstanceError,
    RunawaySpeechError,
    SpeechError,
    SpeechTimeoutError,
    SynthesisError,
    TruncatedSpeechError,
)
from app.domain.resilience import BreakerState, ResiliencePolicy, TimeLimits
from app.domain.segment import TextSegment
from app.domain.speech import SynthesisParams
from app.ports.speech_model import SpeechModel
from app.ports.telemetry import Tracing
from tests.fakes.clock import FakeClock
from tests.fakes.speech_model import FAKE_INFO, SECONDS_PER_CHAR, FakeSpeechModel
from tests.fakes.speech_observer import FakeSpeechObserver
from tests.fakes.tracing import FakeTracing
from tests.pools import pool_of

TEXT = "One sentence."
PARAMS = SynthesisParams(FAKE_INFO.voices[0])
CLOSED, OPEN, HALF_OPEN = BreakerState.CLOSED, BreakerState.OPEN, BreakerState.HALF_OPEN
NEVER_AGAIN = ResiliencePolicy(max_retries=0)


class Rig:
    """The decorator around a fake, without the chance."""

    def __init__(
        self,
        policy: ResiliencePolicy | None = None,
        model: SpeechModel | None = None,
        tracing: Tracing | None = None,
        chance: float = 0.5,
    ) -> None:
        self.clock = FakeClock()
        self.fake = FakeSpeechModel()
        self.observer = FakeSpeechObserver()
        self.model = ResilientModel(
            model or self.fake,
            self.clock,
            policy or ResiliencePolicy(),
            self.observer,
            lambda: chance,
            tracing,
        )

    @property
    def state(self) -> BreakerState:
        return self.model.breaker.state

    @property
    def states(self) -> list[BreakerState]:
        return [new for _, new, _ in self.observer.breaker_changes]

    async def speak(self, text: str = TEXT, due_at: float = 0.0) -> int:
        """How many chunks there are."""
        chunks = self.model.synthesize(TextSegment(0, text), PARAMS, due_at)
        return len([chunk async for chunk in chunks])

    def begin(self, text: str = TEXT, due_at: float = 0.0) -> asyncio.Task[int]:
        return asyncio.create_task(self.speak(text, due_at))

    async def fail(self, times: int = 1, error: Exception | None = None) -> None:
        for _ in range(times):
            self.fake.failures.append(error or SynthesisError())
            with pytest.raises(SpeechError):
                await self.speak()

    async def finish(self, task: asyncio.Task[int], within_s: float = 2.0) -> None:
        """Let time pass until the task is done."""
        await self.clock.advance(within_s)
        assert task.done()


async def limited_rig(policy: ResiliencePolicy | None = None) -> Rig:
    """The decorator around a pool of one fake, which has synthesized once."""
    rig = Rig(policy)
    pool = pool_of(rig.fake, rig.clock, rig.observer)
    rig.model = ResilientModel(
        pool, rig.clock, policy or ResiliencePolicy(), rig.observer, lambda: 0.5
    )
    await pool.load()
    rig.fake.spoken.clear()
    rig.observer.nums_running.clear()
    return rig


async def hang(_: object = None) -> None:
    await asyncio.Event().wait()


async def test_five_failures_and_the_model_is_left_alone() -> None:
    rig = Rig()
    await rig.fail(5)
    with pytest.raises(EngineUnavailableError) as refusal:
        await rig.speak()
    assert refusal.value.retry_after_s == 5
    assert len(rig.fake.spoken) == 5
    assert rig.states == [OPEN]
    assert rig.observer.breaker_changes[0][2] == "5 of the last 5 calls failed"


async def test_after_its_time_one_call_tries_and_all_are_served_again() -> None:
    rig = Rig()
    await rig.fail(5)
    await rig.clock.advance(5)
    assert await rig.speak()
    assert await rig.speak()
    assert rig.states == [OPEN, HALF_OPEN, CLOSED]


async def test_of_fifty_calls_at_once_exactly_one_is_the_probe() -> None:
    rig = Rig()
    await rig.fail(5)
    await rig.clock.advance(5)
    may_speak = asyncio.Event()
    rig.fake.before_speaking = lambda _: _wait_for(may_speak)
    calls = [rig.begin() for _ in range(50)]
    await rig.clock.advance(0.1)
    assert len(rig.fake.spoken) == 6
    may_speak.set()
    results = await asyncio.gather(*calls, return_exceptions=True)
    assert sum(isinstance(each, EngineUnavailableError) for each in results) == 49
    assert rig.state is CLOSED


async def _wait_for(event: asyncio.Event) -> None:
    await event.wait()


async def test_a_probe_that_is_cancelled_gives_its_permit_back() -> None:
    rig = Rig()
    await rig.fail(5)
    await rig.clock.advance(5)
    rig.fake.before_speaking = hang
    probe = rig.begin()
    await rig.clock.advance(0.1)
    probe.cancel()
    with suppress(asyncio.CancelledError):
        await probe
    assert rig.state is HALF_OPEN
    assert rig.fake.num_running == 0
    rig.fake.before_speaking = None
    assert await rig.speak()
    assert rig.state is CLOSED


async def test_a_probe_that_hangs_is_a_failure_after_the_time_of_a_first_chunk() -> None:
    rig = await limited_rig(NEVER_AGAIN)
    await rig.fail(5)
    await rig.clock.advance(5)
    rig.fake.before_speaking = hang
    probe = rig.begin(due_at=1_000.0)  # a probe is due at once
    await rig.clock.advance(9)
    assert rig.state is HALF_OPEN
    await rig.clock.advance(1)
    assert rig.state is OPEN
    with pytest.raises(SpeechTimeoutError):
        await probe


async def test_a_late_end_of_an_old_call_changes_nothing() -> None:
    rig = Rig()
    late = asyncio.Event()
    old = rig.model.synthesize(TextSegment(0, TEXT), PARAMS)
    await anext(old)
    rig.fake.before_chunk = lambda _: _wait_for(late)
    rest = asyncio.create_task(_fail_late(old))
    await rig.clock.advance(0.1)
    rig.fake.before_chunk = None
    await rig.fail(5)
    await rig.clock.advance(5)
    assert rig.state is OPEN
    assert await rig.speak()
    late.set()
    await rest
    assert rig.states == [OPEN, HALF_OPEN, CLOSED]


async def _fail_late(chunks: AsyncIterator[object]) -> None:
    with suppress(SpeechError):
        async for _ in chunks:
            pass


@pytest.mark.parametrize("error", [SynthesisError(), InvalidAudioError("NaN"), ValueError("no")])
async def test_what_the_engine_does_wrong_counts_and_is_not_repeated(error: Exception) -> None:
    rig = Rig()
    await rig.fail(5, error)
    assert rig.state is OPEN
    assert len(rig.fake.spoken) == 5
    assert rig.observer.retries == []


async def test_a_sentence_that_runs_away_never_opens_the_breaker() -> None:
    rig = Rig()
    await rig.fail(20, RunawaySpeechError())
    assert rig.state is CLOSED


async def test_silence_for_a_word_counts_and_is_still_no_error() -> None:
    rig = Rig()
    rig.fake._chunks = lambda *_: []  # type: ignore[method-assign]
    for _ in range(5):
        assert await rig.speak("...") == 0
    assert rig.state is CLOSED
    for _ in range(5):
        assert await rig.speak() == 0
    assert rig.state is OPEN


async def test_an_unexpected_exception_becomes_an_error_with_its_cause() -> None:
    rig = Rig()
    cause = ValueError("shape")
    rig.fake.failures = [cause]
    with pytest.raises(SynthesisError) as raised:
        await rig.speak()
    assert raised.value.__cause__ is cause
    assert "shape" not in str(raised.value)


async def test_a_sentence_whose_instance_died_is_begun_again_once() -> None:
    rig = Rig()
    rig.fake.failures = [InstanceDeadError()]
    task = rig.begin()
    await rig.finish(task)
    assert task.result() == 3
    assert len(rig.fake.spoken) == 2
    assert [attempt for _, attempt in rig.observer.retries] == [1]


@pytest.mark.parametrize(("chance", "pause_s"), [(0.0, 0.15), (0.5, 0.225), (0.999, 0.3)])
async def test_a_pause_is_between_half_of_the_longest_and_all_of_it(
    chance: float, pause_s: float
) -> None:
    rig = Rig(chance=chance)
    rig.fake.failures = [InstanceDeadError()]
    await rig.finish(rig.begin())
    assert rig.clock.slept_s[-1] == pytest.approx(pause_s, rel=0.01)


async def test_a_sentence_is_begun_again_on_another_instance() -> None:
    built: list[FakeSpeechModel] = []

    def build(_: int, __: object) -> FakeSpeechModel:
        model = FakeSpeechModel()
        built.append(model)
        if len(built) > 2:
            model.may_load.clear()
        return model

    pool = PooledModel(build, 2, FakeClock(), FakeSpeechObserver(), TimeLimits())
    await pool.load()
    while pool.num_alive < 2:
        await asyncio.sleep(0.001)
    rig = Rig(model=pool)
    built[0].failures = [InstanceDeadError()]
    task = rig.begin()
    await rig.finish(task)
    assert task.result() == 3
    assert [len(model.spoken) for model in built] == [2, 2, 0]
    await pool.close()


async def test_a_death_with_many_sentences_is_one_failure_and_all_of_them_are_begun_again() -> None:
    """Though half of all calls have failed."""
    rig = Rig()
    rig.fake.failures = [InstanceDeadError(), *(InstanceLostError() for _ in range(19))]
    tasks = [rig.begin(f"Sentence {number}.") for number in range(20)]
    await rig.clock.advance(2)
    assert [await task > 0 for task in tasks] == [True] * 20
    assert rig.states == []
    assert len(rig.observer.retries) == 20


async def test_it_is_not_begun_again_more_often() -> None:
    rig = Rig()
    rig.fake.failures = [InstanceDeadError()] * 3
    task = rig.begin()
    await rig.finish(task)
    with pytest.raises(InstanceDeadError):
        task.result()
    assert len(rig.fake.failures) == 1


@pytest.mark.parametrize("error", [DeviceError(), NoInstanceError(), SynthesisError()])
async def test_what_another_instance_cannot_mend_is_not_repeated(error: Exception) -> None:
    rig = Rig()
    await rig.fail(1, error)
    assert len(rig.fake.spoken) == 1


async def test_nothing_is_repeated_once_it_was_heard_and_it_counts_once() -> None:
    rig = Rig()
    rig.fake.fail_after_chunks = 1
    for num_failed in range(1, 6):
        assert rig.state is CLOSED
        rig.fake.failures = [InstanceDeadError()]
        chunks = rig.model.synthesize(TextSegment(0, f"Sentence {num_failed}."), PARAMS)
        assert (await anext(chunks)).num_samples
        with pytest.raises(InstanceDeadError):
            await anext(chunks)
    assert rig.state is OPEN
    assert rig.observer.retries == []
    assert len(rig.fake.spoken) == 5


async def test_a_text_whose_instances_die_is_tried_once_more_each_time_it_is_asked_for() -> None:
    rig = Rig()
    for _ in range(30):
        assert await rig.speak()
    for _ in range(3):
        num_spoken = len(rig.fake.spoken)
        rig.fake.failures = [InstanceDeadError()] * 2
        task = rig.begin("It kills.")
        await rig.finish(task)
        assert isinstance(task.exception(), InstanceDeadError)
        assert len(rig.fake.spoken) == num_spoken + 2
        assert await rig.speak()
    assert await rig.speak("It kills.")


async def test_one_text_asked_for_many_times_at_once_outlives_an_instance() -> None:
    rig = Rig()
    for _ in range(2):
        rig.fake.failures = [InstanceDeadError(), *(InstanceLostError() for _ in range(7))]
        tasks = [rig.begin() for _ in range(8)]
        await rig.clock.advance(2)
        assert [task.result() for task in tasks] == [3] * 8


async def test_a_pool_without_instances_is_asked_again_as_soon_as_it_has_one() -> None:
    rig = Rig()
    for _ in range(20):
        assert await rig.speak()
    await rig.fail(20, NoInstanceError())
    await rig.clock.advance(RESTART_S - 1)
    await rig.fail(20, NoInstanceError())
    assert await rig.speak()
    assert rig.states == []


async def test_a_pool_that_has_had_no_instances_for_long_is_left_alone() -> None:
    rig = Rig()
    await rig.fail(1, NoInstanceError())
    await rig.clock.advance(RESTART_S)
    await rig.fail(5, NoInstanceError())
    assert rig.states == [OPEN]


async def test_a_pool_that_lost_its_instances_twice_has_the_time_of_a_restart_each_time() -> None:
    rig = Rig()
    for _ in range(2):
        await rig.fail(20, NoInstanceError())
        assert await rig.speak()
        await rig.clock.advance(RESTART_S)
    assert rig.states == []


async def test_a_first_chunk_may_take_ten_seconds_from_when_it_is_due() -> None:
    rig = await limited_rig(NEVER_AGAIN)
    rig.fake.before_speaking = hang
    soon, later = rig.begin(), rig.begin(due_at=30.0)
    await rig.clock.advance(9.5)
    assert not soon.done()
    await rig.clock.advance(0.5)
    assert isinstance(soon.exception(), SpeechTimeoutError)
    await rig.clock.advance(29.5)
    assert not later.done()
    await rig.clock.advance(0.5)
    assert isinstance(later.exception(), SpeechTimeoutError)
    assert rig.fake.num_running == 0


async def test_a_first_chunk_that_is_late_is_asked_for_once_more() -> None:
    rig = await limited_rig()
    rig.fake.before_speaking = lambda _: rig.clock.sleep(11 if len(rig.fake.spoken) == 1 else 9)
    task = rig.begin()
    await rig.clock.advance(20)
    assert task.result() == 3
    assert [type(error) for error, *_ in rig.observer.retries] == [SpeechTimeoutError]


async def test_between_chunks_it_may_be_silent_for_five_seconds_after_what_was_said() -> None:
    rig = await limited_rig()
    rig.fake.before_chunk = lambda number: rig.clock.sleep(4.9 if number == 1 else 5.2)
    rig.fake.before_speaking = None
    chunks = rig.model.synthesize(TextSegment(0, TEXT), PARAMS)
    for _ in range(2):
        chunk = asyncio.ensure_future(anext(chunks))
        await rig.clock.advance(5.2)
        assert chunk.result().num_samples
    chunk = asyncio.ensure_future(anext(chunks))
    await rig.clock.advance(5.1)
    assert isinstance(chunk.exception(), SpeechTimeoutError)
    assert rig.observer.retries == []


async def test_what_waits_for_others_too_long_is_refused_and_says_nothing_of_the_model() -> None:
    """Overload is not a defect: it must not open the breaker, nor cut what is merely late."""
    rig = await limited_rig()
    rig.fake.before_speaking = hang
    waiting = [rig.begin(f"Sentence {number}.") for number in range(10)]
    await rig.clock.advance(0)
    rig.fake.before_speaking = None
    while rig.clock.monotonic() < BUSY_TIMES * 10 - 8:
        await rig.clock.advance(8)
        assert await rig.speak()
        assert not any(task.done() for task in waiting)
    await rig.clock.advance(8)
    assert [type(task.exception()) for task in waiting] == [EngineBusyError] * 10
    assert rig.state is CLOSED
    assert rig.observer.retries == []


async def test_a_sentence_made_ahead_may_pause_until_its_sound_is_played() -> None:
    rig = await limited_rig(NEVER_AGAIN)
    rig.fake.before_chunk = lambda number: hang() if number else asyncio.sleep(0)
    rest = rig.begin(due_at=60.0)
    await rig.clock.advance(0)
    await rig.clock.advance(65)
    assert not rest.done()
    await rig.clock.advance(0.1)
    assert isinstance(rest.exception(), SpeechTimeoutError)


async def test_closing_waits_for_nothing_that_does_not_stop() -> None:
    rig = await limited_rig(NEVER_AGAIN)
    rig.fake.before_speaking = lambda _: _ignore_cancellation(asyncio.Event())
    task = rig.begin()
    await rig.clock.advance(10)
    assert isinstance(task.exception(), SpeechTimeoutError)
    await asyncio.wait_for(rig.model.close(), 30)
    stuck = [task for task in asyncio.all_tasks() if task.get_name() == "stop-silent-speech"]
    assert not stuck


async def test_until_it_has_spoken_once_it_may_take_its_time() -> None:
    rig = Rig()
    pool = pool_of(rig.fake, rig.clock)
    rig.fake.before_speaking = lambda _: rig.clock.sleep(100)
    loading = asyncio.create_task(pool.load())
    await rig.clock.advance(100)
    await loading
    assert pool.num_alive == 1


async def test_a_model_that_does_not_even_stop_holds_nobody_up() -> None:
    rig = await limited_rig(NEVER_AGAIN)
    is_over = asyncio.Event()
    rig.fake.before_speaking = lambda _: _ignore_cancellation(is_over)
    task = rig.begin()
    await rig.clock.advance(10)
    assert isinstance(task.exception(), SpeechTimeoutError)
    assert rig.fake.num_running == 1
    is_over.set()
    await rig.clock.advance(0.1)
    assert rig.fake.num_running == 0
    await rig.model.close()


async def _ignore_cancellation(is_over: asyncio.Event) -> None:
    with suppress(asyncio.CancelledError):
        await is_over.wait()
    await is_over.wait()


async def test_while_nobody_calls_it_probes_by_itself() -> None:
    rig = Rig()
    await rig.model.load()
    await rig.fail(5)
    rig.fake.failures = [SynthesisError()]
    await rig.clock.advance(5)
    assert rig.states == [OPEN, HALF_OPEN, OPEN]
    assert rig.model.health().open_for_s == 5
    await rig.clock.advance(10)
    assert rig.states[-2:] == [HALF_OPEN, CLOSED]
    assert [text for text, *_ in rig.fake.spoken[-2:]] == ["Ready."] * 2
    assert rig.fake.num_running == 0
    await rig.clock.advance(1_000)
    assert len(rig.fake.spoken) == 7
    await rig.model.close()
    assert rig.fake.is_closed


async def test_probes_of_which_instances_die_go_on_until_one_succeeds() -> None:
    rig = Rig()
    await rig.model.load()
    await rig.fail(5)
    rig.fake.failures = [InstanceDeadError()] * 3
    await rig.clock.advance(5 + 10 + 20 + 40)
    assert rig.state is CLOSED
    await rig.model.close()


async def durations(
    rig: Rig, due_at: float = 0.0, *, is_whole: bool = False
) -> AsyncGenerator[float, None]:
    params = msgspec.structs.replace(PARAMS, is_whole=is_whole)
    async with aclosing(rig.model.synthesize(TextSegment(0, TEXT), params, due_at)) as chunks:
        async for chunk in chunks:
            yield chunk.duration_s


LOST = [InstanceDeadError(), SpeechTimeoutError(5)]
HALF_MADE = [{"due_at": 60.0}, {"is_whole": True}]


@pytest.mark.parametrize("how", HALF_MADE, ids=["not due yet", "whole"])
@pytest.mark.parametrize("error", LOST, ids=["dead", "silent"])
async def test_what_is_lost_half_made_is_made_again(
    error: SpeechError, how: dict[str, Any]
) -> None:
    """A sentence that is not due yet, and one of an answer that is sent whole."""
    rig = Rig()
    rig.fake.fail_after_chunks = 2
    rig.fake.failures = [error]
    task = asyncio.create_task(total(durations(rig, **how)))
    await rig.clock.advance(1)
    assert task.result() == pytest.approx(len(TEXT) * SECONDS_PER_CHAR)
    assert len(rig.fake.spoken) == 2


async def total(values: AsyncGenerator[float, None]) -> float:
    return sum([value async for value in values])


@pytest.mark.parametrize("how", HALF_MADE, ids=["not due yet", "whole"])
async def test_it_is_not_made_a_third_time(how: dict[str, Any]) -> None:
    rig = Rig()
    rig.fake.fail_after_chunks = 2
    rig.fake.failures = [*LOST]
    task = asyncio.create_task(total(durations(rig, **how)))
    await rig.clock.advance(1)
    assert isinstance(task.exception(), SpeechTimeoutError)
    assert len(rig.fake.spoken) == 2
    assert rig.fake.num_running == 0


@pytest.mark.parametrize(
    "error",
    [
        SynthesisError(),
        TruncatedSpeechError(),
        InvalidAudioError("NaN"),
        DeviceError(),
        NoInstanceError(),
        EngineBusyError(60),
    ],
    ids=lambda error: type(error).__name__,
)
async def test_what_fails_by_itself_is_not_made_again(error: SpeechError) -> None:
    rig = Rig()
    rig.fake.fail_after_chunks = 2
    rig.fake.failures = [error]
    with pytest.raises(type(error)):
        await total(durations(rig, is_whole=True))
    assert len(rig.fake.spoken) == 1


async def test_chunks_leave_once_they_are_due_and_all_that_were_held_with_them() -> None:
    rig = Rig()
    due_at = rig.clock.monotonic() + 10
    rig.fake.before_chunk = lambda number: rig.clock.sleep(0 if number < 2 else 10 - HOLD_MARGIN_S)
    chunks = durations(rig, due_at)
    first = asyncio.ensure_future(anext(chunks))
    await rig.clock.advance(10 - HOLD_MARGIN_S - 0.1)
    assert not first.done()
    await rig.clock.advance(0.1)
    assert first.result()
    assert rig.fake.num_chunks == 3
    await chunks.aclose()


async def test_a_whole_sentence_leaves_however_early_it_is() -> None:
    rig = Rig()
    assert await total(durations(rig, due_at=1_000.0)) == pytest.approx(
        len(TEXT) * SECONDS_PER_CHAR
    )


async def test_sentences_count_from_the_first_chunk_asked_for_to_their_end() -> None:
    rig = Rig()
    first, second = durations(rig), durations(rig)
    assert rig.observer.nums_running == []
    await anext(first)
    await anext(second)
    assert rig.observer.nums_running == [1, 2]
    await second.aclose()
    assert [duration async for duration in first]
    assert rig.observer.nums_running == [1, 2, 1, 0]


async def test_a_sentence_that_fails_counts_no_longer() -> None:
    rig = Rig()
    await rig.fail()
    assert rig.observer.nums_running == [1, 0]


async def test_a_sentence_is_a_span_with_its_first_sound_and_without_its_text() -> None:
    tracing = FakeTracing()
    audio_s = await total(durations(Rig(tracing=tracing)))
    (span,) = tracing.spans
    assert span.name == "speech.sentence"
    assert span.events == ["speech.first_audio"]
    assert span.attributes == {
        "soprano.sentence": 0,
        "soprano.characters": len(TEXT),
        "soprano.outcome": "completed",
        "soprano.audio_s": audio_s,
    }
    assert (span.error, span.num_ends) == (None, 1)


@pytest.mark.parametrize(
    ("failure", "code"),
    [(SynthesisError(), "synthesis_failed"), (ZeroDivisionError("secret"), "ZeroDivisionError")],
)
async def test_a_sentence_that_fails_is_a_span_with_an_error(failure: Exception, code: str) -> None:
    tracing = FakeTracing()
    await Rig(tracing=tracing).fail(error=failure)
    (span,) = tracing.spans
    assert (span.error, span.num_ends, span.events) == (code, 1, [])
    assert span.attributes["soprano.outcome"] == "failed"


async def test_a_sentence_that_nobody_hears_to_its_end_is_no_error() -> None:
    tracing = FakeTracing()
    chunks = durations(Rig(tracing=tracing))
    await anext(chunks)
    await chunks.aclose()
    (span,) = tracing.spans
    assert (span.attributes["soprano.outcome"], span.error) == ("cancelled", None)
    assert span.num_ends == 1
