"""A real Valkey for the suites that have one among their adapters."""

from collections.abc import AsyncIterator, Iterator

import pytest

from app.adapters.clock import SystemClock
from app.adapters.valkey import ValkeyClient, build_client
from tests.eventually import eventually
from tests.valkey_server import ValkeyServer, valkey_server


class PatientClock(SystemClock):
    """Gives a command twenty times as long: what is tested here is not how busy the machine is."""

    async def sleep(self, duration_s: float) -> None:
        await super().sleep(20 * duration_s)


@pytest.fixture(scope="session")
def valkey() -> Iterator[ValkeyServer]:
    with valkey_server() as server:
        yield server


@pytest.fixture
async def valkey_client(valkey: ValkeyServer) -> AsyncIterator[ValkeyClient]:
    """Connected by the socket, and empty."""
    client = build_client(valkey.socket_url, PatientClock())
    await client.open()
    await eventually(lambda: client.is_up)
    await client.execute("FLUSHDB")
    yield client
    await client.close()
