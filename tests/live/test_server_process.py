"""The server as a process: its start, its load, its log, its end."""

import asyncio
import json
import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import httpx
import numpy as np
import pytest

from tests.serving import (
    ServerProcess,
    clean_environment,
    free_port,
    run_console,
    server_process,
    wait_for_status,
)

SPEECH = "/v1/audio/speech"
LONG_TEXT = " ".join(f"This is sentence number {number} of a longer story." for number in range(12))
NUM_PARALLEL = 20
MAX_LIVE_P99_S = 0.1
"""Some 0.02 s on a machine that does nothing else."""


async def test_twenty_requests_at_once_are_answered_as_alone_while_health_answers_at_once(
    server: ServerProcess, capsys: pytest.CaptureFixture[str]
) -> None:
    texts = [f"Request number {number}. {LONG_TEXT}" for number in range(NUM_PARALLEL)]
    async with httpx.AsyncClient(base_url=server.url, timeout=120) as client:

        async def speak(text: str) -> bytes:
            answer = await client.post(SPEECH, json={"input": text, "response_format": "mp3"})
            assert answer.status_code == 200
            return answer.content

        probe = HealthProbe(server.url)
        probing = asyncio.create_task(asyncio.to_thread(probe.run))
        try:
            together = await asyncio.gather(*(speak(text) for text in texts))
        finally:
            probe.stop()
            await probing
        alone = [await speak(text) for text in texts]
    assert together == alone
    p99 = float(np.quantile(probe.latencies_s, 0.99))
    with capsys.disabled():
        print(f"\n/health/live under load: {len(probe.latencies_s)} probes, p99 {p99 * 1e3:.1f} ms")
    assert len(probe.latencies_s) >= 50
    assert p99 < MAX_LIVE_P99_S


class HealthProbe:
    """Asks /health/live over and over from a thread of its own, on one connection."""

    def __init__(self, url: str) -> None:
        self.latencies_s: list[float] = []
        self._url = url
        self._is_over = False

    def run(self) -> None:
        with httpx.Client(base_url=self._url) as client:
            while not self._is_over:
                started = time.perf_counter()
                assert client.get("/health/live").status_code == 200
                self.latencies_s.append(time.perf_counter() - started)
                time.sleep(0.01)

    def stop(self) -> None:
        self._is_over = True


def test_one_event_per_request_has_its_figures_and_never_its_text(server: ServerProcess) -> None:
    secret = "xylophonic quintessence"
    request = {"input": f"The {secret} is here.", "voice": "nova", "response_format": "opus"}
    answer = httpx.post(server.url + SPEECH, json=request, headers={"x-request-id": "test-log-1"})
    assert answer.status_code == 200
    (event,) = server.wait_for_events(event="speech.ended", request_id="test-log-1")
    assert event["outcome"] == "completed"
    assert event["num_chars"] == len(request["input"])
    assert (event["voice"], event["format"]) == ("heart", "opus")
    for field in ("audio_s", "first_audio_s", "total_s", "real_time_factor"):
        assert float(str(event[field])) > 0
    assert "xylophonic" not in server.log_path.read_text()


def test_an_empty_bearer_token_is_fine(server: ServerProcess) -> None:
    """Some chat front ends send `Authorization: Bearer ` with nothing behind it."""
    body = b'{"input":"Hi."}'
    head = f"POST {SPEECH} HTTP/1.1\r\nhost: localhost\r\nauthorization: Bearer \r\n"
    head += "connection: close\r\ncontent-type: application/json\r\n"
    head += f"content-length: {len(body)}\r\n\r\n"
    with socket.create_connection(("127.0.0.1", server.port), timeout=10) as connection:
        connection.sendall(head.encode() + body)
        assert connection.recv(100).startswith(b"HTTP/1.1 200 ")


