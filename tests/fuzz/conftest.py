"""One live server for the tests of this folder in one process; in the end it must be well."""

from collections.abc import Iterator

import httpx
import pytest

from tests.fuzz.expectations import TOKEN
from tests.serving import PATIENT, ServerProcess, server_process, wait_for_status


@pytest.fixture(scope="session")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServerProcess]:
    """A server with the voice that ships inside, ready to speak."""
    log_path = tmp_path_factory.mktemp("fuzz") / "server.log"
    with server_process(log_path, "--backend", "embedded", environ=PATIENT) as process:
        wait_for_status(f"{process.url}/health/ready")
        yield process
        assert_still_speaks(process)
        assert_log_is_clean(process)


def assert_still_speaks(server: ServerProcess) -> None:
    assert httpx.get(f"{server.url}/health/live").json() == {"status": "alive"}
    assert httpx.get(f"{server.url}/health/ready").status_code == 200
    answer = httpx.post(f"{server.url}/v1/audio/speech", json={"input": "Good night."}, timeout=30)
    assert answer.status_code == 200
    assert answer.content


def assert_log_is_clean(server: ServerProcess) -> None:
    """No error, no traceback, no answer that is a failure, no text that was sent."""
    events = server.log_events()
    assert [event for event in events if event["level"] in ("error", "critical")][:5] == []
    failures = [
        event
        for event in events
        if event["event"] == "http.request"
        and str(event["status"]) >= "500"
        and event["path"] != "/health/ready"  # 503 while it loads
    ]
    assert failures[:5] == []
    log = server.log_path.read_text()
    assert "Traceback" not in log
    assert '"exception"' not in log
    assert TOKEN not in log
