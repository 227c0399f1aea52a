"""An application over fakes, and a client of it on a real socket."""

from collections.abc import AsyncIterator

import httpx
import pytest

from tests.serving import Fakes, serving


@pytest.fixture
def fakes() -> Fakes:
    return Fakes()


@pytest.fixture
async def client(fakes: Fakes) -> AsyncIterator[httpx.AsyncClient]:
    async with serving(fakes.app()) as url, httpx.AsyncClient(base_url=url) as client:
        yield client
