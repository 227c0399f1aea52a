"""The client gives the body piece by piece, and an error for every other status."""

import mmap
import os
from collections.abc import AsyncIterator
from contextlib import ExitStack, aclosing
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from benchmarks.targets import TargetError, get, post_speech, resident_bytes
from tests.serving import Fakes, serving

HEAD_CHARS = 8
"""Of the fake encoder: the head knows the length only if the answer is whole."""


@pytest.fixture
async def port() -> AsyncIterator[int]:
    async with serving(Fakes().app()) as url:
        yield urlsplit(url).port or 0


@pytest.mark.parametrize("receive_buffer_bytes", [None, 16_384])
async def test_pieces_make_up_the_body(port: int, receive_buffer_bytes: int | None) -> None:
    message = {"input": "One. Two.", "response_format": "pcm"}
    pieces = [piece async for piece in post_speech(port, message, receive_buffer_bytes)]
    assert all(pieces)
    again = [piece async for piece in post_speech(port, {**message, "stream": False})]
    assert b"".join(pieces)[HEAD_CHARS:] == b"".join(again)[HEAD_CHARS:]


async def test_a_client_may_disconnect_after_the_first_piece(port: int) -> None:
    async with aclosing(
        post_speech(port, {"input": "One. Two.", "response_format": "pcm"})
    ) as pieces:
        assert await anext(pieces)
    assert b"alive" in await get(port, "/health/live")


async def test_another_status_is_an_error(port: int) -> None:
    with pytest.raises(TargetError, match="status 400"):
        await anext(post_speech(port, {"input": ""}))
    with pytest.raises(TargetError, match="status 404"):
        await get(port, "/nowhere")


@pytest.mark.skipif(not Path("/proc/self/smaps").exists(), reason="Linux tells what is mapped")
def test_a_file_that_is_mapped_twice_counts_once(tmp_path: Path) -> None:
    num_bytes = 32 * 1024 * 1024
    path = tmp_path / "weights"
    path.write_bytes(bytes(num_bytes))
    before = resident_bytes(os.getpid())
    with path.open("rb") as file, ExitStack() as stack:
        for _ in range(2):
            mapped = stack.enter_context(mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ))
            assert not any(mapped[:: mmap.PAGESIZE])
        added = resident_bytes(os.getpid()) - before
    assert 0.9 * num_bytes < added < 1.3 * num_bytes
