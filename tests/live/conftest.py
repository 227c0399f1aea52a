"""One server with the embedded voice for all tests that only talk to it.

It keeps nothing, so that what is asked twice is spoken twice.
"""

from collections.abc import Iterator

import pytest

from tests.serving import WITHOUT_CACHE, ServerProcess, server_process, wait_for_status


@pytest.fixture(scope="session")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServerProcess]:
    log_path = tmp_path_factory.mktemp("live") / "server.log"
    with server_process(log_path, environ=WITHOUT_CACHE) as running:
        wait_for_status(f"{running.url}/health/ready")
        yield running
