"""Several instances of a model as one: the least busy one serves, a dead one is replaced.

An instance is dead when it says so (InstanceDeadError), or when it hangs. Requests go to the others
meanwhile. It is alive once it has synthesized for the first time, so that no request warms it up.

A caller that waits for a silent instance is told in time. What hangs may also not stop when it
is told to: it is then stopped in the background.
"""

import asyncio
from collections.abc import AsyncGenerator, Callable, Coroutine, Sequence
from contextlib import aclosing, suppress
from math import inf
from typing import Any, Final

import msgspec
import structlog

from app.domain.audio import AudioChunk, PlaybackClock
from app.domain.errors import (
    EngineBusyError,
    InstanceDeadError,
    InstanceDeath,
    InstanceLostError,
    InstanceSilentError,
    NoInstanceError,
    SentenceError,
    SpeechError,
    SpeechTimeoutError,
    SynthesisError,
)
from app.domain.resilience import PROBE_TEXT, TimeLimits
from app.domain.segment import TextSegment
from app.domain.services.time_limit import within
from app.domain.speech import SynthesisParams
from app.domain.text.front_end import segment_text
from app.domain.text.mapped_text import MappedText
from app.ports.clock import Clock
from app.ports.speech_model import SpeechModel
from app.ports.telemetry import SpeechObserver

# An instance that cannot be started is tried again after a delay that doubles up to the maximum.
FIRST_REBUILD_DELAY_S: Final = 1.0
MAX_REBUILD_DELAY_S: Final = 60.0

# With no instance alive, a sentence waits so long: on a busy machine a small Soprano is back after
# 9 s. The caller's own time limit goes on meanwhile.
INSTANCE_WAIT_S: Final = 15.0

# An instance that kept a listener waiting so long, who then left, without audio for anybody, may
# hang. A step of a network cannot be interrupted, and may take long on a machine with too much to
# do, so the instance is probed before it is replaced.
SUSPECT_AFTER_S: Final = 2.0

# The first chunk of an instance may take at least so long; on a GPU much may have to be compiled.
WARM_UP_LIMIT_S: Final = 120.0

# How many times its limit a sentence may wait while the instance gives audio to others. Late audio
# is better than none; but one sentence may also hang alone.
BUSY_TIMES: Final = 12.0

# Makes the instance of an index, from 0 on; it may tell of its death before anybody asks it.
BuildInstance = Callable[[int, Callable[[InstanceDeadError], None]], SpeechModel]

_log = structlog.get_logger(__name__)


class Instance:
    """One of the models, and what it does now."""

    model: SpeechModel

    def __init__(self, index: int) -> None:
        self.index = index
        self.due_times: list[float] = []  # of the sentences that it synthesizes
        self.is_spent = False  # it was asked to load: only another one can be
        self.is_alive = False
        self.is_suspect = False  # it may hang
        self.has_told = False  # a sentence has failed for its death, or for its silence
        self.last_audio_at = -inf  # seconds of the clock

    def load_for(self, due_at: float) -> tuple[bool, int, int]:
        """Its load for a sentence that is due then; the instance with the least takes it.

        Whether it may hang, how many of its sentences are due before, how many it has. So the
        sentences that are played now are spread over all instances, whatever is prefetched.
        """
        num_before = sum(other <= due_at for other in self.due_times)
        return self.is_suspect, num_before, len(self.due_times)


