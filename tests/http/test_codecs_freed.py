"""A codec has threads and megabytes: however an answer ends, it is freed then, not at some time by
the garbage collector."""

import asyncio
import gc
import weakref
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager
from typing import Any, Final

import pytest
from websockets.asyncio.client import connect

from app.adapters.encoding.encoders import StreamingEncoders
from app.domain.audio import AudioEncoding
from app.ports.audio_encoder import AudioEncoder
from tests.eventually import eventually
from tests.leaving import asking, serving_when_ready, silent_from
from tests.live_client import LiveClient
from tests.serving import Fakes

TEXT: Final = "One one. Two two."
STREAMED: Final[dict[str, Any]] = {"input": TEXT, "response_format": "flac"}
SOCKET: Final = "/v1/audio/speech/stream"


class WatchedEncoders(StreamingEncoders):
    """Knows which of its encoders are there."""

    def __init__(self) -> None:
        self.num_opened = 0
        self.alive: weakref.WeakSet[AudioEncoder] = weakref.WeakSet()

    def open(self, encoding: AudioEncoding, model_rate: int) -> AudioEncoder:
        encoder = super().open(encoding, model_rate)
        self.num_opened += 1
        self.alive.add(encoder)
        return encoder


@pytest.fixture
def without_collector() -> Iterator[None]:
    gc.collect()
    gc.disable()
    yield
    gc.enable()


async def leave_a_stream(url: str) -> None:
    async with asking(url, STREAMED) as reader:
        await reader.read(1)


async def leave_events(url: str) -> None:
    async with asking(url, STREAMED | {"stream_format": "sse"}) as reader:
        await reader.read(1)


async def leave_before_the_first_byte(url: str) -> None:
    async with asking(url, STREAMED | {"stream": False}):
        await asyncio.sleep(0.1)


@asynccontextmanager
async def writing(url: str) -> AsyncIterator[LiveClient]:
    """A socket on which a text has been written; the client leaves at the end of the block."""
    async with connect(url.replace("http", "ws", 1) + SOCKET) as connection:
        client = LiveClient(connection)
        await client.send("configure", response_format="flac")
        await client.send("text", text=TEXT)
        yield client


async def leave_a_socket(url: str) -> None:
    async with writing(url) as client:
        await client.until("utterance.started")
        assert isinstance(await client.receive(), bytes)


async def cancel_on_a_socket(url: str) -> None:
    async with writing(url) as client:
        await client.until("utterance.started")
        await client.send("cancel")
        await client.until("utterance.cancelled")


@pytest.mark.usefixtures("without_collector")
@pytest.mark.parametrize(
    "use",
    [
        leave_a_stream,
        leave_events,
        leave_before_the_first_byte,
        leave_a_socket,
        cancel_on_a_socket,
    ],
)
async def test_the_codec_of_an_answer_that_is_left_is_freed(
    fakes: Fakes, use: Callable[[str], Awaitable[None]]
) -> None:
    encoders = WatchedEncoders()
    fakes.encoders = encoders  # type: ignore[assignment] # the one that is not faked
    silent_from(fakes, 1)
    async with serving_when_ready(fakes) as url:
        num_before = encoders.num_opened
        await use(url)
        await eventually(lambda: encoders.num_opened > num_before and not encoders.alive)


KEY: Final = "key-of-ann-0123456789"


@pytest.mark.usefixtures("without_collector")
@pytest.mark.parametrize("form", [{}, {"stream_format": "sse"}, {"stream": False}])
async def test_the_codec_of_an_answer_whose_key_is_revoked_is_freed(
    fakes: Fakes, form: dict[str, Any]
) -> None:
    encoders = WatchedEncoders()
    fakes.encoders = encoders  # type: ignore[assignment] # the one that is not faked
    for name in ("ann", "bob"):
        fakes.keys.give(name, KEY.replace("ann", name))
    silent_from(fakes, 1)
    async with serving_when_ready(fakes) as url, asking(url, STREAMED | form, KEY) as reader:
        await eventually(lambda: bool(encoders.alive) and fakes.model.num_running == 1)
        fakes.keys.take("ann")
        await reader.readuntil(b"}}" if "stream" in form else b"\n")
        await eventually(lambda: not encoders.alive)


@pytest.mark.usefixtures("without_collector")
async def test_the_codec_of_a_whole_answer_is_freed(fakes: Fakes) -> None:
    encoders = WatchedEncoders()
    fakes.encoders = encoders  # type: ignore[assignment] # the one that is not faked
    async with serving_when_ready(fakes) as url:
        async with writing(url) as client:
            await client.send("end")
            await client.until("utterance.ended")
        async with asking(url, STREAMED) as reader:
            await reader.readuntil(b"\r\n0\r\n\r\n")
        await eventually(lambda: not encoders.alive)
    assert encoders.num_opened > 1
