"""A hundred clients that leave a real server at random moments: how soon it stops, what is left."""

import asyncio
import json
import random
from collections.abc import Callable
from datetime import datetime
from pathlib import Path
from time import perf_counter, time
from typing import Any, Final

import httpx
import numpy as np
import psutil
import pytest

from app.adapters.encoding.encoders import StreamingEncoders
from app.adapters.speech.soprano.model import SopranoModel
from app.adapters.speech.soprano.onnx.engine import OnnxEngine
from tests.serving import (
    WITHOUT_CACHE,
    Fakes,
    ServerProcess,
    server_process,
    serving,
    wait_for_status,
)
from tests.soprano_models import build_soprano

SPEECH: Final = "/v1/audio/speech"
SEED: Final = 20_261_124
NUM_DISCONNECTS: Final = 100
MAX_P99_S: Final = 2.0
"""Of the time until the work has stopped; some 0.03 s on a machine that does nothing else."""

PATIENCE_S: Final = 20.0

KINDS: Final[tuple[dict[str, Any], ...]] = (
    {"response_format": "pcm"},
    {"response_format": "mp3"},
    {"response_format": "mp3", "stream_format": "sse"},
    {"response_format": "wav", "stream": False},
)


def request(number: int, kind: dict[str, Any], text: str) -> bytes:
    body = json.dumps({"input": f"Number {number}. {text}", **kind}).encode()
    head = (
        f"POST {SPEECH} HTTP/1.1\r\nhost: localhost\r\nx-request-id: left-{number}\r\n"
        f"content-type: application/json\r\ncontent-length: {len(body)}\r\n\r\n"
    )
    return head.encode() + body


async def leave(server_port: int, number: int, rng: random.Random, text: str) -> float:
    """Ask, wait for the first bytes or for some time, and go; when that was."""
    reader, writer = await asyncio.open_connection("127.0.0.1", server_port)
    kind = KINDS[number % len(KINDS)]
    writer.write(request(number, kind, text))
    if number % 3 and kind.get("stream", True):
        await asyncio.wait_for(reader.read(1_000), PATIENCE_S)
    else:
        await asyncio.sleep(rng.random() * 0.1)
    if number % 2:
        writer.transport.abort()
    else:
        writer.close()
    return time()


def describe(took_s: list[float]) -> str:
    p50, p99 = np.quantile(took_s, [0.5, 0.99]) * 1e3
    return f"{len(took_s)} disconnects, stopped after {p50:.1f} ms (p50), {p99:.1f} ms (p99)"


async def test_the_embedded_voice_stops_and_nothing_is_left(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    rng = random.Random(SEED)
    text = "This is one of the sentences of a longer story. " * 60
    with server_process(tmp_path / "log", "--backend", "embedded", environ=WITHOUT_CACHE) as server:
        wait_for_status(f"{server.url}/health/ready")
        await answer_whole(server.url)
        process = psutil.Process(server.pid)
        num_files = process.num_fds()
        took_s = []
        for number in range(NUM_DISCONNECTS):
            left_at = await leave(server.port, number, rng, text)
            took_s.append(await ended_at(server, number) - left_at)
        async with asyncio.timeout(PATIENCE_S):
            while process.num_fds() > num_files:
                await asyncio.sleep(0.05)
        await answer_whole(server.url)
        outcomes = [event.get("outcome") for event in server.log_events()]
        assert server.log_events(level="error") == []
    with capsys.disabled():
        print(f"\nembedded voice: {describe(took_s)}")
    assert outcomes.count("cancelled") > NUM_DISCONNECTS / 2
    assert outcomes.count("completed") == 2
    assert float(np.quantile(took_s, 0.99)) < MAX_P99_S


async def ended_at(server: ServerProcess, number: int) -> float:
    """When the server was done with a request, by the clock of this machine."""
    async with asyncio.timeout(PATIENCE_S):
        while True:
            for event in server.log_events():
                is_mine = event.get("request_id") == f"left-{number}"
                if is_mine and event["event"] == "http.request":
                    return datetime.fromisoformat(str(event["timestamp"])).timestamp()
            await asyncio.sleep(0.01)


async def answer_whole(url: str) -> None:
    async with httpx.AsyncClient(base_url=url, timeout=60) as client:
        answer = await client.post(SPEECH, json={"input": "All is well."})
        assert answer.status_code == 200


async def test_the_engine_stops_within_a_few_steps_and_nothing_is_left(
    make_checkpoint: Callable[..., Path], capsys: pytest.CaptureFixture[str]
) -> None:
    rng = random.Random(SEED)
    model = build_soprano("onnx", make_checkpoint(tokens_per_sentence=200))
    fakes = Fakes()
    fakes.model = model  # type: ignore[assignment] # the one that is not faked
    fakes.encoders = StreamingEncoders()  # type: ignore[assignment]
    took_s = []
    async with serving(fakes.app()) as url:
        await answer_whole(url)
        engine = engine_of(model)
        for number in range(NUM_DISCONNECTS):
            await leave(httpx.URL(url).port or 0, number, rng, "And one more sentence. " * 3)
            took_s.append(await stop_of(engine))
        assert not engine._requests
    with capsys.disabled():
        print(f"\nonnx engine: {describe(took_s)}")
    assert float(np.quantile(took_s, 0.99)) < MAX_P99_S


async def stop_of(engine: OnnxEngine) -> float:
    """Seconds until the engine has nothing to do."""
    left_at = perf_counter()
    async with asyncio.timeout(PATIENCE_S):
        while engine._requests:
            await asyncio.sleep(0.001)
    return perf_counter() - left_at


def engine_of(model: SopranoModel) -> OnnxEngine:
    assert isinstance(model.engine, OnnxEngine)
    return model.engine
