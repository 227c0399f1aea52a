"""Replicas on Ray Serve, each in a process of a Ray of its own."""

import asyncio
import re
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import aclosing
from pathlib import Path

import msgspec
import numpy as np
import pytest
import pytest_asyncio

from app.adapters.speech import ray_serve
from app.adapters.speech.ray_serve import RayModel
from app.domain.errors import (
    ModelLoadError,
    ReplicaLostError,
    RunawaySpeechError,
    ServerOverloadedError,
    SynthesisError,
)
from app.domain.segment import TextSegment
from app.domain.speech import SynthesisParams
from tests.fakes.speech_model import FakeSpeechModel
from tests.fakes.speech_observer import FakeSpeechObserver
from tests.network import own_network
from tests.replicas import ONE, build_endless, build_hasty, build_nothing, build_obedient, on_ray

pytestmark = [
    pytest.mark.asyncio(loop_scope="module"),
    pytest.mark.filterwarnings("ignore"),  # Ray has many
]
NUM_LEAVING = 100
MAX_FREED_S = 0.5
START_S = 60.0  # of another replica, on a busy machine


@pytest.fixture(scope="module", autouse=True)
def network() -> Iterator[None]:
    with own_network():
        yield


@pytest.fixture(scope="module")
def observer() -> FakeSpeechObserver:
    return FakeSpeechObserver()


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def model(observer: FakeSpeechObserver) -> AsyncIterator[RayModel]:
    model = on_ray(FakeSpeechModel(), build_obedient, observer=observer)
    await model.load()
    yield model
    await model.close()


async def speak(model: RayModel, text: str) -> np.ndarray:
    params = SynthesisParams(model.info.voices[0])
    async with aclosing(model.synthesize(TextSegment(0, text), params)) as chunks:
        return np.concatenate([chunk.samples async for chunk in chunks])


async def until_it_speaks(model: RayModel) -> None:
    async with asyncio.timeout(START_S):
        while True:
            try:
                await speak(model, "Hello.")
            except (ReplicaLostError, ServerOverloadedError):
                await asyncio.sleep(0.1)
            else:
                return


async def test_an_error_of_the_model_arrives_as_what_it_is(model: RayModel) -> None:
    with pytest.raises(SynthesisError, match=re.escape(SynthesisError.message)) as caught:
        await speak(model, "raise")
    assert not isinstance(caught.value, ReplicaLostError)
    assert len(await speak(model, "Hello."))


async def test_a_failed_attempt_is_told(model: RayModel, observer: FakeSpeechObserver) -> None:
    await speak(model, "report")
    ((error, attempt),) = observer.failed_sentences
    assert (type(error), attempt) == (RunawaySpeechError, 3)


@pytest.mark.parametrize("order", ["signal 9", "dead"])
async def test_a_replica_that_dies_is_lost_and_replaced(model: RayModel, order: str) -> None:
    with pytest.raises(ReplicaLostError):
        await speak(model, order)
    await until_it_speaks(model)


async def test_a_sentence_that_is_being_spoken_is_lost_visibly(model: RayModel) -> None:
    with pytest.raises(ReplicaLostError):
        await speak(model, "late signal 9")
    await until_it_speaks(model)


async def test_more_than_may_wait_is_refused(
    model: RayModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    await model.close()
    monkeypatch.setattr(ray_serve, "MAX_QUEUED_SENTENCES", 2)
    model = on_ray(FakeSpeechModel(), build_obedient)
    await model.load()
    waiting = []
    try:
        for _ in range(ONE.max_ongoing_requests + 2):
            waiting.append(asyncio.create_task(speak(model, "hang")))
            await asyncio.wait(waiting, timeout=0.3)  # in a burst more are refused
        with pytest.raises(ServerOverloadedError) as caught:
            await asyncio.wait_for(speak(model, "hang"), 5)
        assert caught.value.retry_after_s > 0
        assert not any(task.done() for task in waiting)
    finally:
        for task in waiting:
            task.cancel()
        await asyncio.gather(*waiting, return_exceptions=True)
        await model.close()


async def test_a_replica_that_hangs_is_replaced(model: RayModel) -> None:
    await model.close()
    hasty = on_ray(FakeSpeechModel(), build_hasty)
    await hasty.load()
    try:
        with pytest.raises(ReplicaLostError):
            await asyncio.wait_for(speak(hasty, "hang"), START_S)
        await until_it_speaks(hasty)
    finally:
        await hasty.close()


async def test_listeners_that_leave_free_the_replica(tmp_path: Path, model: RayModel) -> None:
    await model.close()
    record = tmp_path / "stopped"
    record.touch()
    many = msgspec.structs.replace(ONE, max_ongoing_requests=128)
    endless = on_ray(FakeSpeechModel(), build_endless, str(record).encode(), many)
    await endless.load()
    params = SynthesisParams(endless.info.voices[0])
    left: dict[int, float] = {}

    async def leave(index: int) -> None:
        chunks = endless.synthesize(TextSegment(index, "For ever."), params)
        async for _ in chunks:
            await asyncio.sleep(0.5)
            break
        left[index] = time.monotonic()
        await chunks.aclose()

    try:
        async with asyncio.timeout(60):
            await asyncio.gather(*map(leave, range(NUM_LEAVING)))
            while len(record.read_text().splitlines()) < NUM_LEAVING:
                await asyncio.sleep(0.05)
    finally:
        await endless.close()
    stopped = dict(map(str.split, record.read_text().splitlines()))
    took_s = sorted(float(stopped[str(index)]) - at for index, at in left.items())
    print(f"freed after {took_s[len(took_s) // 2]:.3f} s, {took_s[-2]:.3f} s at most of 99 in 100")
    assert took_s[-2] < MAX_FREED_S


async def test_what_a_replica_cannot_load_is_said(model: RayModel) -> None:
    await model.close()
    broken = on_ray(FakeSpeechModel(), build_nothing)
    try:
        with pytest.raises(ModelLoadError, match="There are no weights on this node"):
            await broken.load()
    finally:
        await broken.close()
