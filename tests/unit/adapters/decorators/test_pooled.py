import asyncio

import pytest

from app.adapters.decorators.pooled import PooledModel
from app.domain.errors import InstanceDeadError, ModelLoadError, SynthesisError
from app.domain.segment import TextSegment
from app.domain.speech import Delivery
from tests.fakes.clock import FakeClock
from tests.fakes.speech_model import FakeSpeechModel

SEGMENT = TextSegment(0, "One sentence.")


class Pool:
    """A pool of fakes, and every fake that was ever built."""

    def __init__(self, num_instances: int = 2) -> None:
        self.built: list[FakeSpeechModel] = []
        self.load_errors: list[ModelLoadError] = []
        self.clock = FakeClock()
        self.model = PooledModel(self._build, num_instances, self.clock)

    def _build(self, index: int) -> FakeSpeechModel:
        model = FakeSpeechModel()
        if self.load_errors:
            model.load_error = self.load_errors.pop()
        self.built.append(model)
        return model

    async def speak(self) -> int:
        voice = self.model.info.voices[0]
        return sum([c.num_samples async for c in self.model.synthesize(SEGMENT, Delivery(voice))])


async def test_each_instance_is_loaded_once_and_closed() -> None:
    pool = Pool(3)
    await pool.model.load()
    await pool.model.close()
    assert len(pool.built) == 3
    assert all(model.is_loaded and model.is_closed for model in pool.built)


async def test_the_least_busy_instance_speaks() -> None:
    pool = Pool(3)
    await pool.model.load()
    voice = pool.model.info.voices[0]
    generators = [pool.model.synthesize(SEGMENT, Delivery(voice)) for _ in range(6)]
    for generator in generators:
        await anext(generator)
    assert [model.num_running for model in pool.built] == [2, 2, 2]
    await generators[1].aclose()
    assert await pool.speak()
    assert [len(model.spoken) for model in pool.built] == [2, 3, 2]
    for generator in generators:
        await generator.aclose()


async def test_a_dead_instance_is_taken_out_and_made_anew_while_the_other_serves() -> None:
    pool = Pool()
    await pool.model.load()
    pool.built[0].fail_on = (SEGMENT.text, InstanceDeadError())
    with pytest.raises(InstanceDeadError):
        await pool.speak()
    assert await pool.speak()
    await pool.clock.advance(0.1)
    assert pool.built[0].is_closed
    assert len(pool.built) == 3
    assert pool.built[2].is_loaded
    assert await pool.speak()
    assert pool.built[2].spoken


async def test_an_instance_that_cannot_be_made_is_tried_again_ever_later() -> None:
    pool = Pool()
    await pool.model.load()
    pool.load_errors = [ModelLoadError("no memory")] * 3
    pool.built[0].fail_on = (SEGMENT.text, InstanceDeadError())
    with pytest.raises(InstanceDeadError):
        await pool.speak()
    await pool.clock.advance(10.0)
    assert pool.clock.slept_s == [1.0, 2.0, 4.0]
    assert pool.built[-1].is_loaded


async def test_with_no_instance_left_every_sentence_fails_at_once() -> None:
    pool = Pool(1)
    await pool.model.load()
    pool.load_errors = [ModelLoadError("no memory")]
    pool.built[0].fail_on = (SEGMENT.text, InstanceDeadError())
    for _ in range(2):
        with pytest.raises(InstanceDeadError):
            await pool.speak()
    await pool.clock.advance(0)
    with pytest.raises(InstanceDeadError):
        await pool.speak()
    await pool.clock.advance(5.0)
    assert await pool.speak()


async def test_another_failure_leaves_the_instance_in_place() -> None:
    pool = Pool(1)
    await pool.model.load()
    pool.built[0].fail_on = (SEGMENT.text, SynthesisError())
    with pytest.raises(SynthesisError):
        await pool.speak()
    await pool.clock.advance(5.0)
    assert len(pool.built) == 1


async def test_closing_ends_a_rebuild_that_waits() -> None:
    pool = Pool(1)
    await pool.model.load()
    pool.load_errors = [ModelLoadError("no memory")] * 9
    pool.built[0].fail_on = (SEGMENT.text, InstanceDeadError())
    with pytest.raises(InstanceDeadError):
        await pool.speak()
    await pool.clock.advance(1.5)
    await pool.model.close()
    assert asyncio.all_tasks() == {asyncio.current_task()}


async def test_one_instance_that_cannot_load_fails_the_load() -> None:
    pool = Pool(1)
    pool.built[0].load_error = ModelLoadError("no weights")
    with pytest.raises(ModelLoadError, match="no weights"):
        await pool.model.load()
