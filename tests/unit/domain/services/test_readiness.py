import asyncio

import pytest

from app.domain.errors import (
    EngineUnavailableError,
    InstanceDeadError,
    ModelLoadError,
    RunawaySpeechError,
    SynthesisError,
)
from app.domain.resilience import BreakerState, EngineHealth
from app.domain.services.lifecycle import WARM_UP_TEXT, ModelState, Readiness
from app.domain.services.speech_ports import SpeechPorts
from tests.fakes.audio_encoder import FakeAudioEncoders
from tests.fakes.clock import FakeClock
from tests.fakes.speech_model import FakeSpeechModel
from tests.fakes.speech_observer import FakeSpeechObserver


@pytest.fixture
def model() -> FakeSpeechModel:
    return FakeSpeechModel()


@pytest.fixture
def observer() -> FakeSpeechObserver:
    return FakeSpeechObserver()


@pytest.fixture
def readiness(model: FakeSpeechModel, observer: FakeSpeechObserver) -> Readiness:
    ports = SpeechPorts(model, FakeAudioEncoders(), FakeClock(), observer)
    return Readiness(ports, load_wait_s=5.0)


async def test_loading_ends_in_ready_after_a_word_was_spoken(
    readiness: Readiness, model: FakeSpeechModel, observer: FakeSpeechObserver
) -> None:
    states = [readiness.state]
    await readiness.load()
    states.append(readiness.state)
    assert states == [ModelState.LOADING, ModelState.READY]
    assert model.is_loaded
    assert len(model.spoken) == 1
    assert observer.loaded == [(model.info, 0.0)]
    await readiness.wait_until_ready()


async def test_a_model_that_cannot_load_is_failed_for_every_caller(
    readiness: Readiness, model: FakeSpeechModel, observer: FakeSpeechObserver
) -> None:
    model.load_error = ModelLoadError("no weights")
    with pytest.raises(ModelLoadError, match="no weights"):
        await readiness.load()
    assert readiness.state is ModelState.FAILED
    assert observer.load_failures == [model.load_error]
    with pytest.raises(ModelLoadError):
        await readiness.wait_until_ready()


async def test_a_model_that_loads_but_cannot_speak_is_failed(
    readiness: Readiness, model: FakeSpeechModel
) -> None:
    model.fail_on = (WARM_UP_TEXT, SynthesisError())
    with pytest.raises(SynthesisError):
        await readiness.load()
    assert readiness.state is ModelState.FAILED


async def test_a_model_that_cannot_speak_the_one_sentence_is_ready_all_the_same(
    readiness: Readiness, model: FakeSpeechModel
) -> None:
    model.fail_on = (WARM_UP_TEXT, RunawaySpeechError())
    await readiness.load()
    assert readiness.state is ModelState.READY


async def test_waiting_leaves_no_task_behind(readiness: Readiness, model: FakeSpeechModel) -> None:
    model.may_load.clear()
    loading = asyncio.create_task(readiness.load())
    waiting = asyncio.create_task(readiness.wait_until_ready())
    await asyncio.sleep(0.01)
    waiting.cancel()
    await asyncio.gather(waiting, return_exceptions=True)
    assert asyncio.all_tasks() == {loading, asyncio.current_task()}
    model.may_load.set()
    await loading


async def test_a_model_that_may_not_be_asked_is_ready(
    readiness: Readiness, model: FakeSpeechModel
) -> None:
    model.failures = [EngineUnavailableError(5)]
    await readiness.load()
    assert readiness.state is ModelState.READY


@pytest.mark.parametrize(("open_for_s", "is_well"), [(0.0, True), (10.0, True), (10.1, False)])
def test_a_model_is_well_until_it_was_left_alone_for_too_long(
    open_for_s: float, *, is_well: bool
) -> None:
    health = EngineHealth(BreakerState.OPEN, open_for_s)
    assert (health.why_not() is None) is is_well
    assert health.trouble()


@pytest.mark.parametrize(
    ("state", "words"),
    [
        (BreakerState.OPEN, "failed repeatedly"),
        (BreakerState.HALF_OPEN, "failed repeatedly"),
        (BreakerState.CLOSED, None),
    ],
)
def test_trouble_is_told_in_words_from_its_beginning(
    state: BreakerState, words: str | None
) -> None:
    trouble = EngineHealth(state).trouble()
    assert trouble is None if words is None else words in str(trouble)


async def test_a_model_of_which_an_instance_dies_of_the_first_sentence_is_ready(
    readiness: Readiness, model: FakeSpeechModel
) -> None:
    model.failures = [InstanceDeadError(reason="crashed")]
    await readiness.load()
    assert readiness.state is ModelState.READY
