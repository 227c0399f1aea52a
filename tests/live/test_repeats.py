"""A server that keeps what it has spoken, over a restart as well."""

from pathlib import Path

import httpx

from tests.serving import ServerProcess, server_process, wait_for_status

SPEECH = "/v1/audio/speech"
BODY = {"input": "Say this once. Then say it again.", "response_format": "wav"}


def ready(server: ServerProcess) -> ServerProcess:
    wait_for_status(f"{server.url}/health/ready")
    return server


def post(server: ServerProcess) -> httpx.Response:
    return httpx.post(server.url + SPEECH, json=BODY, timeout=60)


def test_what_is_asked_again_is_not_spoken_again_not_even_after_a_restart(tmp_path: Path) -> None:
    environ = {"SOPRANO_CACHE__DIRECTORY": str(tmp_path / "kept")}
    arguments = ("--backend", "embedded")
    with server_process(tmp_path / "first.log", *arguments, environ=environ) as running:
        first, second = post(ready(running)), post(running)
        metrics = httpx.get(f"{running.url}/metrics").text.splitlines()
        ended = [e["cache"] for e in running.wait_for_events(2, event="speech.ended")]
    with server_process(tmp_path / "second.log", *arguments, environ=environ) as running:
        third = post(ready(running))
    assert first.status_code == 200
    assert first.headers["cache-status"] == "soprano; fwd=miss; stored"
    assert second.headers["cache-status"] == "soprano; hit"
    assert third.headers["cache-status"] == "soprano; hit"
    assert first.content == second.content == third.content
    assert ended == ["miss", "hit"]
    assert 'soprano_cache_requests_total{result="hit"} 1.0' in metrics
    (size,) = [line for line in metrics if line.startswith("soprano_cache_bytes ")]
    assert 100_000 < float(size.split()[1]) < 50_000_000
