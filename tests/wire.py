"""Connections to a server byte by byte, and what comes back."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from typing import Any, Final

import httpx
import msgspec

PATIENCE_S: Final = 10.0


class Answer(msgspec.Struct):
    """The first answer on a connection, and the bytes after its head."""

    status: int
    headers: dict[str, str]
    body: bytes

    def error(self) -> dict[str, Any]:
        """Its error; fails unless it is in OpenAI's form."""
        error: dict[str, Any] = msgspec.json.decode(self.body)["error"]
        assert set(error) == {"message", "type", "param", "code"}
        return error


@asynccontextmanager
async def wired(url: str) -> AsyncIterator[tuple[asyncio.StreamReader, asyncio.StreamWriter]]:
    """A connection to the server at `url`."""
    address = httpx.URL(url)
    reader, writer = await asyncio.open_connection(address.host, address.port)
    try:
        yield reader, writer
    finally:
        writer.transport.abort()


async def rest_of(reader: asyncio.StreamReader) -> Answer:
    """All that comes until the server closes; fails unless it does."""
    received = bytearray()
    async with asyncio.timeout(PATIENCE_S):
        with suppress(ConnectionError):
            while part := await reader.read(65_536):
                received += part
    return parse(bytes(received))


async def exchange(url: str, sent: bytes) -> Answer:
    """What a connection on which `sent` came is answered with, until it is closed."""
    async with wired(url) as (reader, writer):
        writer.write(sent)
        return await rest_of(reader)


def parse(received: bytes) -> Answer:
    """An answer from its bytes."""
    head, _, body = received.partition(b"\r\n\r\n")
    status, *lines = head.decode("ascii").split("\r\n")
    headers = dict(line.lower().split(": ", 1) for line in lines)
    return Answer(int(status.split(" ")[1]), headers, body)
