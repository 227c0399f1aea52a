import asyncio
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from app.adapters.speech.pool import PooledModel
from app.domain.errors import InstanceDeadError
from app.domain.resilience import TimeLimits
from app.domain.segment import TextSegment
from app.domain.speech import SynthesisParams
from tests.checkpoints.build import expected_samples
from tests.fakes.clock import FakeClock
from tests.fakes.speech_observer import FakeSpeechObserver
from tests.soprano_models import build_soprano

SEGMENT = TextSegment(0, "a sentence that is neither short nor long.")


async def test_killing_one_of_two_instances_leaves_the_other_serving_and_is_mended(
    make_checkpoint: Callable[..., Path],
) -> None:
    directory = make_checkpoint(tokens_per_sentence=30)
    pool = PooledModel(
        lambda *_: build_soprano("transformers", directory),
        2,
        FakeClock(),
        FakeSpeechObserver(),
        TimeLimits(),
    )
    await pool.load()
    await until_all_live(pool)

    async def speak() -> int:
        chunks = pool.synthesize(SEGMENT, SynthesisParams(pool.info.voices[0]))
        return sum([chunk.num_samples async for chunk in chunks])

    victim: Any = pool._instances[0].model
    victim.engine.language_model._batch._model = None  # as if its device were lost
    with pytest.raises(InstanceDeadError):
        await speak()
    assert [*await asyncio.gather(speak(), speak())] == [expected_samples(30)] * 2
    await until_all_live(pool)
    assert [*await asyncio.gather(speak(), speak())] == [expected_samples(30)] * 2
    assert pool._instances[0].model is not victim
    await pool.close()


async def until_all_live(pool: PooledModel) -> None:
    while pool.num_alive < 2:
        await asyncio.sleep(0.05)
