"""A client of the speech socket, as tests use it."""

import asyncio
import json
from typing import Any

from websockets.asyncio.client import ClientConnection

RECEIVE_TIMEOUT_S = 30


class LiveClient:
    """Sends messages by type, and takes what comes."""

    def __init__(self, connection: ClientConnection) -> None:
        self.connection = connection

    async def send(self, kind: str, **fields: Any) -> None:
        await self.connection.send(json.dumps({"type": kind, **fields}))

    async def receive(self) -> dict[str, Any] | bytes:
        """The next message, or the bytes of a binary frame."""
        frame = await asyncio.wait_for(self.connection.recv(), RECEIVE_TIMEOUT_S)
        return frame if isinstance(frame, bytes) else json.loads(frame)

    async def until(self, kind: str) -> tuple[dict[str, Any], bytes, list[dict[str, Any]]]:
        """The next message of a kind, all sound before it, and the other messages before it."""
        sound = bytearray()  # bytes would be copied with every message: gigabytes
        others: list[dict[str, Any]] = []
        while True:
            message = await self.receive()
            if isinstance(message, bytes):
                sound += message
            elif message["type"] == kind:
                return message, bytes(sound), others
            else:
                others.append(message)
