"""What chat front ends and gateways need of an answer, checked the way they read it."""

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import httpx
import numpy as np
import pytest

from tests.client_requests import (
    LIBRECHAT,
    LIBRECHAT_LOCALAI,
    LITELLM,
    OPEN_WEBUI,
    SILLYTAVERN,
    send,
    sending,
)
from tests.listening import CODEC_PADDING, decode_file
from tests.serving import ServerProcess, server_process, wait_for_status

NUM_PARALLEL = 24

BITS = [
    ".", "...", "!?", "\u2014", "\U0001f389", "\U0001f44d\U0001f3fd", "**Note:**", "# Heading",
    "- a point", "1.", "`code`", "```", "| a | b |", "[link](https://example.org)", ">", "***",
    "\u200b", "\n\n", "$x^2$", "H\u00e9llo",
]  # fmt: skip
"""What is left of an answer in Markdown that was cut into sentences."""


def mp3_duration_s(body: bytes) -> float:
    samples, rate, channels = decode_file(body)
    assert channels == 1
    return len(samples) / rate


def is_mp3_frame(body: bytes) -> bool:
    """Whether a frame begins at the first byte: no tag is before it."""
    return body[0] == 0xFF and body[1] & 0xE0 == 0xE0


def test_open_webui_gets_an_mp3_it_did_not_ask_for(server: ServerProcess) -> None:
    answer = send(server.url, OPEN_WEBUI)
    assert answer.status_code == 200
    assert answer.headers["content-type"] == "audio/mpeg"
    assert "content-encoding" not in answer.headers
    assert is_mp3_frame(answer.content)
    assert 0.5 < mp3_duration_s(answer.content) < 10


def test_open_webui_caches_by_its_request_so_the_same_one_gives_the_same_bytes(
    server: ServerProcess,
) -> None:
    assert send(server.url, OPEN_WEBUI).content == send(server.url, OPEN_WEBUI).content


@pytest.mark.parametrize("bit", BITS)
def test_open_webuis_bits_of_markdown_are_all_sound(server: ServerProcess, bit: str) -> None:
    answer = send(server.url, OPEN_WEBUI, input=bit)
    assert answer.status_code == 200
    assert mp3_duration_s(answer.content) > 0


def test_open_webuis_many_requests_at_once_are_all_answered(server: ServerProcess) -> None:
    texts = [f"Sentence number {number} of an answer." for number in range(NUM_PARALLEL)]
    with ThreadPoolExecutor(NUM_PARALLEL) as threads:
        answers = list(threads.map(lambda text: send(server.url, OPEN_WEBUI, input=text), texts))
    assert {answer.status_code for answer in answers} == {200}
    assert all(mp3_duration_s(answer.content) > 0.5 for answer in answers)


def test_open_webuis_lists_need_no_key(server: ServerProcess) -> None:
    """Its server asks without one whatever is configured."""
    models = httpx.get(f"{server.url}/v1/audio/models").json()["models"]
    assert {"id": "tts-1"} in models
    voices = httpx.get(f"{server.url}/v1/audio/voices").json()["voices"]
    assert {"alloy", "nova", "heart"} <= {voice["id"] for voice in voices}
    assert all(voice["name"] for voice in voices)
    assert "tts-1" in {model["id"] for model in httpx.get(f"{server.url}/v1/models").json()["data"]}


def test_open_webui_finds_the_error_in_the_body(server: ServerProcess) -> None:
    answer = send(server.url, OPEN_WEBUI, voice="af_sky")
    assert answer.status_code == 400
    assert "error" in answer.json()
    assert "af_sky" in answer.json()["error"]["message"]


@pytest.mark.parametrize("speed", [1, 1.05, 0.25, 2.5, 4])
def test_sillytavern_without_a_key_gets_an_mp3_at_every_speed(
    server: ServerProcess, speed: float
) -> None:
    answer = send(server.url, SILLYTAVERN, speed=speed)
    assert answer.status_code == 200
    assert answer.headers["content-type"] == "audio/mpeg"
    at_one = mp3_duration_s(send(server.url, SILLYTAVERN).content)
    assert mp3_duration_s(answer.content) == pytest.approx(at_one / speed, rel=0.2)


@pytest.mark.parametrize("voice", ["alloy", "echo", "fable", "onyx", "nova", "shimmer"])
def test_sillytaverns_own_list_of_voices_is_served(server: ServerProcess, voice: str) -> None:
    assert send(server.url, SILLYTAVERN, voice=voice).status_code == 200


def test_sillytavern_shows_the_text_of_an_error(server: ServerProcess) -> None:
    answer = send(server.url, SILLYTAVERN, input="")
    assert answer.status_code == 400
    assert "The input is empty" in answer.text


def test_librechat_may_name_no_voice(server: ServerProcess) -> None:
    without = {name: value for name, value in LIBRECHAT["body"].items() if name != "voice"}
    answer = send(server.url, {"headers": LIBRECHAT["headers"], "body": without})
    assert answer.status_code == 200
    assert answer.headers["content-type"] == "audio/mpeg"


def test_librechats_joined_answers_play_as_long_as_their_parts(server: ServerProcess) -> None:
    """It cuts a long text into pieces and writes their bodies into one answer."""
    texts = ["This is the first part.", "Here is the second one, a little longer.", "The end."]
    bodies = [send(server.url, LIBRECHAT, input=text).content for text in texts]
    assert all(is_mp3_frame(body) for body in bodies)
    samples, rate, _ = decode_file(b"".join(bodies))
    alone_s = [mp3_duration_s(body) for body in bodies]
    assert len(samples) / rate == pytest.approx(sum(alone_s), abs=CODEC_PADDING / rate)
    third = samples[-round(alone_s[-1] * rate) :]
    assert np.abs(third).max() > 0.05


def test_librechats_localai_provider_works_with_model_names_as_voices(
    server: ServerProcess,
) -> None:
    """What its user picks is sent as the model, so its list has to hold models."""
    assert send(server.url, LIBRECHAT_LOCALAI, model="tts-1").status_code == 200
    answer = send(server.url, LIBRECHAT_LOCALAI)
    assert answer.status_code == 404
    assert answer.json()["error"]["code"] == "model_not_found"


def test_librechats_localai_provider_works_with_any_names_if_unknown_ones_are_let_through(
    tmp_path: Path,
) -> None:
    environ = {"SOPRANO_SPEECH__UNKNOWN_NAMES": "default"}
    with server_process(tmp_path / "server.log", environ=environ) as server:
        wait_for_status(f"{server.url}/health/ready")
        answer = send(server.url, LIBRECHAT_LOCALAI)
    assert answer.status_code == 200
    assert "the model is not known" in answer.headers["warning"]
    assert mp3_duration_s(answer.content) > 0.5


@pytest.mark.parametrize("audio_format", ["mp3", "opus", "aac", "flac", "wav", "pcm"])
def test_litellms_proxy_passes_the_content_type_on(
    server: ServerProcess, audio_format: str
) -> None:
    """It does so with `audio/*` only, and without parameters."""
    answer = send(server.url, LITELLM, response_format=audio_format)
    assert answer.status_code == 200
    assert answer.headers["content-type"].startswith("audio/")
    assert ";" not in answer.headers["content-type"]


def test_litellms_8_kilobyte_pieces_are_the_whole(server: ServerProcess) -> None:
    with sending(server.url, LITELLM) as answer:
        pieces = list(answer.iter_bytes(8_192))
    assert b"".join(pieces) == send(server.url, LITELLM).content
