"""What Home Assistant's two integrations need of an answer, checked the way they read it."""

import io
import wave
from concurrent.futures import ThreadPoolExecutor
from typing import Final

import httpx
import numpy as np
import pytest

from tests.client_requests import (
    HOME_ASSISTANT,
    HOME_ASSISTANT_PROBE,
    WYOMING_OPENAI,
    send,
    sending,
)
from tests.listening import CODEC_PADDING, decode_file, decode_pcm
from tests.serving import ServerProcess

PROBE_TIMEOUT_S = 10.0
FIRST_BYTES = 1_024
WYOMING_CHUNK = 2_048

BIT_RATES_KBIT: Final = {
    1: (0, 32, 40, 48, 56, 64, 80, 96, 112, 128, 160, 192, 224, 256, 320),
    2: (0, 8, 16, 24, 32, 40, 48, 56, 64, 80, 96, 112, 128, 144, 160),
}
"""Of layer III, by version 1 or 2 (ISO 11172-3, section 2.4.2.3; ISO 13818-3, section 2.4.2.3)."""


def constant_rate_duration_s(body: bytes) -> float:
    """Length over bit rate, which is what a reader of tags takes where no tag says otherwise."""
    version = 1 if body[1] & 0x18 == 0x18 else 2
    bit_rate = BIT_RATES_KBIT[version][body[2] >> 4] * 1_000
    return len(body) * 8 / bit_rate


def test_home_assistants_probe_is_answered_in_time(server: ServerProcess) -> None:
    answer = httpx.post(
        f"{server.url}/v1/audio/speech",
        headers=HOME_ASSISTANT_PROBE["headers"],
        json=HOME_ASSISTANT_PROBE["body"],
        timeout=PROBE_TIMEOUT_S,
    )
    assert answer.status_code == 200
    assert answer.content


def test_home_assistant_reads_the_duration_off_the_length(server: ServerProcess) -> None:
    """A tag or a Xing frame would be believed instead; a streamed one would be wrong."""
    body = send(server.url, HOME_ASSISTANT).content
    assert not body.startswith(b"ID3")
    assert b"Xing" not in body[:4_096]
    assert b"Info" not in body[:4_096]
    samples, rate, _ = decode_file(body)
    assert constant_rate_duration_s(body) == pytest.approx(
        len(samples) / rate, abs=CODEC_PADDING / rate
    )


def test_home_assistants_instructions_and_extra_payload_are_accepted(
    server: ServerProcess,
) -> None:
    answer = send(server.url, HOME_ASSISTANT)
    assert answer.status_code == 200
    assert answer.headers["content-type"] == "audio/mpeg"
    assert "instructions are not supported" in answer.headers["warning"]


@pytest.mark.parametrize("speed", [0.25, 0.9, 1, 1.0, 1.75, 4.0])
def test_home_assistants_speed_may_be_any_number_of_the_range(
    server: ServerProcess, speed: float
) -> None:
    assert send(server.url, HOME_ASSISTANT, speed=speed).status_code == 200


def test_home_assistant_streams_on_after_the_first_kilobyte(server: ServerProcess) -> None:
    text = " ".join(f"This is sentence number {number}." for number in range(8))
    with sending(server.url, HOME_ASSISTANT, input=text) as answer:
        assert answer.headers["transfer-encoding"] == "chunked"
        parts = list(answer.iter_raw())
    assert len(parts) > 1
    assert len(b"".join(parts)) > FIRST_BYTES > 0
    assert b"".join(parts) == send(server.url, HOME_ASSISTANT, input=text).content


def test_wyoming_openai_reads_the_format_off_the_first_piece(server: ServerProcess) -> None:
    with sending(server.url, WYOMING_OPENAI) as answer:
        pieces = answer.iter_bytes(WYOMING_CHUNK)
        first = next(pieces)
        rest = b"".join(pieces)
    file = io.BytesIO(first)
    with wave.open(file, "rb") as header:
        assert header.getparams()[:3] == (1, 2, 24_000)
        start = file.tell()
    samples = decode_pcm(first[start:] + rest)
    exact = send(server.url, WYOMING_OPENAI, response_format="pcm").content
    assert len(samples) == len(exact) // 2
    assert np.abs(samples).max() > 0.05


def test_wyoming_openais_three_sentences_at_once_are_whole_files(server: ServerProcess) -> None:
    texts = ["Good morning.", "It is eight o'clock.", "Rain is expected in the afternoon."]
    with ThreadPoolExecutor(3) as threads:
        answers = list(
            threads.map(lambda text: send(server.url, WYOMING_OPENAI, input=text), texts)
        )
    for answer in answers:
        samples, rate, channels = decode_file(answer.content)
        assert (rate, channels) == (24_000, 1)
        assert len(samples) > rate // 2


@pytest.mark.parametrize("speed", [None, 1.5])
def test_wyoming_openais_speed_is_optional(server: ServerProcess, speed: float | None) -> None:
    assert send(server.url, WYOMING_OPENAI, speed=speed).status_code == 200


def test_wyoming_openai_takes_this_server_for_openai_and_nothing_else(
    server: ServerProcess,
) -> None:
    """As LocalAI it would send the model's name as the voice; Speaches and Kokoro differ too."""
    assert httpx.get(f"{server.url}/v1/readyz").status_code != 200
    assert httpx.get(f"{server.url}/health").text != "OK"
    for path in ("/v1/test", "/test"):
        answer = httpx.get(server.url + path)
        assert answer.status_code != 200
        assert answer.json() != {"status": "ok"}
