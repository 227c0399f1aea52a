"""What voice agents (LiveKit, Pipecat) need of an answer, checked the way they read it."""

import base64
import json
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import av
import httpx
import numpy as np
import pytest
from numpy.typing import NDArray

from app.domain.speech import OPENAI_VOICES
from tests.client_requests import LIVEKIT_MINI_TTS, LIVEKIT_TTS_1, PIPECAT, Recorded, send, sending
from tests.listening import decode_pcm
from tests.serving import ServerProcess

AGENT_RATE = 24_000
PIPECAT_CHUNK = AGENT_RATE // 2 * 2
"""Bytes that Pipecat reads at a time: half a second."""

CONTAINERS = {
    "audio/mpeg": "mp3",
    "audio/aac": "aac",
    "audio/flac": "flac",
    "audio/wav": "wav",
    "audio/ogg": "ogg",
}
"""LiveKit's FFmpeg demuxer for a content type."""

LOW_LATENCY = {
    "probesize": "32",
    "analyzeduration": "0",
    "fflags": "nobuffer+flush_packets",
    "flags": "low_delay",
    "avioflags": "direct",
}
"""LiveKit's options: the demuxer has 32 bytes to know what it reads."""

CODEC_LOSS_S = 0.15
"""What codecs pad, and what FLAC loses at the end when it is read with these options."""


class OneWay:
    """A file that can only be read on, as its parts arrive."""

    def __init__(self, parts: Iterator[bytes]) -> None:
        self._parts = parts
        self._rest = b""

    def read(self, size: int) -> bytes:
        while not self._rest:
            part = next(self._parts, None)
            if part is None:
                return b""
            self._rest = part
        data, self._rest = self._rest[:size], self._rest[size:]
        return data


def hear_as_livekit(parts: Iterator[bytes], content_type: str) -> NDArray[np.float32]:
    """Samples at 24 kHz of a body that is decoded while it arrives."""
    if content_type == "audio/pcm":
        return decode_pcm(b"".join(parts))
    resampler = av.AudioResampler(format="s16", layout="mono", rate=AGENT_RATE)
    with av.open(
        OneWay(parts),
        "r",
        format=CONTAINERS[content_type],
        buffer_size=256,
        options=dict(LOW_LATENCY),
    ) as container:
        decoded = [*container.decode(container.streams.audio[0]), None]
        frames = [frame for each in decoded for frame in resampler.resample(each)]
    return decode_pcm(b"".join(frame.to_ndarray().tobytes() for frame in frames))


def duration_s(server: ServerProcess, recorded: Recorded) -> float:
    """Exact, of the recorded text."""
    body = send(server.url, recorded, response_format="pcm", stream_format="audio").content
    return len(body) / 2 / AGENT_RATE


@pytest.mark.parametrize("audio_format", ["mp3", "opus", "aac", "flac", "wav", "pcm"])
def test_livekit_hears_the_whole_text_while_it_arrives(
    server: ServerProcess, audio_format: str
) -> None:
    with sending(server.url, LIVEKIT_TTS_1, response_format=audio_format) as answer:
        assert answer.status_code == 200
        assert answer.headers["x-request-id"]
        heard = hear_as_livekit(answer.iter_raw(), answer.headers["content-type"])
    assert len(heard) / AGENT_RATE == pytest.approx(
        duration_s(server, LIVEKIT_TTS_1), abs=CODEC_LOSS_S
    )
    assert np.abs(heard).max() > 0.05


def test_livekit_gets_audio_by_its_type_and_no_events_for_tts_1(server: ServerProcess) -> None:
    answer = send(server.url, LIVEKIT_TTS_1)
    assert answer.headers["content-type"] == "audio/mpeg"
    assert "warning" not in answer.headers


@pytest.mark.parametrize("text", [".", "...", "\U0001f600", "\u2026"])
def test_livekit_gets_frames_even_for_a_text_without_a_word(
    server: ServerProcess, text: str
) -> None:
    """No frame at all is an error to it, which it answers with three more requests."""
    with sending(server.url, LIVEKIT_TTS_1, input=text) as answer:
        assert len(hear_as_livekit(answer.iter_raw(), answer.headers["content-type"]))