class PooledModel:
    """SpeechModel over several; `limits` are on the silence of an instance.

    One that hangs is replaced with `replaces_hung`: its `close` must be able to end it.
    """

    def __init__(
        self,
        build: BuildInstance,
        num_instances: int,
        clock: Clock,
        observer: SpeechObserver,
        limits: TimeLimits,
        *,
        replaces_hung: bool = False,
    ) -> None:
        self._build = build
        self._clock = clock
        self._observer = observer
        self._limits = limits
        self._replaces_hung = replaces_hung
        self._instances = [self._new(index) for index in range(num_instances)]
        info = self._instances[0].model.info
        self.info = msgspec.structs.replace(info, num_streams=info.num_streams * num_instances)
        self._has_alive = asyncio.Event()
        self._tasks: set[asyncio.Task[None]] = set()
        self._is_closing = False

    @property
    def num_alive(self) -> int:
        """Instances that can be asked."""
        return sum(instance.is_alive for instance in self._instances)

    async def load(self) -> None:
        """Return when the first one lives; it is replaced as long as it dies suddenly.

        The others follow, one after another: each takes memory twice while loading.
        """
        await self._try_until_alive(0, is_first=True)
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
        """Raises EngineBusyError if the next chunk is late, SpeechTimeoutError if all are."""
        if not self.num_alive:
            self._has_alive.clear()
            with suppress(TimeoutError):
                await within(self._clock, INSTANCE_WAIT_S, self._has_alive.wait())
        alive = [instance for instance in self._instances if instance.is_alive]
        if not alive:
            raise NoInstanceError
        instance = min(alive, key=lambda instance: instance.load_for(due_at))
        _log.debug("pool.begun", instance=instance.index, num_running=len(instance.due_times))
        call = _Call(instance, segment, params, due_at, self._limits, self._clock)
        try:
            async for chunk in call:
                yield chunk
        except (InstanceDeadError, SpeechTimeoutError, asyncio.CancelledError) as error:
            raise self._judge(call, error) from error.__cause__
        finally:
            await self._end(call)

    def _judge(
        self, call: "_Call", error: InstanceDeadError | SpeechTimeoutError | asyncio.CancelledError
    ) -> BaseException:
        """The error of a call; of all that fail with one instance, only the first is told why."""
        instance = call.instance
        if isinstance(error, InstanceDeadError):
            self._replace(instance, error.reason)
        else:
            silent_since = max(call.waits_since, instance.last_audio_at)
            is_long = self._clock.monotonic() - silent_since >= SUSPECT_AFTER_S
            if self._replaces_hung and is_long and instance.is_alive and not instance.is_suspect:
                instance.is_suspect = True
                self._run(self._prove(instance))
        is_trusted = instance.is_alive and not instance.is_suspect
        if is_trusted or isinstance(error, asyncio.CancelledError):
            return error
        if not instance.has_told:
            instance.has_told = True
            return error
        if isinstance(error, SpeechTimeoutError):
            return InstanceSilentError(error.limit_s)
        return InstanceLostError(reason=error.reason)

    async def _end(self, call: "_Call") -> None:
        """Stop a call. One that timed out may hang, and is waited for in the background."""
        if call.has_timed_out:
            self._run(call.aclose())
        else:
            await call.aclose()

    async def _prove(self, instance: Instance) -> None:
        """Find out whether it hangs: it has to give audio, to anybody."""
        asked_at = self._clock.monotonic()
        try:
            await self._probe(instance)
        except SpeechTimeoutError:
            if instance.last_audio_at < asked_at:
                self._replace(instance, "hung")
        except SpeechError:
            pass  # it has said something, or is dead and known to be
        instance.is_suspect = False
        instance.has_told = instance.has_told and not instance.is_alive

    async def _probe(self, instance: Instance) -> None:
        segment = segment_text(PROBE_TEXT, instance.model.split)[0]
        params = SynthesisParams(instance.model.info.voices[0])
        call = _Call(instance, segment, params, self._clock.monotonic(), self._limits, self._clock)
        try:
            async for _ in call:
                pass
        except InstanceDeadError as error:
            self._replace(instance, error.reason)
            raise
        finally:
            await self._end(call)

    def _replace(self, instance: Instance, reason: InstanceDeath) -> None:
        if not instance.is_alive or self._is_closing:
            return
        instance.is_alive = False
        self._observer.instance_died(instance.index, reason)
        self._run(self._try_until_alive(instance.index))

    async def _make_others(self) -> None:
        """One that cannot live now does not keep back those behind it."""
        for index in range(1, len(self._instances)):
            if not await self._try(index):
                self._run(self._try_until_alive(index, FIRST_REBUILD_DELAY_S))

    async def _try_until_alive(
        self, index: int, delay_s: float = 0.0, *, is_first: bool = False
    ) -> None:
        if delay_s:
            await self._clock.sleep(delay_s)
        while not await self._try(index, is_first=is_first):
            delay_s = min(max(2 * delay_s, FIRST_REBUILD_DELAY_S), MAX_REBUILD_DELAY_S)
            await self._clock.sleep(delay_s)

    async def _try(self, index: int, *, is_first: bool = False) -> bool:
        """Load an instance and let it speak; whether it lives now.

        The first one of all raises what it dies of, if it can say so.
        """
        try:
            instance = self._instances[index]
            if instance.is_spent:  # what cannot be made now is tried again later
                await instance.model.close()
                instance = self._instances[index] = self._new(index)
            instance.is_spent = True
            await instance.model.load()
            await self._warm_up(instance)
        except Exception as error:
            # The next one may live if this one could not say itself what it died of.
            is_sudden = isinstance(error, InstanceDeadError) and error.reason != "failed"
            if is_first and not is_sudden:
                raise
            if isinstance(error, InstanceDeadError):
                self._observer.instance_died(index, error.reason)
            reason = str(error) or type(error).__name__
            _log.error("pool.instance_failed", instance=index, reason=reason)
            with suppress(Exception):  # else it is closed when the next one is made
                await self._instances[index].model.close()
            return False
        instance.is_alive = True
        self._has_alive.set()
        _log.info("pool.instance_ready", instance=index)
        return True

    async def _warm_up(self, instance: Instance) -> None:
        try:
            with suppress(SentenceError):
                await self._probe(instance)
        except SpeechTimeoutError as error:
            raise InstanceDeadError(reason="hung") from error
        except SpeechError:
            raise
        except Exception as error:
            _log.exception("speech.model_raised")
            raise SynthesisError from error

    def _new(self, index: int) -> Instance:
        instance = Instance(index)
        instance.model = self._build(index, lambda error: self._replace(instance, error.reason))
        return instance

    def _run(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.create_task(work, name="mend-pool")
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)


