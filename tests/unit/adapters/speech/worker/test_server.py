"""The worker's side, in this process: orders in, sound out."""

import asyncio
import socket
from collections.abc import AsyncIterator
from typing import Any

import pytest

from app.adapters.speech.worker.protocol import (
    HEARTBEAT_S,
    Audio,
    CancelSegment,
    Channel,
    Close,
    FromWorker,
    Heartbeat,
    Loaded,
    SegmentEnded,
    Synthesize,
    ToWorker,
    open_channel,
    restore,
)
from app.adapters.speech.worker.server import ModelServer
from app.domain.errors import ModelLoadError, RunawaySpeechError, SpeechError, SynthesisError
from app.domain.segment import TextSegment
from app.domain.speech import SynthesisParams
from tests.fakes.clock import FakeClock
from tests.fakes.speech_model import FAKE_INFO, FakeSpeechModel

TEXT = "One sentence."


class Rig:
    """A server over a fake, and the other end of its channel."""

    def __init__(self, here: Channel[FromWorker], there: Channel[ToWorker]) -> None:
        self.here = here
        self.there = there
        self.clock = FakeClock()
        self.model = FakeSpeechModel()
        self.server = ModelServer(there, self.clock)
        self.running: asyncio.Task[bool]
        self.build_error: Exception | None = None

    def begin(self) -> None:
        self.running = asyncio.create_task(self.server.run(self._build))

    def _build(self, _: object) -> FakeSpeechModel:
        if self.build_error is not None:
            raise self.build_error
        return self.model

    def speak(self, number: int, text: str = TEXT) -> None:
        params = SynthesisParams(FAKE_INFO.voices[0])
        self.here.send(Synthesize(number, 0, text.encode(), params, 0.0))

    async def receive(self, kind: type) -> Any:
        """The next message of a kind."""
        async with asyncio.timeout(10):
            while True:
                received = await self.here.receive()
                assert received is not None
                if isinstance(received, kind):
                    return received


@pytest.fixture
async def idle_rig() -> AsyncIterator[Rig]:
    ours, theirs = socket.socketpair()
    rig = Rig(await open_channel(ours, FromWorker), await open_channel(theirs, ToWorker))
    yield rig
    await rig.here.close()
    await rig.running
    await rig.there.close()


@pytest.fixture
async def rig(idle_rig: Rig) -> Rig:
    idle_rig.begin()
    return idle_rig


async def hang(_: TextSegment) -> None:
    await asyncio.Event().wait()


async def settle() -> None:
    for _ in range(50):
        await asyncio.sleep(0.001)


async def test_it_loads_speaks_and_closes(rig: Rig) -> None:
    assert (await rig.receive(Loaded)).failure is None
    rig.speak(7)
    assert (await rig.receive(Audio)).id == 7
    assert (await rig.receive(SegmentEnded)) == SegmentEnded(7)
    rig.here.send(Close())
    assert await rig.running is True
    assert rig.model.is_closed


async def test_it_beats_while_it_loads(idle_rig: Rig) -> None:
    rig = idle_rig
    rig.model.may_load.clear()
    rig.begin()
    for _ in range(3):
        await rig.receive(Heartbeat)
        await rig.clock.advance(HEARTBEAT_S)
    assert not rig.model.is_loaded


async def test_a_sentence_that_is_stopped_ends_whether_it_has_begun_or_not(rig: Rig) -> None:
    await rig.receive(Loaded)
    rig.model.before_speaking = hang
    rig.speak(1)
    await settle()
    assert len(rig.server._running) == rig.model.num_running == 1
    rig.speak(2)
    rig.here.send(CancelSegment(2))
    rig.here.send(CancelSegment(1))
    ended = {(await rig.receive(SegmentEnded)).id for _ in range(2)}
    assert ended == {1, 2}
    assert len(rig.server._running) == rig.model.num_running == 0


async def test_to_stop_what_is_over_or_never_was_is_nothing(rig: Rig) -> None:
    await rig.receive(Loaded)
    rig.here.send(CancelSegment(3))
    rig.speak(3)
    await rig.receive(SegmentEnded)
    rig.here.send(CancelSegment(3))
    rig.speak(4)
    assert await rig.receive(SegmentEnded) == SegmentEnded(4)


@pytest.mark.parametrize(
    ("raised", "arrives"),
    [(RunawaySpeechError(), RunawaySpeechError), (KeyError("secret"), SynthesisError)],
)
async def test_an_error_ends_the_sentence_and_nothing_else(
    rig: Rig, raised: Exception, arrives: type[SpeechError]
) -> None:
    await rig.receive(Loaded)
    rig.model.failures = [raised]
    rig.speak(1)
    failure = (await rig.receive(SegmentEnded)).failure
    assert type(restore(failure)) is arrives
    assert "secret" not in failure.message
    rig.speak(2)
    assert await rig.receive(SegmentEnded) == SegmentEnded(2)


async def test_a_model_that_cannot_be_built_is_one_that_cannot_load(idle_rig: Rig) -> None:
    idle_rig.build_error = ModelLoadError("no weights")
    idle_rig.begin()
    loaded = await idle_rig.receive(Loaded)
    assert str(restore(loaded.failure)) == "no weights"


async def test_closing_ends_what_is_spoken(rig: Rig) -> None:
    await rig.receive(Loaded)
    rig.model.before_speaking = hang
    rig.speak(1)
    await settle()
    rig.here.send(Close())
    assert await rig.running is True
    assert rig.model.num_running == 0


async def test_the_end_of_the_other_process_is_its_own(rig: Rig) -> None:
    await rig.receive(Loaded)
    await rig.here.close()
    assert await rig.running is False