def test_livekit_is_told_of_a_mistake_by_the_status(server: ServerProcess) -> None:
    answer = send(server.url, LIVEKIT_TTS_1, voice="af_sky")
    assert answer.status_code == 400
    assert answer.json()["error"]["code"] == "voice_not_found"
    assert answer.headers["x-request-id"]


def test_livekits_prewarming_is_answered(server: ServerProcess) -> None:
    assert httpx.get(f"{server.url}/v1/").status_code < 500


def read_events(answer: httpx.Response) -> list[dict[str, Any]]:
    """The events that LiveKit sees: lines that start with exactly `data: `."""
    lines = [line for line in answer.iter_lines() if line.startswith("data: ")]
    return [json.loads(line[6:]) for line in lines if line != "data: [DONE]"]


@pytest.mark.parametrize("audio_format", ["mp3", "opus", "aac", "flac", "wav", "pcm"])
def test_the_deltas_of_livekits_events_are_one_continuous_file(
    server: ServerProcess, audio_format: str
) -> None:
    with sending(server.url, LIVEKIT_MINI_TTS, response_format=audio_format) as answer:
        assert answer.headers["content-type"].partition(";")[0] == "text/event-stream"
        events = read_events(answer)
    parts = [
        base64.b64decode(event["audio"], validate=True)
        for event in events
        if event["type"] == "speech.audio.delta"
    ]
    audio = send(server.url, LIVEKIT_MINI_TTS, response_format=audio_format, stream_format="audio")
    assert b"".join(parts) == audio.content
    assert len(hear_as_livekit(iter(parts), audio.headers["content-type"]))


def test_livekits_events_end_with_the_usage(server: ServerProcess) -> None:
    with sending(server.url, LIVEKIT_MINI_TTS) as answer:
        assert answer.headers["x-request-id"]
        events = read_events(answer)
    assert {event["type"] for event in events[:-1]} == {"speech.audio.delta"}
    assert events[-1]["type"] == "speech.audio.done"
    usage = events[-1]["usage"]
    assert set(usage) == {"input_tokens", "output_tokens", "total_tokens"}
    assert all(type(number) is int for number in usage.values())
    assert usage["output_tokens"] > 0
    assert usage["total_tokens"] == usage["input_tokens"] + usage["output_tokens"]


def test_a_mistake_is_a_status_for_livekit_when_it_asks_for_events_too(
    server: ServerProcess,
) -> None:
    answer = send(server.url, LIVEKIT_MINI_TTS, voice="af_sky")
    assert answer.status_code == 400
    assert answer.headers["content-type"].partition(";")[0] == "application/json"
    assert answer.json()["error"]["param"] == "voice"


@pytest.mark.parametrize("voice", OPENAI_VOICES)
def test_pipecat_hears_each_voice_that_it_allows(server: ServerProcess, voice: str) -> None:
    with sending(server.url, PIPECAT, voice=voice) as answer:
        assert answer.status_code == 200
        assert answer.headers["x-sample-rate"] == str(AGENT_RATE)
        frames = list(answer.iter_bytes(PIPECAT_CHUNK))
    assert all(len(frame) == PIPECAT_CHUNK for frame in frames[:-1])
    assert len(frames[-1]) % 2 == 0
    heard = decode_pcm(b"".join(frames))
    assert 1.0 < len(heard) / AGENT_RATE < 10.0
    assert np.abs(heard).max() > 0.05


@pytest.mark.parametrize("fields", [{"speed": 1.25}, {"instructions": "Whisper."}])
def test_pipecats_optional_fields_are_accepted(
    server: ServerProcess, fields: dict[str, object]
) -> None:
    assert send(server.url, PIPECAT, **fields).status_code == 200


def test_pipecats_sentences_go_over_one_connection(server: ServerProcess) -> None:
    with httpx.Client(base_url=server.url, timeout=60) as client:
        for number in range(5):
            answer = client.post(
                "/v1/audio/speech",
                headers=PIPECAT["headers"],
                json={**PIPECAT["body"], "input": f"Sentence number {number}."},
            )
            assert answer.headers.get("connection") != "close"
            assert len(answer.content) > PIPECAT_CHUNK


def test_pipecats_agents_can_speak_at_once(server: ServerProcess) -> None:
    with ThreadPoolExecutor(4) as threads:
        answers = list(threads.map(lambda _: send(server.url, PIPECAT), range(4)))
    assert len({answer.content for answer in answers}) == 1
