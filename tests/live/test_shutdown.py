"""How the server ends: at any moment, with code 0, and no answer that looks whole but is not."""

import asyncio
import json
import os
import random
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import httpx
import pytest
from websockets.asyncio.client import connect

from tests.serving import (
    ServerProcess,
    clean_environment,
    server_process,
    wait_for_status,
)

SPEECH: Final = "/v1/audio/speech"
LONG_TEXT: Final = " ".join(
    f"This is sentence number {number} of a story." for number in range(150)
)
END_S: Final = 20.0
"""In which a server must have ended that has nothing to wait for; the machine may be busy."""

NUM_RESTARTS: Final = 20
SEED: Final = 20_261_124

MAX_CHARS: Final = {"SOPRANO_SPEECH__MAX_CHARS": "100000"}


def body(text: str = LONG_TEXT, **fields: Any) -> dict[str, Any]:
    return {"input": text, "response_format": "wav", **fields}


@pytest.fixture
def starting(tmp_path: Path) -> Iterator[subprocess.Popen[bytes]]:
    """A server whose voice takes a minute to load: a package that shadows it sees to that."""
    (tmp_path / "hibari.py").write_text("import time; time.sleep(60)")
    process = subprocess.Popen(
        [sys.executable, "-m", "app", "serve", "--port", "0", "--backend", "embedded"],
        stderr=subprocess.PIPE,
        env=clean_environment({"PYTHONPATH": str(tmp_path)}),
    )
    yield process
    process.kill()
    process.communicate()


@pytest.mark.skipif(sys.platform != "linux", reason="looks into /proc")
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_in_the_first_moments_ends_it(
    starting: subprocess.Popen[bytes], number: signal.Signals
) -> None:
    status = Path(f"/proc/{starting.pid}/status")
    while not catches(status.read_text(), signal.SIGTERM):
        time.sleep(0.001)
    starting.send_signal(number)
    assert starting.wait(END_S) == 0
    assert b"Traceback" not in (starting.stderr.read() if starting.stderr else b"")


def catches(status: str, number: signal.Signals) -> bool:
    """Whether a process has a handler for a signal, from its `status` in /proc."""
    (line,) = [line for line in status.splitlines() if line.startswith("SigCgt:")]
    return bool(int(line.split()[1], 16) >> (number - 1) & 1)


@pytest.mark.parametrize("delay_s", [0.3, 1.0, 2.0])
def test_a_signal_while_it_starts_or_loads_ends_it(
    starting: subprocess.Popen[bytes], delay_s: float
) -> None:
    time.sleep(delay_s)
    starting.send_signal(signal.SIGTERM)
    assert starting.wait(END_S) == 0
    assert b"Traceback" not in (starting.stderr.read() if starting.stderr else b"")


def test_while_it_drains_it_says_so_and_finishes_what_runs(tmp_path: Path) -> None:
    with server_process(tmp_path / "log", environ=MAX_CHARS) as server:
        wait_for_status(f"{server.url}/health/ready")
        with httpx.stream("POST", server.url + SPEECH, json=body(), timeout=60) as answer:
            parts = answer.iter_raw()
            next(parts)
            os.kill(server.pid, signal.SIGTERM)
            wait_for_draining(server)
            refused = httpx.post(server.url + SPEECH, json={"input": "Too late."})
            assert refused.status_code == 503
            assert refused.json()["error"]["code"] == "server_draining"
            assert httpx.get(f"{server.url}/health/live").status_code == 200
            rest = b"".join(parts)
        assert len(rest) > 1_000_000
        assert server.exit_code() == 0
        assert [event["outcome"] for event in server.log_events(event="speech.ended")] == [
            "completed"
        ]
        assert server.log_events(level="error") == []


def wait_for_draining(server: ServerProcess) -> None:
    for _ in range(200):
        answer = httpx.get(f"{server.url}/health/ready")
        if (answer.status_code, answer.json()["status"]) == (503, "draining"):
            return
        time.sleep(0.01)
    raise AssertionError("it does not say that it drains")


@pytest.mark.parametrize("num_signals", [1, 2])
def test_what_takes_too_long_is_cut_and_a_second_signal_does_not_wait_for_it(
    tmp_path: Path, num_signals: int
) -> None:
    """A client that reads nothing would make it wait for ever."""
    limit_s = 1 if num_signals == 1 else 3_600
    environ = {**MAX_CHARS, "SOPRANO_SERVER__SHUTDOWN_S": str(limit_s)}
    with server_process(tmp_path / "log", environ=environ) as server:
        wait_for_status(f"{server.url}/health/ready")
        with httpx.stream("POST", server.url + SPEECH, json=body(), timeout=60) as answer:
            parts = answer.iter_raw()
            next(parts)
            for _ in range(num_signals):
                os.kill(server.pid, signal.SIGTERM)
                time.sleep(0.3)
            assert server.exit_code() == 0
            with pytest.raises(httpx.TransportError):
                b"".join(parts)
        assert len(server.log_events(event="server.cut")) == 1
        assert server.log_events(level="error") == []


