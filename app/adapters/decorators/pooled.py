"""Several instances of a model as one: the least busy speaks, a dead one is made anew.

An instance is dead when it says so (InstanceDeadError), or when it hangs. Requests go to the others
meanwhile. It lives from when it has spoken for the first time, so that no request warms it up.
"""

import asyncio
from collections.abc import AsyncGenerator, Callable, Coroutine, Iterator, Sequence
from contextlib import aclosing, suppress
from math import inf
from typing import Any, Final

import msgspec
import structlog

from app.domain.audio import AudioChunk
from app.domain.errors import (
    InstanceDeadError,
    InstanceDeath,
    InstanceLostError,
    NoInstanceError,
    SentenceError,
    SpeechError,
    SpeechTimeoutError,
    SynthesisError,
)
from app.domain.resilience import PROBE_TEXT
from app.domain.segment import TextSegment
from app.domain.services.time_limit import within
from app.domain.speech import ModelInfo, SynthesisParams
from app.domain.text.front_end import segment_text
from app.domain.text.mapped_text import MappedText
from app.ports.clock import Clock
from app.ports.speech_model import SpeechModel
from app.ports.speech_observer import SpeechObserver

FIRST_REBUILD_DELAY_S: Final = 1.0
MAX_REBUILD_DELAY_S: Final = 60.0
"""An instance that cannot be made is tried again after twice the time, up to this."""

INSTANCE_WAIT_S: Final = 15.0
"""With none alive, a sentence waits so long: on a busy machine a small Soprano is back after 9 s.
The time that the caller waits goes on."""

SUSPECT_AFTER_S: Final = 2.0
"""An instance that has let a listener wait so long, and then be gone, without sound for anybody,
may hang. A step of a network cannot be interrupted, and may take long on a machine with too much
to do, so it has to prove it first."""

BuildInstance = Callable[[int, Callable[[InstanceDeadError], None]], SpeechModel]
"""Makes the instance of an index, from 0 on, whose silence is limited; it may tell of its death
before anybody asks it."""

_log = structlog.get_logger(__name__)


class Instance:
    """One of the models, and what it does now.

    Attributes:
        due_times: of the sentences that it speaks.
        is_alive: it can be asked.
        is_suspect: it may hang.
        has_told: a sentence has failed for its death.
        last_sound_at: seconds of the clock.
    """

    model: SpeechModel

    def __init__(self, index: int) -> None:
        self.index = index
        self.due_times: list[float] = []
        self.is_alive = False
        self.is_suspect = False
        self.has_told = False
        self.last_sound_at = -inf

    def load_for(self, due_at: float) -> tuple[bool, int, int]:
        """How little it is the one to speak a sentence; the least is the best.

        Whether it may hang, how many of its sentences are due before, how many it has. So those
        that are heard now are spread over all instances, whatever is spoken ahead.
        """
        num_before = sum(other <= due_at for other in self.due_times)
        return self.is_suspect, num_before, len(self.due_times)


