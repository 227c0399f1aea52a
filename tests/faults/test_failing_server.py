"""The life of the breaker in a server that is a process of its own, on the machine's clock."""

import time
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from tests.serving import ServerProcess, server_process, wait_for_status

SPEECH = "/v1/audio/speech"
WAIT_S = 20.0


class FailingServer:
    """A server, and the file that says how its voice fails."""

    def __init__(self, process: ServerProcess, fault: Path) -> None:
        self.process = process
        self._fault = fault

    def fail(self, how: str) -> None:
        self._fault.write_text(how)

    def ask(self) -> tuple[int, str]:
        """Status and error code of a request."""
        answer = httpx.post(f"{self.process.url}{SPEECH}", json={"input": "Hi."}, timeout=WAIT_S)
        return answer.status_code, "" if answer.is_success else answer.json()["error"]["code"]

    def breaker(self) -> str:
        return str(httpx.get(f"{self.process.url}/health/ready").json()["breaker"])

    def until_breaker_is(self, state: str) -> None:
        deadline = time.monotonic() + WAIT_S
        while self.breaker() != state:
            assert time.monotonic() < deadline, state
            time.sleep(0.02)

    def changes(self) -> list[object]:
        return [each["new"] for each in self.process.log_events() if is_change(each)]


def is_change(event: dict[str, object]) -> bool:
    return event["event"] == "breaker.changed"


@pytest.fixture
def server(tmp_path: Path) -> Iterator[FailingServer]:
    fault = tmp_path / "fault"
    fault.write_text("")
    environ = {
        "SPEECH_FAULT": str(fault),
        "SOPRANO_RESILIENCE__CHUNK_TIMEOUT_S": "0.5",
    }
    with server_process(
        tmp_path / "server.log", "--backend", "embedded",
        environ=environ, entry="tests.faults.failing_server",
    ) as process:  # fmt: skip
        wait_for_status(f"{process.url}/health/ready")
        yield FailingServer(process, fault)


@pytest.mark.parametrize(
    ("how", "answer"), [("raise", (500, "synthesis_failed")), ("hang", (504, "speech_timeout"))]
)
def test_the_breaker_opens_tries_and_closes_by_itself(
    server: FailingServer, how: str, answer: tuple[int, str]
) -> None:
    assert server.ask() == (200, "")
    server.fail(how)
    answers = [server.ask() for _ in range(6)]
    assert answers[0] == answer
    assert answers[-1] == (503, "engine_unavailable")
    assert set(answers) == {answer, (503, "engine_unavailable")}
    server.fail("")
    server.until_breaker_is("closed")
    assert server.ask() == (200, "")
    changes = server.changes()
    assert changes[:2] == ["open", "half_open"]
    assert changes[-2:] == ["half_open", "closed"]
    page = httpx.get(f"{server.process.url}/metrics").text
    assert "soprano_breaker_state 0.0" in page
