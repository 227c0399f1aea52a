"""The client gives the body piece by piece, and an error for every other status."""

from collections.abc import AsyncIterator
from contextlib import aclosing
from urllib.parse import urlsplit

import pytest

from benchmarks.targets import TargetError, get, post_speech
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