class PooledModel:
    """SpeechModel over several.

    Args:
        build: makes an instance.
        num_instances: at least 1.
        clock: measures, and waits between attempts.
        observer: told of deaths.
        replaces_hung: whether one that hangs is made anew. Its `close` must be able to end it.
    """

    def __init__(
        self,
        build: BuildInstance,
        num_instances: int,
        clock: Clock,
        observer: SpeechObserver,
        *,
        replaces_hung: bool = False,
    ) -> None:
        self._build = build
        self._clock = clock
        self._observer = observer
        self._replaces_hung = replaces_hung
        self._instances = [self._new(index) for index in range(num_instances)]
        self._has_alive = asyncio.Event()
        self._tasks: set[asyncio.Task[None]] = set()
        self._is_closing = False

    @property
    def info(self) -> ModelInfo:
        info = self._instances[0].model.info
        num_streams = info.num_streams * len(self._instances)
        return msgspec.structs.replace(info, num_streams=num_streams)

    @property
    def num_alive(self) -> int:
        """Instances that can be asked."""
        return sum(instance.is_alive for instance in self._instances)

    async def load(self) -> None:
        """Return when the first one lives; it is made anew as long as it dies suddenly.

        The others follow, one after another: each takes memory twice while loading.
        """
        if not await self._try(0, is_first=True):
            await self._try_on(0, is_first=True)
        self._run(self._make_others())

    async def close(self) -> None:
        self._is_closing = True
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        await asyncio.gather(*(instance.model.close() for instance in self._instances))

    def split(self, paragraphs: Sequence[MappedText]) -> list[MappedText]:
        return self._instances[0].model.split(paragraphs)

    async def synthesize(
        self, segment: TextSegment, params: SynthesisParams, due_at: float = 0.0
    ) -> AsyncGenerator[AudioChunk, None]:
        instance = await self._choose(due_at)
        _log.debug("pool.begun", instance=instance.index, num_running=len(instance.due_times))
        async with aclosing(self._speak(instance, segment, params, due_at)) as chunks:
            async for chunk in chunks:
                yield chunk

    async def _choose(self, due_at: float) -> Instance:
        """The least busy one; one that may hang only if there is no other."""
        if not self.num_alive:
            await self._wait_for_one()
        alive = [instance for instance in self._instances if instance.is_alive]
        if not alive:
            raise NoInstanceError
        return min(alive, key=lambda instance: instance.load_for(due_at))

    async def _wait_for_one(self) -> None:
        self._has_alive.clear()
        with suppress(TimeoutError):
            await within(self._clock, INSTANCE_WAIT_S, self._has_alive.wait())

    async def _speak(
        self, instance: Instance, segment: TextSegment, params: SynthesisParams, due_at: float
    ) -> AsyncGenerator[AudioChunk, None]:
        """Through this instance, with an eye on how it does."""
        instance.due_times.append(begins_due_at := due_at)
        waits_since = max(self._clock.monotonic(), due_at)
        try:
            async with aclosing(instance.model.synthesize(segment, params, due_at)) as chunks:
                async for chunk in chunks:
                    now = instance.last_sound_at = self._clock.monotonic()
                    due_at = max(due_at, now) + chunk.duration_s
                    yield chunk
                    waits_since = max(self._clock.monotonic(), due_at)
        except InstanceDeadError as error:
            self._replace(instance, error.reason)
            if instance.has_told:
                raise InstanceLostError(reason=error.reason) from error
            instance.has_told = True
            raise
        except (asyncio.CancelledError, SpeechTimeoutError):
            self._note_leaving(instance, waits_since)
            raise
        finally:
            instance.due_times.remove(begins_due_at)

    def _note_leaving(self, instance: Instance, waited_since: float) -> None:
        """Somebody no longer waits for the next chunk."""
        silent_since = max(waited_since, instance.last_sound_at)
        is_long = self._clock.monotonic() - silent_since >= SUSPECT_AFTER_S
        if self._replaces_hung and is_long and instance.is_alive and not instance.is_suspect:
            instance.is_suspect = True
            self._run(self._prove(instance))

    async def _prove(self, instance: Instance) -> None:
        """Find out whether it hangs: it has to give sound, to whomever."""
        asked_at = self._clock.monotonic()
        try:
            await self._speak_proof(instance)
        except SpeechTimeoutError:
            if instance.last_sound_at < asked_at:
                self._replace(instance, "hung")
        except SpeechError:
            pass  # it has said something, or is dead and known to be
        instance.is_suspect = False

    async def _speak_proof(self, instance: Instance) -> None:
        segments = segment_text(PROBE_TEXT, instance.model.split)
        params = SynthesisParams(instance.model.info.voices[0])
        chunks = self._speak(instance, segments[0], params, self._clock.monotonic())
        async with aclosing(chunks):
            async for _ in chunks:
                pass

    def _replace(self, instance: Instance, reason: InstanceDeath) -> None:
        if not instance.is_alive or self._is_closing:
            return
        instance.is_alive = False
        self._observer.instance_died(instance.index, reason)
        self._run(self._rebuild(instance))

    async def _rebuild(self, dead: Instance) -> None:
        await self._renew(dead)
        if not await self._try(dead.index):
            await self._try_on(dead.index)

    async def _make_others(self) -> None:
        """One that cannot live now does not keep back those behind it."""
        for index in range(1, len(self._instances)):
            if not await self._try(index):
                self._run(self._try_on(index))

    async def _try_on(self, index: int, *, is_first: bool = False) -> None:
        for delay_s in _delays():
            await self._clock.sleep(delay_s)
            if await self._try(index, is_first=is_first):
                return

    async def _try(self, index: int, *, is_first: bool = False) -> bool:
        """Load an instance and let it speak; whether it lives now.

        Raises:
            Exception: the first one of all says that it cannot live.
        """
        instance = self._instances[index]
        try:
            await instance.model.load()
            await self._warm_up(instance)
        except Exception as error:
            if is_first and not _is_sudden_death(error):
                raise
            if isinstance(error, InstanceDeadError):
                self._observer.instance_died(index, error.reason)
            reason = str(error) or type(error).__name__
            _log.error("pool.instance_failed", instance=index, reason=reason)
            await self._renew(instance)
            return False
        self._begin(instance)
        return True

    def _begin(self, instance: Instance) -> None:
        instance.is_alive = True
        self._has_alive.set()
        _log.info("pool.instance_ready", instance=instance.index)

    async def _warm_up(self, instance: Instance) -> None:
        try:
            with suppress(SentenceError):
                await self._speak_proof(instance)
        except SpeechTimeoutError as error:
            raise InstanceDeadError(reason="hung") from error
        except SpeechError:
            raise
        except Exception as error:
            _log.exception("speech.model_raised")
            raise SynthesisError from error

    async def _renew(self, instance: Instance) -> None:
        await instance.model.close()
        self._instances[instance.index] = self._new(instance.index)

    def _new(self, index: int) -> Instance:
        instance = Instance(index)
        instance.model = self._build(index, lambda error: self._replace(instance, error.reason))
        return instance

    def _run(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.create_task(work, name="mend-pool")
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)


def _is_sudden_death(error: Exception) -> bool:
    """Whether an instance could not say itself what it died of, so that the next one may live."""
    return isinstance(error, InstanceDeadError) and error.reason != "failed"


def _delays() -> Iterator[float]:
    """Seconds between attempts, for ever."""
    delay_s = FIRST_REBUILD_DELAY_S
    while True:
        yield delay_s
        delay_s = min(2 * delay_s, MAX_REBUILD_DELAY_S)
