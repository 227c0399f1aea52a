"""What users of such servers reported, against a real one; the numbers are those of the reports."""

import io
import os
import secrets
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import av
import httpx
import msgspec
import numpy as np
import pytest
from websockets.asyncio.client import connect

from tests.listening import decode_file, decode_pcm
from tests.live_client import LiveClient
from tests.serving import ServerProcess, server_process, wait_for_status

SPEECH: Final = "/v1/audio/speech"
TEXT: Final = "The first sentence is short. [pause:700ms] The second one is a little longer."
POOLED_IDLE_S: Final = 6.0  # longer than the five seconds of many servers


@pytest.fixture
def client(server: ServerProcess) -> Iterator[httpx.Client]:
    with httpx.Client(base_url=server.url, timeout=60, trust_env=False) as client:
        yield client


def speak(client: httpx.Client, **fields: Any) -> httpx.Response:
    answer = client.post(SPEECH, json={"input": TEXT, "stream": False, **fields})
    assert answer.status_code == 200, answer.text
    return answer


def length_in_file(body: bytes) -> float:
    """Seconds as a player shows them before it has decoded anything."""
    with av.open(io.BytesIO(body), "r") as file:
        stream = file.streams.audio[0]
        assert stream.duration is not None
        assert stream.time_base is not None
        first = next(file.demux(stream))
        left_out = min(0, first.pts or 0)  # what is before 0
        return float((stream.duration + left_out) * stream.time_base)


@pytest.mark.parametrize("audio_format", ["flac", "mp3", "m4a", "wav", "opus"])
def test_f09_f34_a_whole_file_has_its_length_and_can_be_sought(
    client: httpx.Client, audio_format: str
) -> None:
    samples = decode_pcm(speak(client, response_format="pcm").content)
    stored = speak(client, response_format=audio_format, store=True).headers["x-stored-file"]
    body = client.get(f"/v1/audio/files/{stored}").content
    frame_s = 1_152 / 24_000  # the longest there is
    expected_s = len(samples) / 24_000
    allowed_s = {"mp3": 2 * frame_s, "opus": 0.02}.get(audio_format, 1e-4)
    assert length_in_file(body) == pytest.approx(expected_s, abs=allowed_s)
    with av.open(io.BytesIO(body), "r") as file:
        file.seek(2_000_000)
        frame = next(file.decode(audio=0))
        assert frame.time is not None
        assert 1.5 < frame.time <= 2.1


def test_f27_health_is_there(client: httpx.Client) -> None:
    assert client.get("/health").status_code == 200
    assert client.get("/health").json()["status"] == "ready"


@pytest.mark.parametrize(
    ("written", "content_type"),
    [("ogg", "audio/ogg"), ("MP3", "audio/mpeg"), (" wav ", "audio/wav"), ("mp4", "audio/mp4")],
)
def test_f28_formats_by_other_names(client: httpx.Client, written: str, content_type: str) -> None:
    assert speak(client, response_format=written).headers["content-type"] == content_type


def test_f31_f32_numbers_as_strings_and_empty_names(client: httpx.Client) -> None:
    plain = speak(client, response_format="pcm", speed=1.2, sample_rate=16_000, seed=1)
    written = speak(
        client,
        response_format="pcm",
        speed="1.2",
        sample_rate="16000",
        seed="1",
        voice="",
        model="",
    )
    assert written.content == plain.content


def test_f38_bytes_that_are_not_utf_8(client: httpx.Client) -> None:
    body = msgspec.json.encode({"input": "Hello."})
    headers = {"content-type": "application/json"}
    answer = client.post(SPEECH, content=b"\xef\xbb\xbf" + body, headers=headers)
    assert answer.status_code == 200
    answer = client.post(SPEECH, content=body.replace(b"o.", b"\xe9."), headers=headers)
    assert answer.status_code == 400
    assert "UTF-8" in answer.json()["error"]["message"]


