"""After all families: enough was sent, the server is well, and its log is clean. Runs last."""

from collections import Counter
from typing import Final

import httpx
import pytest

from tests.fuzz.expectations import TOKEN
from tests.serving import ServerProcess

pytestmark = [pytest.mark.live, pytest.mark.slow]

MIN_REQUESTS: Final = 10_000

FAMILIES: Final = {"broken HTTP", "openapi", "texts"}


def skip_unless_whole(tally: Counter[str]) -> None:
    if set(tally) != FAMILIES:
        pytest.skip("only a part of the folder was run")


def test_the_families_together_are_large_enough(
    tally: Counter[str], capsys: pytest.CaptureFixture[str]
) -> None:
    skip_unless_whole(tally)
    with capsys.disabled():
        print(f"\nin all: {tally.total()} requests")
    assert tally.total() >= MIN_REQUESTS


def test_the_server_still_speaks(server: ServerProcess) -> None:
    assert httpx.get(f"{server.url}/health/live").json() == {"status": "alive"}
    assert httpx.get(f"{server.url}/health/ready").status_code == 200
    answer = httpx.post(f"{server.url}/v1/audio/speech", json={"input": "Good night."}, timeout=30)
    assert answer.status_code == 200
    assert answer.content


def test_the_log_has_no_error(server: ServerProcess) -> None:
    events = server.log_events()
    errors = [event for event in events if event["level"] in ("error", "critical")]
    assert not errors, errors[:5]


def test_the_log_has_no_traceback(server: ServerProcess) -> None:
    log = server.log_path.read_text()
    assert "Traceback" not in log
    assert '"exception"' not in log


def test_the_log_has_no_answer_that_is_a_failure(
    server: ServerProcess, tally: Counter[str]
) -> None:
    skip_unless_whole(tally)
    answered = [event for event in server.log_events() if event["event"] == "http.request"]
    failures = [
        event
        for event in answered
        if str(event["status"]) >= "500" and event["path"] != "/health/ready"  # 503 while it loads
    ]
    assert not failures, (len(failures), failures[:5])


def test_the_log_has_every_answer_and_no_text(server: ServerProcess, tally: Counter[str]) -> None:
    answered = [event for event in server.log_events() if event["event"] == "http.request"]
    assert len(answered) >= tally["openapi"] + tally["texts"]
    assert TOKEN not in server.log_path.read_text()
