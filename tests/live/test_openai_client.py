"""OpenAI's own Python client against a running server."""

import asyncio
import base64
import struct
from collections.abc import Iterator
from typing import Any

import numpy as np
import openai
import pytest
from numpy.typing import NDArray

from tests.listening import CODEC_PADDING, decode_file, decode_pcm
from tests.serving import ServerProcess

TEXT = "The quick brown fox jumped over the lazy dog. It was not amused, but it slept on."
FORMATS = ("mp3", "opus", "aac", "flac", "wav", "pcm")


@pytest.fixture
def client(server: ServerProcess) -> Iterator[openai.OpenAI]:
    with openai.OpenAI(base_url=f"{server.url}/v1", api_key="none", max_retries=0) as client:
        yield client


@pytest.fixture(scope="module")
def reference_s(server: ServerProcess) -> float:
    """Exact duration of TEXT in seconds, from samples at the model's own rate."""
    with openai.OpenAI(base_url=f"{server.url}/v1", api_key="none") as client:
        answer = client.audio.speech.create(
            model="tts-1", voice="alloy", input=TEXT, response_format="pcm"
        )
        return len(answer.read()) / 2 / 24_000


def whole(client: openai.OpenAI, audio_format: str) -> bytes:
    answer = client.audio.speech.create(
        model="tts-1",
        voice="alloy",
        input=TEXT,
        response_format=audio_format,  # type: ignore[arg-type]
        extra_body={"stream": False},
    )
    assert int(answer.response.headers["content-length"]) > 0
    return answer.read()


def streamed(client: openai.OpenAI, audio_format: str) -> bytes:
    with client.audio.speech.with_streaming_response.create(
        model="tts-1",
        voice="alloy",
        input=TEXT,
        response_format=audio_format,  # type: ignore[arg-type]
    ) as answer:
        assert answer.headers["transfer-encoding"] == "chunked"
        return b"".join(answer.iter_bytes())


def listen(body: bytes, audio_format: str) -> tuple[NDArray[np.float32], int, int]:
    return (decode_pcm(body), 24_000, 1) if audio_format == "pcm" else decode_file(body)


@pytest.mark.parametrize("audio_format", FORMATS)
@pytest.mark.parametrize("get", [whole, streamed])
def test_every_format_decodes_to_the_whole_text_in_mono_at_its_rate(
    client: openai.OpenAI, reference_s: float, audio_format: str, get: object
) -> None:
    body = whole(client, audio_format) if get is whole else streamed(client, audio_format)
    samples, rate, channels = listen(body, audio_format)
    assert channels == 1
    assert rate == (48_000 if audio_format == "opus" else 24_000)
    padding = 0 if audio_format in ("wav", "pcm", "flac") else CODEC_PADDING
    assert len(samples) / rate == pytest.approx(reference_s, abs=(padding + 1) / rate)
    assert 0.05 < np.abs(samples).max() <= 1.0


@pytest.mark.parametrize("audio_format", FORMATS)
def test_streamed_bytes_equal_whole_ones_but_for_lengths_that_were_not_known(
    client: openai.OpenAI, audio_format: str
) -> None:
    from_stream, at_once = streamed(client, audio_format), whole(client, audio_format)
    if audio_format == "wav":
        assert struct.unpack("<I", from_stream[40:44]) == (0xFFFFFFFF,)
        assert struct.unpack("<I", at_once[40:44]) == (len(at_once) - 44,)
        from_stream, at_once = from_stream[44:], at_once[44:]
    if audio_format == "flac":  # RFC 9639, section 8: the marker and STREAMINFO
        from_stream, at_once = from_stream[42:], at_once[42:]
    assert from_stream == at_once


@pytest.mark.parametrize(
    "text",
    [
        TEXT,
        "Hello.",
        "In 1984 she paid twelve dollars for three apples and a newspaper.",
        "Which of these books would you recommend? I have read neither; tell me all about them.",
    ],
)
@pytest.mark.parametrize("speed", [0.5, 2.0])
def test_speed_divides_the_duration(client: openai.OpenAI, text: str, speed: float) -> None:
    def duration_s(speed: float) -> float:
        answer = client.audio.speech.create(
            model="tts-1", voice="nova", input=text, response_format="pcm", speed=speed
        )
        return len(answer.read()) / 2 / 24_000

    assert duration_s(1.0) / duration_s(speed) == pytest.approx(speed, rel=0.1)


@pytest.mark.parametrize("text", [".", "...", "😀", " "])
def test_a_text_with_nothing_to_say_is_a_short_silence(client: openai.OpenAI, text: str) -> None:
    answer = client.audio.speech.create(
        model="tts-1", voice="alloy", input=text, response_format="wav"
    )
    samples, rate, _ = decode_file(answer.read())
    assert 0.1 < len(samples) / rate < 1.0
    assert not samples.any()


