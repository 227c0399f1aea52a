"""The server's side: a model that lives in a process of its own, as a SpeechModel here.

Everything that arrives is read at once, so that no listener delays another one or the heartbeats.
What is not consumed yet is at most the audio of the open segments, whose number the caller limits.
"""

import asyncio
import socket
import subprocess
from collections.abc import AsyncGenerator, Awaitable, Callable, Mapping, Sequence
from contextlib import suppress
from itertools import count
from signal import Signals
from typing import Final

import msgspec
import structlog

from app.adapters.speech.worker.protocol import (
    CLOSE_LIMIT_S,
    HEARTBEAT_S,
    MAX_MISSED_HEARTBEATS,
    MAX_MISSED_HEARTBEATS_LOADING,
    AttemptFailed,
    Audio,
    CancelSegment,
    Channel,
    Close,
    FromWorker,
    Init,
    Loaded,
    SegmentEnded,
    Synthesize,
    open_channel,
    restore,
)
from app.domain.audio import AudioChunk
from app.domain.errors import InstanceDeadError, InstanceDeath, SentenceError, SpeechError
from app.domain.segment import TextSegment
from app.domain.speech import SynthesisParams
from app.ports.clock import Clock
from app.ports.speech_model import SpeechModel
from app.ports.telemetry import SentenceObserver

STANDARD_ERROR: Final = 2  # file descriptor

_log = structlog.get_logger(__name__)


class Worker(msgspec.Struct, frozen=True, eq=False):
    """A process, the channel to it, and which instance of the model it is."""

    index: int
    process: subprocess.Popen[bytes]
    channel: Channel[FromWorker]


async def start_worker(
    command: Sequence[str], environment: Mapping[str, str], assignment: bytes, index: int
) -> Worker:
    """Start a process that finds a socket under the descriptor that is its last argument.

    It has no signals from our terminal, nothing to read, and writes where we write our log. Raises
    InstanceDeadError if the machine has no room for a process.
    """
    try:
        ours, theirs = socket.socketpair()
    except OSError as error:
        raise InstanceDeadError(reason="crashed") from error
    channel = await open_channel(ours, FromWorker)
    with theirs:
        try:
            # Quick, and in this thread: with the one that started it, Linux ends the process.
            process = subprocess.Popen(  # noqa: ASYNC220, S603
                [*command, str(theirs.fileno())],
                env=dict(environment),
                pass_fds=[theirs.fileno()],
                stdin=subprocess.DEVNULL,
                stdout=STANDARD_ERROR,
                start_new_session=True,
            )
        except OSError as error:
            await channel.close()
            raise InstanceDeadError(reason="crashed") from error
    channel.send(Init(assignment))
    _log.info("worker.started", instance=index, pid=process.pid)
    return Worker(index, process, channel)


# Of a segment: audio, a failed attempt, or its end.
Item = AudioChunk | AttemptFailed | SpeechError | None


