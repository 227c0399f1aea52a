"""What a server and its worker process say to each other, and how it travels over a socket.

A frame is the length of a message in bytes (32 bit, little-endian), and the message as MessagePack,
with the bytes of samples. An error is rebuilt from its class, its message and its values, without
its constructor, which may want other things.
"""

import asyncio
import struct
from collections.abc import Mapping
from contextlib import suppress
from socket import socket
from typing import Any, Final, Generic, TypeVar

import msgspec
import numpy as np
import structlog

from app.domain import errors
from app.domain.audio import AudioChunk
from app.domain.errors import SpeechError, SynthesisError
from app.domain.segment import TextSegment
from app.domain.speech import SynthesisParams

HEARTBEAT_S: Final = 1.0  # between two heartbeats of a worker's event loop

# Of a worker whose model is loaded. Below the time limit of a segment, so that one without audio
# can be retried on another instance in time.
MAX_MISSED_HEARTBEATS: Final = 8

# Python itself may be blocked that long while it loads large libraries from a slow disk.
MAX_MISSED_HEARTBEATS_LOADING: Final = 60

CLOSE_LIMIT_S: Final = 3.0  # for a worker to free everything; then it is killed

_log = structlog.get_logger(__name__)


class Failure(msgspec.Struct, frozen=True):
    """An error as data: the name of its class, its message, and its attributes."""

    kind: str
    message: str
    values: dict[str, Any]


KINDS: Final[Mapping[str, type[SpeechError]]] = {
    name: kind
    for name, kind in vars(errors).items()
    if isinstance(kind, type) and issubclass(kind, SpeechError)
}


def describe(error: BaseException) -> Failure:
    """The error as data; of a class that only an adapter knows, as the one it is derived from.

    One that is no SpeechError is logged here, and is a SynthesisError on the other side.
    """
    if not isinstance(error, SpeechError):
        _log.error("speech.model_raised", exc_info=error)
        error = SynthesisError()
    kind = next(kind for kind in type(error).__mro__ if KINDS.get(kind.__name__) is kind)
    return Failure(kind.__name__, str(error), vars(error))


def restore(failure: Failure) -> SpeechError:
    """An error with the same class, message and attributes."""
    kind = KINDS[failure.kind]
    error = kind.__new__(kind, failure.message)
    vars(error).update(failure.values)
    return error


class Init(msgspec.Struct, frozen=True, tag=True):
    """The first message; the worker's bootstrap reads the assignment."""

    assignment: bytes


class Synthesize(msgspec.Struct, frozen=True, tag=True):
    """Synthesize a segment."""

    id: int  # unique among the open segments
    index: int
    text: bytes  # in UTF-8; half of a surrogate pair is encoded like any code point
    params: SynthesisParams
    due_at: float  # as in the port SpeechModel; both processes have the clock of the machine

    @property
    def segment(self) -> TextSegment:
        return TextSegment(self.index, self.text.decode("utf-8", "surrogatepass"))


class CancelSegment(msgspec.Struct, frozen=True, tag=True):
    """No one listens to this segment any more; SegmentEnded follows."""

    id: int


class Close(msgspec.Struct, frozen=True, tag=True):
    """Free everything and exit."""


class Heartbeat(msgspec.Struct, frozen=True, tag=True):
    """The worker's event loop is alive."""


class Loaded(msgspec.Struct, frozen=True, tag=True):
    """The model is loaded, or could not be."""

    failure: Failure | None = None


class Audio(msgspec.Struct, frozen=True, tag=True):
    """A chunk of a segment."""

    id: int
    chunk: AudioChunk


class AttemptFailed(msgspec.Struct, frozen=True, tag=True):
    """An attempt at a segment failed, see SentenceObserver; the segment goes on."""

    id: int
    failure: Failure
    attempt: int


class SegmentEnded(msgspec.Struct, frozen=True, tag=True):
    """A segment is complete, cancelled, or failed."""

    id: int
    failure: Failure | None = None


ToWorker = Init | Synthesize | CancelSegment | Close
FromWorker = Heartbeat | Loaded | Audio | AttemptFailed | SegmentEnded


T = TypeVar("T")

LENGTH: Final = struct.Struct("<I")

_encoder: Final = msgspec.msgpack.Encoder(enc_hook=np.ndarray.tobytes)

# In the receiver's memory before the sender has to wait; a socket's own buffer is small.
MAX_UNREAD_BYTES: Final = 1_000_000


class Channel(Generic[T]):
    """One end; `kind` is that of the messages that come, a union of Structs with tags."""

    def __init__(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, kind: Any
    ) -> None:
        self._reader = reader
        self._writer = writer
        self._decoder: msgspec.msgpack.Decoder[T] = msgspec.msgpack.Decoder(
            kind, dec_hook=lambda _, samples: np.frombuffer(samples, np.float32).copy()
        )

    def send(self, message: msgspec.Struct) -> None:
        """Send without waiting; to an end that is gone, nothing."""
        if self._writer.is_closing():
            return
        encoded = _encoder.encode(message)
        self._writer.write(LENGTH.pack(len(encoded)) + encoded)

    async def drain(self) -> None:
        """Wait while the other end does not read. An end that is gone is no failure here."""
        with suppress(ConnectionError):
            await self._writer.drain()

    async def receive(self) -> T | None:
        """The next message; None once the other end is gone."""
        try:
            (length,) = LENGTH.unpack(await self._reader.readexactly(LENGTH.size))
            encoded = await self._reader.readexactly(length)
        except (asyncio.IncompleteReadError, ConnectionError):
            return None
        return self._decoder.decode(encoded)

    async def close(self) -> None:
        """Give the socket back. May be called twice."""
        self._writer.close()
        with suppress(ConnectionError):
            await self._writer.wait_closed()


async def open_channel(end: socket, kind: Any) -> Channel[Any]:
    """A channel over one end of a pair of sockets, which it owns from then on."""
    reader, writer = await asyncio.open_unix_connection(sock=end, limit=MAX_UNREAD_BYTES)
    return Channel(reader, writer, kind)
