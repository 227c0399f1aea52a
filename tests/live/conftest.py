"""One server with the embedded voice for all tests that only talk to it."""

from collections.abc import Iterator

import pytest

from tests.serving import ServerProcess, server_process, wait_for_status


@pytest.fixture(scope="session")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServerProcess]:
    with server_process(tmp_path_factory.mktemp("live") / "server.log") as running:
        wait_for_status(f"{running.url}/health/ready")
        yield running
