"""Several instances of a model as one: the least busy speaks, a dead one is made anew.

An instance is dead when it says so (InstanceDeadError). Requests go to the others meanwhile.
"""

import asyncio
from collections.abc import AsyncGenerator, Callable
from contextlib import aclosing
from typing import Final

import msgspec
import structlog

from app.domain.audio import AudioChunk
from app.domain.errors import InstanceDeadError, NoInstanceError, SpeechError
from app.domain.segment import TextSegment
from app.domain.speech import Delivery, ModelInfo
from app.ports.clock import Clock
from app.ports.speech_model import SpeechModel

FIRST_REBUILD_DELAY_S: Final = 1.0
MAX_REBUILD_DELAY_S: Final = 60.0
"""An instance that cannot be made is tried again after twice the time, up to this."""

_log = structlog.get_logger(__name__)


class Instance:
    """One of the models, with the number of sentences it speaks now."""

    def __init__(self, index: int, model: SpeechModel) -> None:
        self.index = index
        self.model = model
        self.num_running = 0
        self.is_dead = False


class PooledModel:
    """SpeechModel over several.

    Args:
        build: makes the instance of an index, from 0 on.
        num_instances: at least 1.
        clock: waits between attempts to rebuild.
    """

    def __init__(
        self, build: Callable[[int], SpeechModel], num_instances: int, clock: Clock
    ) -> None:
        self._build = build
        self._clock = clock
        self._instances = [Instance(index, build(index)) for index in range(num_instances)]
        self._rebuilding: set[asyncio.Task[None]] = set()

    @property
    def info(self) -> ModelInfo:
        info = self._instances[0].model.info
        num_streams = info.num_streams * len(self._instances)
        return msgspec.structs.replace(info, num_streams=num_streams)

    async def load(self) -> None:
        for instance in self._instances:  # one after another: each takes memory twice while loading
            await instance.model.load()

    async def close(self) -> None:
        for task in self._rebuilding:
            task.cancel()
        await asyncio.gather(*self._rebuilding, return_exceptions=True)
        for instance in self._instances:
            await instance.model.close()

    def split(self, text: str) -> list[TextSegment]:
        return self._instances[0].model.split(text)

    async def synthesize(
        self, segment: TextSegment, delivery: Delivery, due_at: float = 0.0
    ) -> AsyncGenerator[AudioChunk, None]:
        instance = self._least_busy()
        instance.num_running += 1
        _log.debug("pool.begun", instance=instance.index, num_running=instance.num_running)
        try:
            async with aclosing(instance.model.synthesize(segment, delivery, due_at)) as chunks:
                async for chunk in chunks:
                    yield chunk
        except InstanceDeadError:
            self._replace(instance)
            raise
        finally:
            instance.num_running -= 1

    def _least_busy(self) -> Instance:
        alive = [instance for instance in self._instances if not instance.is_dead]
        if not alive:
            raise NoInstanceError
        return min(alive, key=lambda instance: instance.num_running)

    def _replace(self, instance: Instance) -> None:
        if instance.is_dead:
            return
        instance.is_dead = True
        _log.error("pool.instance_died", instance=instance.index)
        task = asyncio.create_task(self._rebuild(instance), name=f"rebuild-{instance.index}")
        self._rebuilding.add(task)
        task.add_done_callback(self._rebuilding.discard)

    async def _rebuild(self, dead: Instance) -> None:
        delay_s = FIRST_REBUILD_DELAY_S
        await dead.model.close()
        while True:
            model = self._build(dead.index)
            try:
                await model.load()
            except SpeechError as error:
                _log.error("pool.rebuild_failed", instance=dead.index, reason=str(error))
                await model.close()
                await self._clock.sleep(delay_s)
                delay_s = min(2 * delay_s, MAX_REBUILD_DELAY_S)
            else:
                break
        self._instances[self._instances.index(dead)] = Instance(dead.index, model)
        _log.info("pool.instance_rebuilt", instance=dead.index)
