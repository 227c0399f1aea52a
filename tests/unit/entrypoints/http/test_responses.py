import asyncio
import tracemalloc
from collections.abc import AsyncGenerator
from pathlib import Path
from typing import Any, Final

import pytest

from app.domain.errors import ServerOverloadedError
from app.entrypoints.connections import Quota
from app.entrypoints.http.responses import (
    MAX_BYTES_IN_MEMORY,
    MAX_HELD_BYTES,
    HeldAnswer,
    StreamResponse,
    hold_answer,
)
from tests.fakes.clock import FakeClock

PART: Final = bytes(range(256)) * 256
NUM_PARTS: Final = 512
"""32 MiB."""


async def write_parts(answer: HeldAnswer) -> None:
    for _ in range(NUM_PARTS):
        await answer.write(PART)


async def test_a_long_answer_takes_no_memory_while_it_is_held_or_read(tmp_path: Path) -> None:
    tracemalloc.start()
    async with hold_answer(Quota(MAX_HELD_BYTES), str(tmp_path)) as answer:
        await write_parts(answer)
        async for block in answer.read(b"HEAD"):
            assert block
        assert answer.num_bytes == NUM_PARTS * len(PART)
    _, peak_bytes = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak_bytes < 4 * MAX_BYTES_IN_MEMORY


@pytest.mark.parametrize("num_parts", [1, NUM_PARTS])
@pytest.mark.parametrize("head", [b"", b"HEAD"])
async def test_it_is_read_as_written_but_for_its_head(num_parts: int, head: bytes) -> None:
    async with hold_answer(Quota(MAX_HELD_BYTES)) as answer:
        for _ in range(num_parts):
            await answer.write(PART)
        blocks = [block async for block in answer.read(head)]
    assert b"".join(blocks) == head + (num_parts * PART)[len(head) :]


async def test_more_than_may_be_held_is_refused_until_another_answer_is_sent() -> None:
    held = Quota(2 * len(PART))
    async with hold_answer(held) as second:
        async with hold_answer(held) as first:
            await first.write(PART)
            await second.write(PART)
            with pytest.raises(ServerOverloadedError):
                await second.write(PART)
        await second.write(PART)
    async with hold_answer(held) as third:
        await third.write(2 * PART)


async def test_an_answer_that_cannot_be_written_down_is_refused(tmp_path: Path) -> None:
    async with hold_answer(Quota(MAX_HELD_BYTES), str(tmp_path / "missing")) as answer:
        with pytest.raises(ServerOverloadedError):
            await write_parts(answer)
    async with hold_answer(Quota(MAX_HELD_BYTES), str(tmp_path)) as answer:
        await write_parts(answer)


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
    response = StreamResponse(stream, body(), FakeClock(), {})
    await response.send_body(never_send, leave)
    assert closed == ["body"]
    assert stream.is_closed
