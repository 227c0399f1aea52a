"""Clients that leave, and a model that has not said everything when they do."""

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any, Final

import httpx

from app.domain.segment import TextSegment
from tests.serving import Fakes, serving

SPEECH: Final = "/v1/audio/speech"


@asynccontextmanager
async def asking(
    url: str, body: dict[str, Any], key: str | None = None
) -> AsyncIterator[asyncio.StreamReader]:
    """A request that was sent; the client leaves at the end of the block."""
    reader, writer = await ask(url, body, key)
    try:
        yield reader
    finally:
        writer.close()


async def ask(
    url: str, body: dict[str, Any], key: str | None = None
) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    """Send a request."""
    address = httpx.URL(url)
    reader, writer = await asyncio.open_connection(address.host, address.port)
    content = json.dumps(body).encode()
    head = f"POST {SPEECH} HTTP/1.1\r\nhost: localhost\r\ncontent-type: application/json\r\n"
    if key is not None:
        head += f"authorization: Bearer {key}\r\n"
    writer.write(f"{head}content-length: {len(content)}\r\n\r\n".encode() + content)
    return reader, writer


@asynccontextmanager
async def serving_when_ready(fakes: Fakes) -> AsyncIterator[str]:
    """A server whose model has warmed up; gives its base URL."""
    async with serving(fakes.app()) as url, httpx.AsyncClient(base_url=url) as client:
        while (await client.get("/health/ready")).status_code != 200:
            await asyncio.sleep(0.001)
        yield url


def silent_from(fakes: Fakes, index: int) -> None:
    """The model says nothing from that sentence on."""
    for_ever = asyncio.Event()

    async def wait(segment: TextSegment) -> None:
        if segment.index >= index:
            await for_ever.wait()

    fakes.model.before_speaking = wait
