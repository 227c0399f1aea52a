"""Messages with samples beside them, over a socket between two processes.

A frame is two lengths in bytes (of the message, of what is beside it; 32 bit, little-endian), the
message as MessagePack, and what is beside it.
"""

import asyncio
import struct
from contextlib import suppress
from socket import socket
from typing import Any, Final, Generic, TypeVar

import msgspec

T = TypeVar("T")

LENGTHS: Final = struct.Struct("<II")

MAX_UNREAD_BYTES: Final = 1_000_000
"""In the memory of the receiver before the sender has to wait; a socket's own is little."""


class Channel(Generic[T]):
    """One end.

    Args:
        reader: of the socket.
        writer: of the socket.
        kind: of the messages that come, a union of Structs with tags.
    """

    def __init__(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, kind: Any
    ) -> None:
        self._reader = reader
        self._writer = writer
        self._decoder: msgspec.msgpack.Decoder[T] = msgspec.msgpack.Decoder(kind)

    def send(self, message: msgspec.Struct, beside: bytes = b"") -> None:
        """Send without waiting; to an end that is gone, nothing."""
        if self._writer.is_closing():
            return
        encoded = msgspec.msgpack.encode(message)
        self._writer.write(LENGTHS.pack(len(encoded), len(beside)) + encoded + beside)

    async def drain(self) -> None:
        """Wait while the other end does not read. An end that is gone is no failure here."""
        with suppress(ConnectionError):
            await self._writer.drain()

    async def receive(self) -> tuple[T, bytes] | None:
        """The next message and what is beside it; None once the other end is gone."""
        try:
            lengths = LENGTHS.unpack(await self._reader.readexactly(LENGTHS.size))
            encoded, beside = [await self._reader.readexactly(length) for length in lengths]
        except (asyncio.IncompleteReadError, ConnectionError):
            return None
        return self._decoder.decode(encoded), beside

    async def close(self) -> None:
        """Give the socket back. May be called twice."""
        self._writer.close()
        with suppress(ConnectionError):
            await self._writer.wait_closed()


async def open_channel(end: socket, kind: Any) -> Channel[Any]:
    """A channel over one end of a pair of sockets, which it owns from then on."""
    reader, writer = await asyncio.open_unix_connection(sock=end, limit=MAX_UNREAD_BYTES)
    return Channel(reader, writer, kind)
