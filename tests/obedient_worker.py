"""A worker whose model does what its texts say: die, hang, block, fail.

`isolated` starts this module as the worker's process, and gives the model on this side.
"""

import asyncio
import os
import signal
import sys
import time
from collections.abc import AsyncGenerator, Callable
from functools import partial
from pathlib import Path
from socket import socket

import msgspec

from app.adapters.clock import SystemClock
from app.adapters.speech.worker.client import WorkerModel, start_worker
from app.adapters.speech.worker.protocol import Init, ToWorker, open_channel
from app.adapters.speech.worker.server import ModelServer
from app.domain.audio import AudioChunk
from app.domain.errors import InstanceDeadError, ModelLoadError, RunawaySpeechError
from app.domain.segment import TextSegment
from app.domain.speech import SynthesisParams
from app.entrypoints.bootstrap.instances import worker_environment
from app.entrypoints.log import configure_logging
from app.entrypoints.settings import LogSettings
from app.ports.clock import Clock
from app.ports.telemetry import SentenceObserver
from tests.fakes.speech_model import FakeSpeechModel
from tests.fakes.speech_observer import FakeSpeechObserver

COMMAND = (sys.executable, "-P", "-m", "tests.obedient_worker")
HURRY = 4
"""How many times as fast the signs of life come and are missed."""

SLOW_CHUNK_S = 0.05


class HurriedClock(SystemClock):
    """Sleeps shorter."""

    async def sleep(self, duration_s: float) -> None:
        await asyncio.sleep(duration_s / HURRY)


class ObedientModel(FakeSpeechModel):
    """Hums, unless the text begins with an order."""

    def __init__(self, observer: SentenceObserver, load_order: str = "") -> None:
        super().__init__()
        self._observer = observer
        self._load_order = load_order

    async def load(self) -> None:
        await self._obey(self._load_order)
        await super().load()

    async def synthesize(
        self, segment: TextSegment, params: SynthesisParams, due_at: float = 0.0
    ) -> AsyncGenerator[AudioChunk, None]:
        await self._obey(segment.text)
        number = 0
        async for chunk in super().synthesize(segment, params, due_at):
            yield chunk
            number += 1
            if segment.text.startswith("slow"):
                await asyncio.sleep(SLOW_CHUNK_S)
            if segment.text.startswith("late") and number == 2:
                await self._obey(segment.text.removeprefix("late "))

    async def _obey(self, text: str) -> None:
        order, *arguments = text.split() or [""]
        if order == "hang":
            await asyncio.Event().wait()
        elif order == "deaf":
            await asyncio.to_thread(time.sleep, 1_000)
        elif order == "report":
            self._observer.sentence_failed(RunawaySpeechError(), 3)
        elif order in ERRORS:
            raise ERRORS[order]
        else:
            die(order, arguments)


ERRORS: dict[str, Exception] = {
    "refuse": ModelLoadError("There are no weights."),
    "raise": ValueError("secret of a library"),
    "dead": InstanceDeadError(),
}


def die(order: str, arguments: list[str]) -> None:
    """Or stand still for ever, if so ordered."""
    match order:
        case "signal":
            os.kill(os.getpid(), int(arguments[0]))
        case "exit":
            os._exit(3)
        case "block":
            time.sleep(1_000)
        case _:
            pass


def isolated(
    load_order: str = "",
    *,
    clock: Clock | None = None,
    observer: SentenceObserver | None = None,
    on_death: Callable[[InstanceDeadError], None] = lambda _: None,
    index: int = 0,
) -> WorkerModel:
    """An obedient model in a process of its own, which obeys `load_order` when it loads."""
    observer = observer or FakeSpeechObserver()
    environment = {**worker_environment(), "PYTHONPATH": str(Path(__file__).parents[1])}
    start = partial(start_worker, COMMAND, environment, msgspec.json.encode(load_order), index)
    outline = ObedientModel(observer)
    return WorkerModel(outline, start, clock or HurriedClock(), observer, on_death)


async def serve(descriptor: int) -> None:
    configure_logging(LogSettings(level="warning", format="json"))
    channel = await open_channel(socket(fileno=descriptor), ToWorker)
    received = await channel.receive()
    assert isinstance(received, Init)
    load_order = msgspec.json.decode(received.assignment, type=str)
    server = ModelServer(channel, HurriedClock())
    if not await server.run(lambda observer: ObedientModel(observer, load_order)):
        os._exit(1)


if __name__ == "__main__":
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    asyncio.run(serve(int(sys.argv[1])))
