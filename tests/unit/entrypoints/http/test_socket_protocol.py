"""A WebSocket connection, handed bytes in one turn of the event loop."""

import asyncio
from typing import Any
from unittest.mock import Mock

import pytest
from uvicorn import Config
from uvicorn.server import ServerState

from app.entrypoints.connections import ConnectionLimits
from app.entrypoints.http.protocol import SocketProtocol
from tests.socket_handshake import HANDSHAKE

NO_FRAME = bytes([0x8F, 0x00])
TEXT, PING, CLOSE = (bytes([0x80 | opcode, 0x80, 0, 0, 0, 0]) for opcode in (1, 9, 8))


def open_socket(app: Any) -> tuple[SocketProtocol, Mock, "asyncio.Task[None]"]:
    """A connection that has sent its handshake, and the task that runs `app` for it."""
    state, transport = ServerState(), Mock(spec=asyncio.Transport)
    transport.get_extra_info.return_value = None
    transport.is_closing.return_value = False
    limits = ConnectionLimits(header_timeout_s=10, write_stall_s=10, max_connections=10, idle_s=60)
    config = Config(app, log_config=None, ws_ping_interval=None)
    protocol = SocketProtocol(limits, config=config, server_state=state, app_state={})
    protocol.connection_made(transport)
    protocol.data_received(HANDSHAKE)
    (task,) = state.tasks
    return protocol, transport, task


@pytest.mark.parametrize("is_answered", [True, False])
async def test_what_is_no_frame_ends_the_connection_once_the_handshake_is_answered(
    *, is_answered: bool
) -> None:
    messages: list[dict[str, Any]] = []

    async def app(_scope: Any, receive: Any, send: Any) -> None:
        messages.append(await receive())
        await send({"type": "websocket.accept"})
        messages.append(await receive())

    protocol, transport, task = open_socket(app)
    if is_answered:
        while not protocol.handshake_complete:
            await asyncio.sleep(0)
    protocol.data_received(NO_FRAME)
    assert transport.close.called == is_answered
    await task
    assert transport.close.called
    assert [message["type"] for message in messages] == [
        "websocket.connect",
        "websocket.disconnect",
    ]


@pytest.mark.parametrize(
    ("sent", "received"),
    [
        (TEXT, "websocket.receive"),
        (PING + TEXT, "websocket.receive"),
        (CLOSE, "websocket.disconnect"),
    ],
)
async def test_frames_that_come_before_the_handshake_is_answered_wait_for_that(
    sent: bytes, received: str
) -> None:
    messages: list[dict[str, Any]] = []

    async def app(_scope: Any, receive: Any, send: Any) -> None:
        messages.append(await receive())
        await send({"type": "websocket.accept"})
        messages.append(await receive())

    protocol, transport, task = open_socket(app)
    protocol.data_received(sent)
    assert transport.pause_reading.called
    assert not transport.write.called
    await task
    assert transport.write.call_args_list[0].args[0].startswith(b"HTTP/1.1 101 ")
    assert [message["type"] for message in messages] == ["websocket.connect", received]


async def test_what_is_sent_after_the_parser_has_closed_the_connection_finds_nobody() -> None:
    """As ASGI says it: OSError. The application may be amid a message that it began before."""
    errors: list[OSError] = []

    async def app(_scope: Any, receive: Any, send: Any) -> None:
        await receive()
        await send({"type": "websocket.accept"})
        await receive()
        for message in ({"type": "websocket.send", "bytes": b"x"}, {"type": "websocket.close"}):
            try:
                await send(message)
            except OSError as error:
                errors.append(error)

    protocol, _, task = open_socket(app)
    while not protocol.handshake_complete:
        await asyncio.sleep(0)
    protocol.data_received(NO_FRAME)
    await task
    assert len(errors) == 2