class _Call:
    """One sentence on one instance: its chunks, read by a task and watched by another.

    Time counts from when a chunk is asked for, from when it is due, or from the instance's latest
    audio for anybody, whichever is last: a sentence may be asked for long before it is due, and the
    instance may serve others first.
    """

    def __init__(
        self,
        instance: Instance,
        segment: TextSegment,
        params: SynthesisParams,
        due_at: float,
        limits: TimeLimits,
        clock: Clock,
    ) -> None:
        self.instance = instance
        self._due_at = due_at
        self._limits = limits
        self._clock = clock
        self._playback = PlaybackClock(due_at)
        self._asked_at = clock.monotonic()
        self._limit_s = limits.first_chunk_s
        if instance.last_audio_at == -inf:
            self._limit_s = max(limits.first_chunk_s, WARM_UP_LIMIT_S)
        # What the consumer is given, None at the end.
        self._queue: asyncio.Queue[AudioChunk | Exception | None] = asyncio.Queue()
        self.has_timed_out = False  # it may hang
        instance.due_times.append(due_at)
        chunks = instance.model.synthesize(segment, params, due_at)
        self._reading = asyncio.create_task(self._read(chunks))
        self._watching = asyncio.create_task(self._watch())

    @property
    def waits_since(self) -> float:
        """When the next chunk was asked for or is due, whichever is later; seconds of the clock."""
        return max(self._playback.ends_at, self._asked_at)

    def __aiter__(self) -> "_Call":
        return self

    async def __anext__(self) -> AudioChunk:
        item = await self._queue.get()
        if isinstance(item, AudioChunk):
            return item
        raise StopAsyncIteration if item is None else item

    async def aclose(self) -> None:
        """Stop the tasks; returns once the model has stopped."""
        self._watching.cancel()
        self._reading.cancel()
        self.instance.due_times.remove(self._due_at)
        # Unlike `gather`, this ends at once when it is cancelled.
        await asyncio.wait({self._watching, self._reading})

    async def _read(self, chunks: AsyncGenerator[AudioChunk, None]) -> None:
        try:
            async with aclosing(chunks):
                async for chunk in chunks:
                    if chunk.num_samples:  # without samples it is no sign of life
                        self._asked_at = self.instance.last_audio_at = self._clock.monotonic()
                        self._playback.on_chunk(chunk, self._asked_at)
                        self._queue.put_nowait(chunk)
                        self._limit_s = self._limits.chunk_gap_s
        except Exception as error:  # noqa: BLE001 - the consumer of the chunks gets it
            self._queue.put_nowait(error)
        except asyncio.CancelledError:
            self._queue.put_nowait(SynthesisError())  # if it was the model, and not `aclose`
            raise
        else:
            self._queue.put_nowait(None)
        finally:
            self._watching.cancel()

    async def _watch(self) -> None:
        """Fail the call when the next chunk is late."""
        while True:
            now = self._clock.monotonic()
            late_at = max(self.waits_since, self.instance.last_audio_at) + self._limit_s
            ends_at = self.waits_since + BUSY_TIMES * self._limit_s
            if now >= min(late_at, ends_at):
                break
            # The first chunk may make the limit shorter, by no more than one gap from now.
            await self._clock.sleep(min(late_at - now, ends_at - now, self._limits.chunk_gap_s))
        self.has_timed_out = True
        if now >= late_at:
            self._queue.put_nowait(SpeechTimeoutError(self._limit_s))
        else:
            self._queue.put_nowait(EngineBusyError(ends_at - self.waits_since))