@pytest.mark.parametrize(
    ("fields", "error", "code", "param"),
    [
        ({"model": "other"}, openai.NotFoundError, "model_not_found", "model"),
        ({"voice": "other"}, openai.BadRequestError, "voice_not_found", "voice"),
        ({"input": "a" * 4097}, openai.BadRequestError, "string_above_max_length", "input"),
        ({"input": ""}, openai.BadRequestError, "empty_input", "input"),
        ({"speed": 9.0}, openai.BadRequestError, "invalid_value", "speed"),
        ({"response_format": "oga"}, openai.BadRequestError, "invalid_value", "response_format"),
    ],
)
def test_errors_arrive_as_the_clients_own_exceptions(
    client: openai.OpenAI,
    fields: dict[str, object],
    error: type[openai.APIStatusError],
    code: str,
    param: str,
) -> None:
    request: dict[str, object] = {"model": "tts-1", "voice": "alloy", "input": "Hi.", **fields}
    with pytest.raises(error) as caught:
        client.audio.speech.create(**request)  # type: ignore[arg-type]
    assert (caught.value.code, caught.value.param) == (code, param)
    assert caught.value.type == "invalid_request_error"
    assert caught.value.request_id


def test_an_error_is_not_sent_again_by_the_clients_retries(server: ServerProcess) -> None:
    sent_as = {"x-request-id": "not-again"}
    with (
        openai.OpenAI(
            base_url=f"{server.url}/v1", api_key="none", max_retries=2, default_headers=sent_as
        ) as client,
        pytest.raises(openai.BadRequestError),
    ):
        client.audio.speech.create(model="tts-1", voice="other", input="Hi.")
    (answered,) = server.wait_for_events(event="http.request", request_id="not-again")
    assert answered["status"] == 400


def test_models_are_listed_and_retrieved(client: openai.OpenAI) -> None:
    names = [model.id for model in client.models.list()]
    assert names == ["hibari", "tts-1", "tts-1-hd", "gpt-4o-mini-tts"]
    assert client.models.retrieve("tts-1").id == "tts-1"
    with pytest.raises(openai.NotFoundError) as caught:
        client.models.retrieve("other")
    assert caught.value.code == "model_not_found"


async def test_the_asynchronous_client_streams(server: ServerProcess, reference_s: float) -> None:
    async with (
        openai.AsyncOpenAI(base_url=f"{server.url}/v1", api_key="none") as client,
        client.audio.speech.with_streaming_response.create(
            model="gpt-4o-mini-tts", voice="ash", input=TEXT, response_format="pcm"
        ) as answer,
    ):
        parts = [part async for part in answer.iter_bytes()]
    assert len(b"".join(parts)) / 2 / 24_000 == pytest.approx(reference_s)


async def test_a_voice_can_be_an_object(server: ServerProcess) -> None:
    async with openai.AsyncOpenAI(base_url=f"{server.url}/v1", api_key="none") as client:
        answer = await client.audio.speech.create(
            model="tts-1", voice={"id": "heart"}, input="Hi.", response_format="pcm"
        )
        assert await asyncio.to_thread(answer.read)


def event_bytes(events: list[Any]) -> bytes:
    *deltas, done = events
    assert {event["type"] for event in deltas} == {"speech.audio.delta"}
    usage = done["usage"]
    assert usage["input_tokens"] > 0
    assert usage["output_tokens"] > 0
    assert usage["total_tokens"] == usage["input_tokens"] + usage["output_tokens"]
    return b"".join(base64.b64decode(event["audio"]) for event in deltas)


@pytest.mark.parametrize("audio_format", FORMATS)
def test_events_hold_the_same_file_by_the_clients_own_stream(
    client: openai.OpenAI, audio_format: str
) -> None:
    stream = client.post(
        "/audio/speech",
        body=event_request(audio_format),
        cast_to=object,
        stream=True,
        stream_cls=openai.Stream[object],
    )
    assert event_bytes(list(stream)) == streamed(client, audio_format)


async def test_the_asynchronous_client_reads_events(server: ServerProcess) -> None:
    async with openai.AsyncOpenAI(base_url=f"{server.url}/v1", api_key="none") as client:
        stream = await client.post(
            "/audio/speech",
            body=event_request("pcm"),
            cast_to=object,
            stream=True,
            stream_cls=openai.AsyncStream[object],
        )
        body = event_bytes([event async for event in stream])
    assert len(body) > 24_000


def event_request(audio_format: str) -> dict[str, str]:
    return {
        "model": "gpt-4o-mini-tts",
        "voice": "alloy",
        "input": TEXT,
        "response_format": audio_format,
        "stream_format": "sse",
    }