class WorkerModel:
    """SpeechModel over a worker, whose `pid` is known once it was started. A dead one stays dead.

    Heartbeats are counted, not timed: a server that was suspended itself must not take its worker
    for dead. `outline` is the same model, never loaded: it has its info and splits texts.
    `observer` is told of failed attempts in the context of the listener, `on_death` is called once
    if the worker dies after it was loaded, before any listener is told.
    """

    def __init__(
        self,
        outline: SpeechModel,
        start: Callable[[], Awaitable[Worker]],
        clock: Clock,
        observer: SentenceObserver,
        on_death: Callable[[InstanceDeadError], None],
    ) -> None:
        self.info, self.split = outline.info, outline.split
        self._start = start
        self._clock = clock
        self._observer = observer
        self._on_death = on_death
        self._numbers = count()
        # The segments that the worker has not ended, cancelled ones included.
        self._open: dict[int, asyncio.Queue[Item]] = {}
        self._num_missed = 0
        self._is_loaded = False
        self._death: InstanceDeath = "failed"
        self._ending: asyncio.Task[None] | None = None
        self._worker: Worker
        self._loaded: asyncio.Future[None]
        self._reading: asyncio.Task[None]
        self._watching: asyncio.Task[None]
        self.pid: int | None = None

    async def load(self) -> None:
        self._worker = await self._start()
        self.pid = self._worker.process.pid
        self._loaded = asyncio.get_running_loop().create_future()
        self._reading = asyncio.create_task(self._read(), name="read-worker")
        self._watching = asyncio.create_task(self._watch(), name="watch-worker")
        await self._loaded

    async def close(self) -> None:
        """End the worker: it is asked to, then killed. May be called twice."""
        if self.pid is not None:
            await asyncio.shield(self._end(None))

    async def synthesize(
        self, segment: TextSegment, params: SynthesisParams, due_at: float = 0.0
    ) -> AsyncGenerator[AudioChunk, None]:
        if self.pid is None or self._ending is not None:
            raise InstanceDeadError(reason=self._death)
        number = next(self._numbers)
        text = segment.text.encode("utf-8", "surrogatepass")
        self._worker.channel.send(Synthesize(number, segment.index, text, params, due_at))
        items = self._open[number] = asyncio.Queue()
        try:
            while (item := await items.get()) is not None:
                match item:
                    case SpeechError():
                        raise item
                    case AttemptFailed():
                        error = restore(item.failure)
                        if isinstance(error, SentenceError):
                            self._observer.sentence_failed(error, item.attempt)
                    case AudioChunk():
                        yield item
        finally:
            if number in self._open:
                self._worker.channel.send(CancelSegment(number))

    async def _read(self) -> None:
        try:
            while (message := await self._worker.channel.receive()) is not None:
                self._num_missed = 0
                self._take(message)
        except Exception:  # noqa: BLE001 - a worker that breaks the protocol is treated as dead
            _log.exception("worker.not_understood", instance=self._worker.index)
        self._end("crashed")

    def _take(self, message: FromWorker) -> None:
        match message:
            case Audio(id=number) if number in self._open:
                self._open[number].put_nowait(message.chunk)
            case AttemptFailed(id=number) if number in self._open:
                self._open[number].put_nowait(message)
            case SegmentEnded(id=number) if number in self._open:
                failure = message.failure
                self._open.pop(number).put_nowait(None if failure is None else restore(failure))
            case Loaded(failure=None) if not self._loaded.done():
                self._is_loaded = True
                self._loaded.set_result(None)
            case Loaded(failure=failure) if failure is not None and not self._loaded.done():
                self._loaded.set_exception(restore(failure))
            case _:
                pass

    async def _watch(self) -> None:
        while self._num_missed <= (
            MAX_MISSED_HEARTBEATS if self._is_loaded else MAX_MISSED_HEARTBEATS_LOADING
        ):
            await self._clock.sleep(HEARTBEAT_S)
            self._num_missed += 1
        self._end("silent")

    def _end(self, death: InstanceDeath | None) -> asyncio.Task[None]:
        """End all segments and the process; without a death it is asked to end."""
        if self._ending is not None:
            return self._ending
        self._death = death or self._death
        self._ending = asyncio.create_task(self._reap(death), name="end-worker")
        self._watching.cancel()
        if self._is_loaded and death is not None:
            self._on_death(InstanceDeadError(reason=death))
        if not self._loaded.done():
            self._loaded.set_exception(InstanceDeadError(reason=self._death))
        for items in self._open.values():
            items.put_nowait(InstanceDeadError(reason=self._death))
        self._open.clear()
        return self._ending

    async def _reap(self, death: InstanceDeath | None) -> None:
        """Wait for the end of the process and free its resources."""
        process, channel = self._worker.process, self._worker.channel
        if death is None:
            channel.send(Close())
        else:
            process.kill()
        try:
            code = await asyncio.to_thread(process.wait, CLOSE_LIMIT_S)
        except subprocess.TimeoutExpired:
            process.kill()
            code = await asyncio.to_thread(process.wait)
        ended = f"code {code}" if code >= 0 else f"signal {-code}"
        with suppress(ValueError):
            ended = Signals(-code).name
        index = self._worker.index
        if death is None:
            _log.info("worker.stopped", instance=index, pid=process.pid, exit=ended)
        else:
            _log.error("worker.died", instance=index, pid=process.pid, reason=death, exit=ended)
        self._reading.cancel()
        await asyncio.gather(self._reading, self._watching, return_exceptions=True)
        await channel.close()
