import asyncio
from collections.abc import AsyncGenerator
from typing import Any

from app.entrypoints.http.audio_response import StreamResponse
from tests.fakes.clock import FakeClock


class Stream:
    """What a response closes."""

    is_closed = False

    async def aclose(self) -> None:
        self.is_closed = True


async def test_what_is_being_sent_is_closed_when_the_client_leaves_while_it_is_sent() -> None:
    closed: list[str] = []

    async def body() -> AsyncGenerator[bytes, None]:
        try:
            yield b"a part"
        finally:
            closed.append("body")

    async def never_send(_: Any) -> None:
        await asyncio.Event().wait()

    async def leave() -> Any:
        await asyncio.sleep(0)
        return {"type": "http.disconnect"}

    stream: Any = Stream()
    response = StreamResponse(stream, body(), FakeClock(), {}, "audio/mpeg")
    await response.send_body(never_send, leave)
    assert closed == ["body"]
    assert stream.is_closed
