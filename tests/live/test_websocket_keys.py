"""Keys of WebSockets over uvicorn, where a WebSocket library is installed."""

from collections.abc import Sequence
from typing import Any

import pytest

from tests.http.test_websocket_access import KEY, PATH, with_key
from tests.serving import serving

client = pytest.importorskip("websockets.asyncio.client")
exceptions = pytest.importorskip("websockets.exceptions")


async def connect(url: str, headers: dict[str, str], protocols: Sequence[str] = ()) -> str:
    """The first message."""
    address = url.replace("http", "ws", 1) + PATH
    options: dict[str, Any] = {"additional_headers": headers, "subprotocols": protocols or None}
    async with client.connect(address, proxy=None, **options) as socket:
        return str(await socket.recv())


async def test_a_key_is_taken_from_the_header_and_from_a_protocol() -> None:
    async with serving(with_key()) as url:
        assert await connect(url, {"authorization": f"Bearer {KEY}"}) == "alice"
        protocols = ["realtime", f"openai-insecure-api-key.{KEY}"]
        assert await connect(url, {}, protocols) == "alice"


@pytest.mark.parametrize(
    ("headers", "status", "code"),
    [
        ({}, 401, b"invalid_api_key"),
        ({"authorization": "Bearer wrong"}, 401, b"invalid_api_key"),
        ({"authorization": f"Bearer {KEY}", "origin": "https://evil.org"}, 403, b"origin_not"),
    ],
)
async def test_a_refusal_is_an_http_answer_with_openais_body(
    headers: dict[str, str], status: int, code: bytes
) -> None:
    async with serving(with_key()) as url:
        with pytest.raises(exceptions.InvalidStatus) as caught:
            await connect(url, headers)
    assert caught.value.response.status_code == status
    assert code in caught.value.response.body
