"""One live server for the whole folder, and a count of the requests it was sent."""

from collections import Counter
from collections.abc import Iterator

import pytest

from tests.serving import ServerProcess, server_process, wait_for_status


@pytest.fixture(scope="session")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServerProcess]:
    """A server with the voice that ships inside, ready to speak."""
    log_path = tmp_path_factory.mktemp("fuzz") / "server.log"
    with server_process(log_path, "--backend", "embedded") as process:
        wait_for_status(f"{process.url}/health/ready")
        yield process


@pytest.fixture(scope="session")
def tally() -> Counter[str]:
    """Requests sent so far, by family; each module adds its own."""
    return Counter()
