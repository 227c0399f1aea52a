"""The line to a worker: sentences go out, sound comes in, and it shows whether the worker lives.

All that comes is read at once, so that no listener holds up another, nor the signs of life. What
nobody has taken yet is at most the sound of the sentences asked for, and how many those are is
bounded by whoever asks.
"""

import asyncio
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from itertools import count

import numpy as np
import structlog

from app.adapters.speech.worker.failures import restore
from app.adapters.speech.worker.life import (
    BEAT_S,
    CLOSE_LIMIT_S,
    MAX_MISSED_BEATS,
    MAX_MISSED_BEATS_LOADING,
)
from app.adapters.speech.worker.messages import (
    Close,
    Ended,
    Failed,
    FromWorker,
    Loaded,
    Sound,
    Speak,
    Stop,
)
from app.adapters.speech.worker.process import Worker, describe_exit, stop_process
from app.domain.audio import AudioChunk
from app.domain.errors import InstanceDeadError, InstanceDeath, SpeechError
from app.domain.segment import TextSegment
from app.domain.speech import SynthesisParams
from app.ports.clock import Clock

Item = AudioChunk | Failed | SpeechError | None
"""Of a sentence: sound, news, or its end."""

_log = structlog.get_logger(__name__)


class Line:
    """A worker from its start to its end.

    Signs of life are counted, not timed: a server that stood still itself must not take its worker
    for dead.

    Args:
        worker: that has just been started.
        clock: waits from beat to beat.
        on_death: called once if the worker dies after it was loaded, before any listener is told.

    Attributes:
        loaded: done once the worker can speak, or cannot.
    """

    def __init__(
        self, worker: Worker, clock: Clock, on_death: Callable[[InstanceDeadError], None]
    ) -> None:
        self._worker = worker
        self._clock = clock
        self._on_death = on_death
        self._numbers = count()
        self._open: dict[int, asyncio.Queue[Item]] = {}
        self._is_loaded = False
        self._num_missed = 0
        self._death: InstanceDeath = "failed"
        self._ending: asyncio.Task[None] | None = None
        self.loaded: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._reading = asyncio.create_task(self._read(), name="read-worker")
        self._watching = asyncio.create_task(self._watch(), name="watch-worker")

    @property
    def pid(self) -> int:
        """Of the worker."""
        return self._worker.process.pid

    @property
    def num_open(self) -> int:
        """Sentences that the worker has not ended, those included that nobody listens to."""
        return len(self._open)

    @contextmanager
    def speak(
        self, segment: TextSegment, params: SynthesisParams, due_at: float
    ) -> Iterator[asyncio.Queue[Item]]:
        """Have a sentence spoken; leaving the block stops it, unless it has ended.

        Raises:
            InstanceDeadError: the worker is dead.
        """
        if self._ending is not None:
            raise InstanceDeadError(reason=self._death)
        number = next(self._numbers)
        text = segment.text.encode("utf-8", "surrogatepass")
        self._worker.channel.send(Speak(number, segment.index, text, params, due_at))
        items = self._open[number] = asyncio.Queue()
        try:
            yield items
        finally:
            if number in self._open:
                self._worker.channel.send(Stop(number))

    async def close(self) -> None:
        """End the worker: it is asked to, then killed. May be called twice."""
        await asyncio.shield(self._end(None))

    async def _read(self) -> None:
        try:
            while (received := await self._worker.channel.receive()) is not None:
                self._num_missed = 0
                self._take(*received)
        except Exception:  # noqa: BLE001 - what cannot be understood is as good as dead
            _log.exception("worker.not_understood", instance=self._worker.index)
        self._end("crashed")

    def _take(self, message: FromWorker, beside: bytes) -> None:
        match message:
            case Sound(id=number) if number in self._open:
                self._open[number].put_nowait(_chunk(message, beside))
            case Failed(id=number) if number in self._open:
                self._open[number].put_nowait(message)
            case Ended(id=number) if number in self._open:
                failure = message.failure
                self._open.pop(number).put_nowait(None if failure is None else restore(failure))
            case Loaded(failure=failure) if not self.loaded.done():
                self._is_loaded = failure is None
                if failure is None:
                    self.loaded.set_result(None)
                else:
                    self.loaded.set_exception(restore(failure))
            case _:
                pass

    async def _watch(self) -> None:
        while self._num_missed <= self._max_missed:
            await self._clock.sleep(BEAT_S)
            self._num_missed += 1
        self._end("silent")

    @property
    def _max_missed(self) -> int:
        return MAX_MISSED_BEATS if self._is_loaded else MAX_MISSED_BEATS_LOADING

    def _end(self, death: InstanceDeath | None) -> asyncio.Task[None]:
        """Tell everybody, and see to the process; without a death it is asked to end."""
        if self._ending is None:
            self._death = death or self._death
            self._ending = asyncio.create_task(self._bury(death), name="end-worker")
            self._tell_all(death)
        return self._ending

    def _tell_all(self, death: InstanceDeath | None) -> None:
        self._watching.cancel()
        if self._is_loaded and death is not None:
            self._on_death(InstanceDeadError(reason=death))
        if not self.loaded.done():
            self.loaded.set_exception(InstanceDeadError(reason=self._death))
        for items in self._open.values():
            items.put_nowait(InstanceDeadError(reason=self._death))
        self._open.clear()

    async def _bury(self, death: InstanceDeath | None) -> None:
        """Wait for the end of the process, and give back what it took."""
        process, channel = self._worker.process, self._worker.channel
        if death is None:
            channel.send(Close())
        else:
            process.kill()
        code = await stop_process(process, CLOSE_LIMIT_S)
        if death is None:
            _log.info(
                "worker.stopped",
                instance=self._worker.index,
                pid=process.pid,
                exit=describe_exit(code),
            )
        else:
            _log.error(
                "worker.died",
                instance=self._worker.index,
                pid=process.pid,
                reason=death,
                exit=describe_exit(code),
            )
        self._reading.cancel()
        await asyncio.gather(self._reading, self._watching, return_exceptions=True)
        await channel.close()


def _chunk(sound: Sound, samples: bytes) -> AudioChunk:
    return AudioChunk(
        np.frombuffer(samples, np.float32).copy(),
        sound.sample_rate,
        sound.num_input_tokens,
        sound.num_output_tokens,
    )
