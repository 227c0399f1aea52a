"""The speech socket with real models behind it."""

import asyncio
import random
import socket
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import httpx
import msgspec
import numpy as np
import psutil
import pytest
from websockets.asyncio.client import ClientConnection, connect
from websockets.frames import Frame, Opcode

from app.adapters.encoding.encoders import StreamingEncoders
from app.adapters.speech.soprano.onnx.engine import OnnxEngine
from tests.held_call import HeldCall
from tests.listening import decode_pcm
from tests.live_client import LiveClient
from tests.serving import Fakes, ServerProcess, server_process, serving, wait_for_status
from tests.socket_handshake import HANDSHAKE
from tests.soprano_models import build_soprano

PATH = "/v1/audio/speech/stream"
SENTENCES = ["The first sentence is written word by word.", "The second one comes after it."]
NUM_CONNECTIONS = 100
PCM_RATE = 24_000
SEED = 20_261_124


def connecting(url: str) -> connect:
    return connect(url.replace("http", "ws", 1) + PATH)


@asynccontextmanager
async def connected(url: str) -> AsyncIterator[LiveClient]:
    async with connecting(url) as connection:
        client = LiveClient(connection)
        await client.until("ready")
        yield client


def pieces_of(text: str) -> list[str]:
    """As a language model writes: words with the space before them."""
    first, *others = text.split(" ")
    return [first, *(f" {word}" for word in others)]


async def test_the_first_sound_comes_before_the_second_sentence_is_whole(
    server: ServerProcess,
) -> None:
    pieces = pieces_of(" ".join(SENTENCES))
    num_first = len(SENTENCES[0].split()) + 1
    async with connected(server.url) as client:
        for piece in pieces[:num_first]:
            await client.send("text", text=piece)
        first, sound, _ = await client.until("caption")
        assert first["text"] == SENTENCES[0]
        assert len(sound) > 24_000
        for piece in pieces[num_first:]:
            await client.send("text", text=piece)
        await client.send("end")
        ended, rest, others = await client.until("utterance.ended")
    assert [message["text"] for message in others] == SENTENCES[1:]
    samples = decode_pcm(sound + rest)
    assert ended["num_samples"] == len(samples)
    assert np.abs(samples).max() > 0.05


async def test_what_is_written_live_sounds_as_what_is_sent_whole(server: ServerProcess) -> None:
    text = " ".join(SENTENCES)
    async with connected(server.url) as client:
        for piece in pieces_of(text):
            await client.send("text", text=piece)
        await client.send("end")
        _, sound, _ = await client.until("utterance.ended")
    async with httpx.AsyncClient(base_url=server.url, timeout=60) as http:
        body = {"input": text, "response_format": "pcm"}
        answer = await http.post("/v1/audio/speech", json=body)
    assert sound == answer.content


async def test_a_cancel_frees_the_engine_within_two_tokens(
    make_checkpoint: Callable[..., Path],
) -> None:
    model = build_soprano("onnx", make_checkpoint(tokens_per_sentence=480))
    fakes = Fakes()
    fakes.model = model  # type: ignore[assignment] # the one that is not faked
    fakes.encoders = StreamingEncoders()  # type: ignore[assignment]
    async with serving(fakes.app()) as url, connected(url) as client:
        await client.send("text", text=f"{SENTENCES[0]} And")
        sound = await until_sound(client)
        assert isinstance(model.engine, OnnxEngine)
        steps = HeldCall(model.engine._language_model, "decode", 0)
        await client.send("cancel")
        cancelled, more, _ = await client.until("utterance.cancelled")
        num_tokens = steps.num_calls
        await asyncio.sleep(0.2)
        assert steps.num_calls <= num_tokens + 2
        assert not model.engine._requests
    num_samples = len(sound + more) // 2
    assert cancelled["num_samples"] == num_samples
    assert cancelled["audio_s"] == pytest.approx(num_samples / PCM_RATE)
    assert cancelled["text"] == ""
    assert cancelled["text_under_way"] == SENTENCES[0].lower()


async def until_sound(client: LiveClient) -> bytes:
    while not isinstance(message := await client.receive(), bytes):
        pass
    return message


async def test_half_a_connection_closed_during_playback_is_no_error(tmp_path: Path) -> None:
    messages = [
        Frame(Opcode.TEXT, text.encode()).serialize(mask=True)
        for text in (
            '{"type": "configure", "response_format": "pcm", "sample_rate": 48000}',
            msgspec.json.encode({"type": "text", "text": " ".join(SENTENCES * 40)}).decode(),
            '{"type": "end"}',
        )
    ]
    with server_process(tmp_path / "log", "--backend", "embedded") as server:
        wait_for_status(f"{server.url}/health/ready")
        for _ in range(5):
            with socket.socket() as connection:
                connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4_096)
                connection.settimeout(30)
                connection.connect(("127.0.0.1", httpx.URL(server.url).port))
                connection.sendall(HANDSHAKE + b"".join(messages))
                await asyncio.sleep(0.6)  # until more is sent than the client takes
                connection.shutdown(socket.SHUT_WR)
                while connection.recv(65_536):
                    pass
    assert '"level":"error"' not in (tmp_path / "log").read_text()


async def test_connections_dropped_at_random_leave_nothing_behind(tmp_path: Path) -> None:
    rng = random.Random(SEED)
    with server_process(tmp_path / "log") as running:
        wait_for_status(f"{running.url}/health/ready")
        await one_utterance(running.url)
        process = psutil.Process(running.pid)
        before = process.num_fds(), process.num_threads()
        for _ in range(NUM_CONNECTIONS // 20):
            await asyncio.gather(*(drop_at_random(running.url, rng) for _ in range(20)))
        async with asyncio.timeout(20):
            while process.num_fds() > before[0] or num_ended(running) <= NUM_CONNECTIONS:
                await asyncio.sleep(0.05)
        await one_utterance(running.url)
        assert process.num_threads() <= before[1] + 8  # the pool of worker threads is bounded
        errors = running.log_events(level="error")
    assert errors == []


def num_ended(server: ServerProcess) -> int:
    events = server.log_events()
    return sum(event.get("path") == PATH and event["event"] == "http.request" for event in events)


async def one_utterance(url: str) -> None:
    async with connected(url) as client:
        await client.send("text", text=SENTENCES[0])
        await client.send("end")
        await client.until("utterance.ended")


async def drop_at_random(url: str, rng: random.Random) -> None:
    """Open, write some, listen for a while, and leave in one of three ways."""
    connection: ClientConnection = await connecting(url)
    client = LiveClient(connection)
    await client.until("ready")
    for piece in pieces_of(" ".join(SENTENCES))[: rng.randrange(16)]:
        await client.send("text", text=piece)
    if rng.random() < 0.5:
        await client.send("end")
    await asyncio.sleep(rng.random() * 0.2)
    if rng.random() < 0.3:
        await client.send("cancel")
    if rng.random() < 0.5:
        connection.transport.abort()
        await connection.wait_closed()
    else:
        await connection.close()
