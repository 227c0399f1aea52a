"""A client of servers of the OpenAI kind, on this machine. Knows nothing of audio or time."""

import asyncio
import socket
from collections.abc import AsyncGenerator
from contextlib import aclosing, suppress
from typing import Any, Final

import h11
import msgspec

HOST: Final = "127.0.0.1"
OK: Final = 200
READ_BYTES: Final = 65_536


class AnswerError(Exception):
    """The server answered with another status than 200."""


async def get(port: int, target: str) -> bytes:
    """The body of a resource.

    Raises:
        AnswerError: the status is not 200.
        OSError, h11.RemoteProtocolError: the server is not there, or breaks off.
    """
    async with aclosing(_exchange(port, "GET", target, b"", None)) as pieces:
        return b"".join([piece async for piece in pieces])


def speak(
    port: int, message: dict[str, Any], receive_buffer_bytes: int | None = None
) -> AsyncGenerator[bytes, None]:
    """The answer to a request for speech, piece by piece; `aclose` hangs up.

    Args:
        port: of the server.
        message: body of the request.
        receive_buffer_bytes: of the socket, so that a slow reader soon holds up the server; None is
            the system's choice.
    """
    body = msgspec.json.encode(message)
    return _exchange(port, "POST", "/v1/audio/speech", body, receive_buffer_bytes)


async def _exchange(
    port: int, method: str, target: str, body: bytes, receive_buffer_bytes: int | None
) -> AsyncGenerator[bytes, None]:
    """Send a request; the body of its answer as it comes. Each uses a connection of its own."""
    reader, writer = await _connect(port, receive_buffer_bytes)
    connection = h11.Connection(h11.CLIENT)
    try:
        writer.write(_request(connection, method, target, body))
        await writer.drain()
        while not isinstance(event := connection.next_event(), h11.EndOfMessage):
            if event is h11.NEED_DATA:
                connection.receive_data(await reader.read(READ_BYTES))
            elif isinstance(event, h11.Response) and event.status_code != OK:
                raise AnswerError(f"{method} {target}: status {event.status_code}")
            elif isinstance(event, h11.Data):
                yield bytes(event.data)
    finally:
        writer.close()
        with suppress(OSError):
            await writer.wait_closed()


async def _connect(
    port: int, receive_buffer_bytes: int | None
) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    if receive_buffer_bytes is None:
        return await asyncio.open_connection(HOST, port)
    listener = socket.socket()
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_buffer_bytes)
    listener.setblocking(False)  # noqa: FBT003 - the socket's own interface
    await asyncio.get_running_loop().sock_connect(listener, (HOST, port))
    return await asyncio.open_connection(sock=listener, limit=receive_buffer_bytes)


def _request(connection: h11.Connection, method: str, target: str, body: bytes) -> bytes:
    headers = [
        ("Host", HOST),
        ("Content-Type", "application/json"),
        ("Content-Length", str(len(body))),
        ("Connection", "close"),
    ]
    events: list[h11.Event] = [h11.Request(method=method, target=target, headers=headers)]
    if body:
        events.append(h11.Data(data=body))
    events.append(h11.EndOfMessage())
    return b"".join(connection.send(event) or b"" for event in events)