@pytest.mark.parametrize(
    ("arguments", "environ", "parts"),
    [
        (["serve", "--port", "70000"], {}, ["server.port", "70000", "65535", "command line"]),
        (["serve", "--backend", "magic"], {}, ["model.backend", "magic", "auto, onnx"]),
        (["config"], {"SOPRANO_LOG__LEVEL": "loud"}, ["log.level", "SOPRANO_LOG__LEVEL"]),
        (["serve", "--config", "nowhere.toml"], {}, ["nowhere.toml"]),
    ],
)
def test_a_bad_setting_ends_the_start_with_one_line(
    arguments: list[str], environ: dict[str, str], parts: list[str]
) -> None:
    done = run_console(*arguments, environ=environ)
    assert done.returncode == 2
    assert len(done.stderr.decode().strip().splitlines()) == 1
    for part in parts:
        assert part in done.stderr.decode()


def test_a_model_that_cannot_load_ends_the_process_with_one_clear_line(tmp_path: Path) -> None:
    """A package that shadows the voice's and breaks stands for a broken installation."""
    (tmp_path / "hibari.py").write_text("raise ImportError('the voice is damaged')")
    done = run_console("serve", "--port", "0", environ={"PYTHONPATH": str(tmp_path)})
    assert done.returncode == 1
    events = [json.loads(line) for line in done.stderr.decode().splitlines()]
    failures = [event for event in events if event["level"] in ("error", "critical")]
    assert [event["event"] for event in failures] == ["model.load_failed"]
    names = [event["event"] for event in events]
    assert "server.listening" not in names[names.index("model.load_failed") :]
    assert "the voice is damaged" in failures[0]["reason"]
    assert "Traceback" not in done.stderr.decode()


def test_a_port_in_use_ends_the_start_with_one_clear_line(server: ServerProcess) -> None:
    done = run_console("serve", "--backend", "embedded", "--port", str(server.port))
    assert done.returncode == 1
    (event,) = [json.loads(line) for line in done.stderr.decode().splitlines()][-1:]
    assert (event["event"], event["level"]) == ("server.bind_failed", "error")
    assert (event["host"], event["port"]) == ("127.0.0.1", server.port)
    assert "address already in use" in event["reason"]
    assert "library.message" not in done.stderr.decode()
    assert "model.loaded" not in done.stderr.decode()


def test_a_stop_signal_lets_a_running_answer_finish(tmp_path: Path) -> None:
    with server_process(tmp_path / "server.log") as server:
        with httpx.stream("POST", server.url + SPEECH, json={"input": LONG_TEXT}) as answer:
            parts = answer.iter_raw()
            next(parts)
            os.kill(server.pid, signal.SIGTERM)
            rest = b"".join(parts)
        assert len(rest) > 10_000
        outcomes = [event["outcome"] for event in server.wait_for_events(event="speech.ended")]
    assert outcomes == ["completed"]
    assert server.exit_code() == 0


def test_a_log_that_nobody_reads_stops_nothing() -> None:
    port = free_port()
    command = ["-m", "app", "serve", "--backend", "embedded", "--port", str(port)]
    process = subprocess.Popen(
        [sys.executable, *command, "--log-level", "debug"],
        stderr=subprocess.PIPE,
        env=clean_environment({}),
    )
    with process:
        try:
            url = f"http://127.0.0.1:{port}"
            wait_for_status(f"{url}/health/ready")
            with httpx.Client(base_url=url, timeout=5) as client:
                for _ in range(1_000):  # more lines than a pipe holds
                    assert client.get("/health/live").status_code == 200
            process.send_signal(signal.SIGTERM)
            assert process.wait(20) == 0
        finally:
            process.kill()


@pytest.mark.skipif(not socket.has_dualstack_ipv6(), reason="no IPv6 here")
def test_any_address_of_ipv6_is_any_of_ipv4_too(tmp_path: Path) -> None:
    with server_process(tmp_path / "server.log", "--host", "::") as server:
        wait_for_status(f"{server.url}/health/ready")
        assert httpx.get(f"http://[::1]:{server.port}/health/live").status_code == 200
        (event,) = server.log_events(event="server.listening")
        assert event["url"] == f"http://[::]:{server.port}"