def test_f39_a_connection_may_be_idle_in_a_pool(server: ServerProcess) -> None:
    limits = httpx.Limits(keepalive_expiry=60)
    with httpx.Client(base_url=server.url, trust_env=False, limits=limits) as pooled:
        addresses = []
        for idle_s in (POOLED_IDLE_S, 0.0):
            stream = pooled.get("/health/live").extensions["network_stream"]
            addresses.append(stream.get_extra_info("client_addr"))
            time.sleep(idle_s)
    assert addresses[0] == addresses[1]


def test_f22_a_player_may_pause(server: ServerProcess) -> None:
    long = " ".join([TEXT.replace("[pause:700ms]", "")] * 40)
    body = {"input": long, "response_format": "pcm"}
    with (
        httpx.Client(base_url=server.url, timeout=60, trust_env=False) as player,
        player.stream("POST", SPEECH, json=body) as answer,
    ):
        parts = answer.iter_raw(65_536)
        received = len(next(parts))
        time.sleep(35)  # the limit was 30
        received += sum(map(len, parts))
    assert received / 48_000 > 100


async def test_f23_text_that_comes_faster_than_it_is_spoken(server: ServerProcess) -> None:
    sentences = [f"This is sentence number {number} of the story." for number in range(150)]
    async with connect(server.url.replace("http", "ws", 1) + SPEECH + "/stream") as connection:
        client = LiveClient(connection)
        await client.until("ready")
        for sentence in sentences:
            await client.send("text", text=f"{sentence} ")
        await client.send("end")
        _, _, messages = await client.until("utterance.ended")
    captions = [message["text"] for message in messages if message["type"] == "caption"]
    assert captions == sentences


def test_f26_the_address_in_the_log_can_be_asked(tmp_path: Path) -> None:
    with server_process(tmp_path / "log", "--backend", "embedded", "--host", "::") as server:
        listening = next(
            event for event in server.log_events() if event["event"] == "server.listening"
        )
        wait_for_status(f"{listening['url']}/health/live")
        port = httpx.URL(listening["url"]).port
        wait_for_status(f"http://127.0.0.1:{port}/health/live")


NOBODY: Final = ("setpriv", "--reuid=54321", "--regid=54321", "--clear-groups")


@pytest.mark.parametrize("can_write", [True, False])
def test_f37_a_user_without_name_and_home_gets_speech(tmp_path: Path, *, can_write: bool) -> None:
    trial = [*NOBODY, sys.executable, "-c", "import app"]
    if os.geteuid() or subprocess.run(trial, check=False, capture_output=True).returncode:
        pytest.skip("another user cannot be had, or cannot run this checkout")
    kept = Path("/tmp") / f"soprano-{secrets.token_hex(8)}" if can_write else tmp_path / "kept"
    environ = {"HOME": "/nonexistent", "SOPRANO_STORE__DIRECTORY": str(kept)}
    try:
        with (
            server_process(
                tmp_path / "log", "--backend", "embedded", environ=environ, launcher=NOBODY
            ) as server,
            httpx.Client(base_url=server.url, timeout=60, trust_env=False) as client,
        ):
            answer = speak(client, response_format="wav", store=True)
            assert len(decode_file(answer.content)[0]) > 32_000
            assert ("x-stored-file" in answer.headers) is can_write
            unavailable = server.log_events(event="store.unavailable")
    finally:
        shutil.rmtree(kept, ignore_errors=True)
    assert [event["setting"] for event in unavailable] == ["store.directory"] * (not can_write)


def test_f42_speech_keeps_its_beginning_and_end_in_all_formats(client: httpx.Client) -> None:
    lengths = []
    for audio_format in ("wav", "flac", "mp3", "opus", "aac", "m4a", "webm"):
        samples, rate, _ = decode_file(speak(client, response_format=audio_format).content)
        lengths.append(len(samples) / rate)
        assert np.abs(samples).max() > 0.05
    assert max(lengths) - min(lengths) < 0.1