async def test_a_socket_that_nobody_reads_is_left_when_its_time_is_over(tmp_path: Path) -> None:
    environ = {**MAX_CHARS, "SOPRANO_SERVER__SHUTDOWN_S": "1"}
    with server_process(tmp_path / "log", environ=environ) as server:
        wait_for_status(f"{server.url}/health/ready")
        address = server.url.replace("http", "ws", 1) + f"{SPEECH}/stream"
        async with connect(address, max_queue=1) as connection:
            for message in ({"type": "text", "text": LONG_TEXT}, {"type": "end"}):
                await connection.send(json.dumps(message))
            await asyncio.sleep(3)  # by then more has come than the system keeps for a client
            os.kill(server.pid, signal.SIGTERM)
            assert await asyncio.to_thread(server.exit_code) == 0
            connection.transport.abort()
        assert server.log_events(level="error") == []


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_signals_until_the_very_end_do_not_change_the_exit_code(
    tmp_path: Path, number: signal.Signals
) -> None:
    with server_process(tmp_path / "log", "--backend", "embedded") as server:
        wait_for_status(f"{server.url}/health/ready")
        while server.is_running():
            os.kill(server.pid, number)
            time.sleep(0.001)
        assert server.exit_code() == 0
        assert server.log_events(level="error") == []


SHORTER_TEXT: Final = LONG_TEXT[:600]
REQUESTS: Final = (
    body(SHORTER_TEXT, response_format="wav"),
    body(SHORTER_TEXT, response_format="pcm"),
    body(SHORTER_TEXT, response_format="mp3"),
    body(SHORTER_TEXT, response_format="mp3", stream=False),
    body(SHORTER_TEXT, response_format="flac", stream_format="sse"),
)


@pytest.mark.nightly
@pytest.mark.timeout(600)
async def test_twenty_restarts_under_load_leave_no_answer_that_looks_whole_but_is_not(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    rng = random.Random(SEED)
    known = await speak_all_alone(tmp_path / "alone")
    tally: Counter[str] = Counter()
    for number in range(NUM_RESTARTS):
        tally.update(await restart_under_load(tmp_path / f"log{number}", known, rng))
    with capsys.disabled():
        print(f"\n{NUM_RESTARTS} restarts: {dict(tally)}")
    assert tally["wrong"] == 0
    assert tally["whole"] > 0
    assert tally["cut"] > 0


async def speak_all_alone(log_path: Path) -> list[bytes]:
    """What each request is answered when nothing disturbs it."""
    with server_process(log_path, environ=MAX_CHARS) as server:
        async with httpx.AsyncClient(base_url=server.url, timeout=60) as client:
            return [(await client.post(SPEECH, json=json)).content for json in REQUESTS]


async def restart_under_load(
    log_path: Path, known: list[bytes], rng: random.Random
) -> Counter[str]:
    """How the answers ended that ran when the server was stopped, at a random moment."""
    shutdown_s = rng.choice([0, 0, 1, 30])
    environ = {**MAX_CHARS, "SOPRANO_SERVER__SHUTDOWN_S": str(shutdown_s)}
    with server_process(log_path, environ=environ) as server:
        wait_for_status(f"{server.url}/health/ready")
        asking = [
            asyncio.create_task(ask(server, index % len(REQUESTS), known, rng.random() * 0.5))
            for index in range(2 * len(REQUESTS))
        ]
        await asyncio.sleep(rng.random() * 1.5)
        os.kill(server.pid, signal.SIGTERM)
        outcomes = await asyncio.gather(*asking)
        assert await asyncio.to_thread(server.exit_code) == 0
        assert server.log_events(level="error") == []
    return Counter(outcomes)


async def ask(server: ServerProcess, index: int, known: list[bytes], delay_s: float) -> str:
    await asyncio.sleep(delay_s)
    async with httpx.AsyncClient(base_url=server.url, timeout=60) as client:
        try:
            answer = await client.post(SPEECH, json=REQUESTS[index])
        except httpx.TransportError:
            return "cut"
    if answer.status_code == 503:
        return "refused"
    return "whole" if answer.content == known[index] else "wrong"
