"""The speech socket where keys are asked for."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import suppress

import pytest
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import InvalidStatus
from websockets.typing import Subprotocol

from app.domain.access import KeyLimits
from tests.live_client import LiveClient
from tests.serving import Fakes, serving

PATH = "/v1/audio/speech/stream"
KEY = "key-of-ann-0123456789"


@pytest.fixture
async def url() -> AsyncIterator[str]:
    fakes = Fakes()
    fakes.keys.give("ann", KEY, KeyLimits(max_concurrent=1))
    async with serving(fakes.app()) as url:
        yield url.replace("http", "ws", 1) + PATH


def bearer(key: str) -> dict[str, str]:
    return {"authorization": f"Bearer {key}"}


@pytest.mark.parametrize("headers", [{}, bearer(""), bearer("wrong"), bearer("a" * 8_000)])
async def test_without_a_key_it_is_not_accepted(url: str, headers: dict[str, str]) -> None:
    with pytest.raises(InvalidStatus) as caught:
        await connect(url, additional_headers=headers)
    assert caught.value.response.status_code == 401
    assert b"invalid_api_key" in caught.value.response.body
    assert caught.value.response.headers["x-request-id"]


async def test_a_key_opens_it_and_its_limit_holds_until_it_is_closed(url: str) -> None:
    async with connect(url, additional_headers=bearer(KEY)) as connection:
        await LiveClient(connection).until("ready")
        with pytest.raises(InvalidStatus) as caught:
            await connect(url, additional_headers=bearer(KEY))
        assert caught.value.response.status_code == 429
    connection = await connect_soon(url)
    await LiveClient(connection).until("ready")
    await connection.close()


async def connect_soon(url: str) -> ClientConnection:
    """Connect once the server has noticed that the connection before was closed."""
    async with asyncio.timeout(10):
        while True:
            with suppress(InvalidStatus):
                return await connect(url, additional_headers=bearer(KEY))
            await asyncio.sleep(0.01)


async def test_a_browser_brings_its_key_as_a_subprotocol(url: str) -> None:
    offered = [Subprotocol("realtime"), Subprotocol(f"openai-insecure-api-key.{KEY}")]
    async with connect(url, subprotocols=offered) as connection:
        await LiveClient(connection).until("ready")
        assert connection.subprotocol == "realtime"


async def test_a_page_of_another_server_is_refused(url: str) -> None:
    with pytest.raises(InvalidStatus) as caught:
        await connect(
            url,
            additional_headers=bearer(KEY),
            origin="https://elsewhere.example",  # type: ignore[arg-type]
        )
    assert caught.value.response.status_code == 403
