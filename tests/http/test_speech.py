"""POST /v1/audio/speech over fakes, on a real socket."""

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import httpx
import msgspec
import pytest

from app.domain.errors import SpeechError, SynthesisError
from app.domain.segment import TextSegment
from app.domain.services.lifecycle import WARM_UP_TEXT
from app.domain.speech import Outcome, SamplingParams
from app.entrypoints.http.schemas import CONTENT_TYPES
from app.entrypoints.settings import Settings, SpeechSettings
from tests.examples import examples, table
from tests.server_events import deltas
from tests.serving import Fakes, serving

SPEECH = "/v1/audio/speech"


def body(**fields: Any) -> dict[str, Any]:
    return {"input": "One. Two.", **fields}


async def test_the_body_may_be_as_small_as_its_input(
    client: httpx.AsyncClient, fakes: Fakes
) -> None:
    answer = await client.post(SPEECH, json=body())
    assert answer.status_code == 200
    assert answer.headers["content-type"] == "audio/mpeg"
    assert answer.headers["x-sample-rate"] == "16000"
    assert answer.headers["x-speech-backend"] == "fake"
    assert answer.headers["transfer-encoding"] == "chunked"
    assert answer.content.endswith(b"!")
    assert fakes.model.spoken[-2:] == [("One.", "bee", 1.0), ("Two.", "bee", 1.0)]


@table(("audio_format", "content_type"), CONTENT_TYPES.items())
async def test_each_format_has_its_content_type(
    client: httpx.AsyncClient, audio_format: str, content_type: str
) -> None:
    answer = await client.post(SPEECH, json=body(response_format=audio_format))
    assert answer.headers["content-type"] == content_type


async def test_an_answer_that_is_not_streamed_has_its_length_and_an_exact_head(
    client: httpx.AsyncClient,
) -> None:
    streamed = await client.post(SPEECH, json=body())
    whole = await client.post(SPEECH, json=body(stream=False))
    assert int(whole.headers["content-length"]) == len(whole.content)
    assert "transfer-encoding" not in whole.headers
    assert streamed.content[:8] == b"<000000>"
    assert whole.content[:8] == b"<002560>"
    assert whole.content[8:] == streamed.content[8:]


@table("voice", ["fan", {"id": "fan"}])
async def test_a_voice_is_a_name_or_a_reference(
    client: httpx.AsyncClient, fakes: Fakes, voice: Any
) -> None:
    assert (await client.post(SPEECH, json=body(voice=voice))).status_code == 200
    assert fakes.model.spoken[-1][1] == "fan"


async def test_null_is_the_same_as_absent(client: httpx.AsyncClient) -> None:
    fields = dict.fromkeys(
        ("model", "voice", "response_format", "speed", "instructions", "stream_format",
         "sample_rate", "stream")
    )  # fmt: skip
    with_nulls = await client.post(SPEECH, json=body(**fields))
    assert with_nulls.content == (await client.post(SPEECH, json=body())).content


async def test_unknown_fields_are_ignored(client: httpx.AsyncClient) -> None:
    answer = await client.post(SPEECH, json=body(lang="en", backend="x", extra={"a": [1]}))
    assert answer.status_code == 200
    assert "warning" not in answer.headers


async def test_what_is_accepted_but_not_done_is_said(client: httpx.AsyncClient) -> None:
    answer = await client.post(SPEECH, json=body(instructions="whisper"))
    assert answer.status_code == 200
    assert "instructions are not supported" in answer.headers["warning"]


@table("authorization", ["Bearer", "Bearer sk-any", "Basic x"])
async def test_a_key_is_not_needed_and_not_looked_at(
    client: httpx.AsyncClient, authorization: str
) -> None:
    answer = await client.post(SPEECH, json=body(), headers={"authorization": authorization})
    assert answer.status_code == 200


@table("accept", ["application/octet-stream", "text/html", "image/png", "*/*"])
async def test_accept_is_not_negotiated(client: httpx.AsyncClient, accept: str) -> None:
    answer = await client.post(SPEECH, json=body(), headers={"accept": accept})
    assert answer.headers["content-type"] == "audio/mpeg"


@table(
    ("fields", "status", "param", "code"),
    [
        ({"input": None}, 400, "input", "invalid_value"),
        ({"input": 5}, 400, "input", "invalid_value"),
        ({"input": ["a"]}, 400, "input", "invalid_value"),
        ({"input": ""}, 400, "input", "empty_input"),
        ({"input": "a" * 4097}, 400, "input", "string_above_max_length"),
        ({"model": "other"}, 404, "model", "model_not_found"),
        ({"voice": "other"}, 400, "voice", "voice_not_found"),
        ({"voice": "../../etc/passwd"}, 400, "voice", "voice_not_found"),
        ({"voice": "a" * 257}, 400, "voice", "invalid_value"),
        ({"voice": 5}, 400, "voice", "invalid_value"),
        ({"model": 5}, 400, "model", "invalid_value"),
        ({"voice": {"id": "bee", "x": 1}}, 400, "voice", "invalid_value"),
        ({"response_format": "oga"}, 400, "response_format", "invalid_value"),
        ({"response_format": 5}, 400, "response_format", "invalid_value"),
        ({"speed": 0}, 400, "speed", "invalid_value"),
        ({"speed": -1}, 400, "speed", "invalid_value"),
        ({"speed": 1e9}, 400, "speed", "invalid_value"),
        *(
            ({"speed": value}, 400, "speed", "invalid_value")
            for value in ("9", "1_0", "nan", "inf", "", "fast", "0x1", ["1"])
        ),
        ({"seed": "1.5"}, 400, "seed", "invalid_value"),
        ({"stream": 2}, 400, "stream", "invalid_value"),
        ({"speed": True}, 400, "speed", "invalid_value"),
        ({"stream_format": "wav"}, 400, "stream_format", "invalid_value"),
        ({"sample_rate": 7_999}, 400, "sample_rate", "invalid_value"),
        ({"stream": "yes"}, 400, "stream", "invalid_value"),
        ({"instructions": "a" * 4097}, 400, "instructions", "invalid_value"),
    ],
)
async def test_a_bad_field_is_named_in_openais_error_body(
    client: httpx.AsyncClient, fields: dict[str, Any], status: int, param: str, code: str
) -> None:
    answer = await client.post(SPEECH, json=body(**fields))
    assert answer.status_code == status
    error = answer.json()["error"]
    assert set(error) == {"message", "type", "param", "code"}
    assert (error["param"], error["code"]) == (param, code)
    assert error["type"] == "invalid_request_error"
    assert answer.headers["x-should-retry"] == "false"
    assert answer.headers["x-request-id"]


@table(
    ("fields", "same"),
    [
        ({"speed": "2", "sample_rate": "8000"}, {"speed": 2, "sample_rate": 8000}),
        ({"stream": "false"}, {"stream": False}),
        ({"stream": "True"}, {"stream": True}),
        ({"response_format": " OGG "}, {"response_format": "opus"}),
        ({"response_format": "Wav"}, {"response_format": "wav"}),
        ({"model": "", "voice": ""}, {"model": None, "voice": None}),
        ({"voice": {"id": ""}}, {}),
    ],
)
async def test_what_is_written_in_another_way_is_understood(
    client: httpx.AsyncClient, fields: dict[str, Any], same: dict[str, Any]
) -> None:
    base = {"input": "One. Two."}
    one, other = [await client.post(SPEECH, json=base | more) for more in (fields, same)]
    assert one.status_code == other.status_code == 200
    assert one.content == other.content
    for name in ("content-type", "content-length", "x-sample-rate", "x-speech-voice", "warning"):
        assert one.headers.get(name) == other.headers.get(name)


@table("value", ["1_0", "inf", "nan", "Infinity", "1e3", "-5", "+5", "0.5", "", "\u0661".encode()])
async def test_a_timeout_that_is_no_plain_number_is_refused(
    client: httpx.AsyncClient, value: str | bytes
) -> None:
    for sent, status in ((value, 400), ("10", 200), ("1.5", 200)):
        headers = httpx.Headers([("x-request-timeout-seconds", sent)])  # type: ignore[arg-type]
        answer = await client.post(SPEECH, json=body(), headers=headers)
        assert answer.status_code == status
        assert status == 200 or answer.json()["error"]["code"] == "invalid_request_timeout"


DEEP = b'{"input":"a","x":' + b"[" * 100_000 + b"]" * 100_000 + b"}"


@table(
    "content",
    [
        b"", b"{", b"[]", b"null", b"5", b'"a"', b"{}", b'{"input":"a"', b'{"input":"\xff"}',
        b'{"input":"\\ud800"}', b'{"input":"a","speed":NaN}', b'{"input":"a","speed":Infinity}',
        b"\x00\x01\x02", b'{"input":"a"}}', DEEP,
    ],
)  # fmt: skip
async def test_a_body_that_is_not_the_message_is_a_400(
    client: httpx.AsyncClient, content: bytes
) -> None:
    answer = await client.post(
        SPEECH, content=content, headers={"content-type": "application/json"}
    )
    assert answer.status_code == 400
    assert set(answer.json()["error"]) == {"message", "type", "param", "code"}


@table(
    "headers",
    [
        {"content-type": "text/plain"},
        {"content-type": "multipart/form-data; boundary=x"},
        {"content-type": "application/x-www-form-urlencoded"},
        {"content-type": "application/json", "content-encoding": "gzip"},
    ],
)
async def test_another_media_type_is_a_415(
    client: httpx.AsyncClient, headers: dict[str, str]
) -> None:
    answer = await client.post(SPEECH, content=b'{"input":"a"}', headers=headers)
    assert answer.status_code == 415
    assert answer.json()["error"]["code"] == "unsupported_media_type"


async def test_a_missing_content_type_is_taken_for_json(client: httpx.AsyncClient) -> None:
    assert (await client.post(SPEECH, content=b'{"input":"a"}')).status_code == 200


@table("is_chunked", [False, True])
async def test_a_body_over_256_kib_is_a_413(client: httpx.AsyncClient, *, is_chunked: bool) -> None:
    content = b'{"input":"' + b"a" * 300_000 + b'"}'

    async def pieces() -> AsyncIterator[bytes]:
        for start in range(0, len(content), 50_000):
            yield content[start : start + 50_000]

    answer = await client.post(
        SPEECH,
        content=pieces() if is_chunked else content,
        headers={"content-type": "application/json"},
    )
    assert answer.status_code == 413
    assert answer.json()["error"]["code"] == "request_too_large"


@pytest.mark.parametrize(
    ("error", "status", "code"),
    [
        (SynthesisError(), 500, "synthesis_failed"),
        (RuntimeError("a secret detail"), 500, "internal_error"),
    ],
)
async def test_a_failure_before_the_first_chunk_is_a_real_status(
    client: httpx.AsyncClient, fakes: Fakes, error: Exception, status: int, code: str
) -> None:
    fakes.model.fail_on = ("One.", error)
    answer = await client.post(SPEECH, json=body())
    assert answer.status_code == status
    assert answer.json()["error"]["code"] == code
    assert "secret" not in answer.text
    assert answer.headers["x-should-retry"] == "false"


@pytest.mark.parametrize("error", [SynthesisError(), RuntimeError("a secret detail")])
async def test_a_failure_later_cuts_the_connection(
    client: httpx.AsyncClient, fakes: Fakes, error: Exception
) -> None:
    fakes.model.fail_on = ("Two.", error)
    received = b""
    with pytest.raises(httpx.RemoteProtocolError):
        async with client.stream("POST", SPEECH, json=body()) as answer:
            assert answer.status_code == 200
            async for part in answer.aiter_raw():
                received += part
    assert received
    assert not received.endswith(b"!")
    assert b"secret" not in received
    assert fakes.observer.reports[-1].outcome is Outcome.FAILED


async def test_a_failure_in_an_answer_that_is_not_streamed_is_a_real_status(
    client: httpx.AsyncClient, fakes: Fakes
) -> None:
    fakes.model.fail_on = ("Two.", SynthesisError())
    assert (await client.post(SPEECH, json=body(stream=False))).status_code == 500


async def test_the_first_bytes_arrive_before_the_second_segment_is_spoken(
    client: httpx.AsyncClient, fakes: Fakes
) -> None:
    may_go_on = asyncio.Event()

    async def hold_all_but_the_first(segment: TextSegment) -> None:
        if segment.index:
            await may_go_on.wait()

    fakes.model.before_speaking = hold_all_but_the_first
    async with client.stream("POST", SPEECH, json=body(input="One. Two. Three.")) as answer:
        parts = answer.aiter_raw()
        assert await anext(parts)
        assert fakes.model.num_running == 2
        may_go_on.set()
        rest = b"".join([part async for part in parts])
    assert rest.endswith(b"!")


@pytest.mark.parametrize("stream", [True, False])
async def test_a_client_that_leaves_before_the_first_byte_stops_the_model(
    client: httpx.AsyncClient, fakes: Fakes, *, stream: bool
) -> None:
    async def forever(_: TextSegment) -> None:
        await asyncio.Event().wait()

    fakes.model.before_speaking = forever
    with pytest.raises(httpx.ReadTimeout):
        await client.post(SPEECH, json=body(stream=stream), timeout=0.2)
    await settled(fakes)
    assert fakes.observer.reports[-1].outcome is Outcome.CANCELLED


async def test_a_client_that_leaves_in_mid_stream_stops_the_model(
    client: httpx.AsyncClient, fakes: Fakes
) -> None:
    async def hold_the_second(segment: TextSegment) -> None:
        if segment.index:
            await asyncio.Event().wait()

    fakes.model.before_speaking = hold_the_second
    async with client.stream("POST", SPEECH, json=body()) as answer:
        await anext(answer.aiter_raw())
    await settled(fakes)
    assert fakes.observer.reports[-1].outcome is Outcome.CANCELLED


async def settled(fakes: Fakes) -> None:
    """Wait until no synthesis runs and every request was reported."""
    for _ in range(200):
        if not fakes.model.num_running and fakes.observer.reports:
            return
        await asyncio.sleep(0.01)
    raise AssertionError("the model still speaks")


async def test_every_generated_request_is_answered_with_audio(
    client: httpx.AsyncClient, fakes: Fakes
) -> None:
    from tests.factories import CreateSpeechFactory  # takes a second to import

    for request in CreateSpeechFactory.batch(examples(100)):
        answer = await client.post(SPEECH, content=msgspec.json.encode(request))
        assert answer.status_code == 200, answer.text
        is_events = request.stream_format == "sse"
        audio = b"".join(deltas(answer.text)) if is_events else answer.content
        assert audio.endswith(b"!")
    assert all(report.outcome is Outcome.COMPLETED for report in fakes.observer.reports)


async def test_unknown_names_can_be_let_through_with_a_warning() -> None:
    fakes = Fakes(Settings(speech=SpeechSettings(unknown_names="default")))
    async with serving(fakes.app()) as url, httpx.AsyncClient(base_url=url) as client:
        answer = await client.post(SPEECH, json=body(model="kokoro", voice="af_sky"))
    assert answer.status_code == 200
    assert answer.headers["x-speech-voice"] == "bee"
    assert "the model is not known" in answer.headers["warning"]
    assert "the voice is not known" in answer.headers["warning"]


async def test_the_limit_on_characters_is_a_setting() -> None:
    fakes = Fakes(Settings(speech=SpeechSettings(max_chars=5)))
    async with serving(fakes.app()) as url, httpx.AsyncClient(base_url=url) as client:
        assert (await client.post(SPEECH, json=body(input="five."))).status_code == 200
        assert (await client.post(SPEECH, json=body(input="six..."))).status_code == 400


@pytest.mark.parametrize(
    ("text", "speed", "words"),
    [
        (
            "\N{GREATER-THAN OR EQUAL TO}" * 4_096,
            1.0,
            "With numbers and symbols in words the input has 10",
        ),
        (
            "seven 77 " * 455,
            0.25,
            "With its speed and pauses the input takes as long as a text that has 3",
        ),
    ],
)
async def test_a_text_that_takes_much_longer_to_say_than_its_length_tells_is_refused_unspoken(
    text: str, speed: float, words: str
) -> None:
    fakes = Fakes(Settings())
    async with serving(fakes.app()) as url, httpx.AsyncClient(base_url=url) as client:
        answer = await client.post(SPEECH, json=body(input=text, speed=speed))
    assert answer.status_code == 400
    assert answer.json()["error"]["code"] == "string_above_max_length"
    assert answer.json()["error"]["message"].startswith(words)
    assert [text for text, *_ in fakes.model.spoken] == [WARM_UP_TEXT]


@pytest.mark.parametrize(
    ("text", "speed"),
    [
        ("It was the 7th of May, and the train was late. ", 0.25),
        ("$45.67 ", 1.0),
        ("11/27/1977 ", 1.0),
        ("777-7777 ", 1.0),
        ("5% ", 1.0),
    ],
)
async def test_a_text_of_the_greatest_length_may_be_slow_or_full_of_figures(
    text: str, speed: float
) -> None:
    fakes = Fakes(Settings())
    asked = body(input=(text * 4_096)[:4_096], speed=speed, response_format="pcm")
    async with serving(fakes.app()) as url, httpx.AsyncClient(base_url=url) as client:
        answer = await client.post(SPEECH, json=asked)
    assert answer.status_code == 200


def test_every_error_has_a_status() -> None:
    from app.entrypoints.http.errors import _STATUS

    def subclasses(cls: type[SpeechError]) -> set[type[SpeechError]]:
        return {cls}.union(*(subclasses(child) for child in cls.__subclasses__()))

    for error in subclasses(SpeechError):
        assert any(cls in _STATUS for cls in error.__mro__)


async def test_what_a_request_says_of_chance_reaches_the_model(
    client: httpx.AsyncClient, fakes: Fakes
) -> None:
    chosen: dict[str, Any] = {
        "seed": 7,
        "temperature": 0.3,
        "top_p": 0.5,
        "repetition_penalty": 1.1,
    }
    answer = await client.post(SPEECH, json=body(input="One. Two.", **chosen))
    assert {params.sampling for params in fakes.model.deliveries[-2:]} == {SamplingParams(**chosen)}
    assert "temperature, top_p and repetition_penalty were ignored" in answer.headers["warning"]


async def test_a_seed_alone_needs_no_warning(client: httpx.AsyncClient, fakes: Fakes) -> None:
    answer = await client.post(SPEECH, json=body(seed=7))
    assert fakes.model.deliveries[-1].sampling == SamplingParams(seed=7)
    assert "warning" not in answer.headers


@table(
    ("field", "value"),
    [
        ("seed", -1),
        ("seed", 2**31 + 1),
        ("seed", 1.5),
        ("temperature", 2.1),
        ("temperature", -0.1),
        ("top_p", 0),
        ("top_p", 1.1),
        ("repetition_penalty", 0.4),
        ("repetition_penalty", "high"),
    ],
)
async def test_chance_out_of_range_is_refused_by_name(
    client: httpx.AsyncClient, field: str, value: object
) -> None:
    answer = await client.post(SPEECH, json=body(**{field: value}))
    assert answer.status_code == 400
    assert answer.json()["error"]["param"] == field


async def test_a_web_page_cannot_send_a_body_without_a_type(client: httpx.AsyncClient) -> None:
    headers = {"origin": "https://elsewhere.example"}
    answer = await client.post(SPEECH, content=b'{"input":"a"}', headers=headers)
    assert answer.status_code == 415


@table(
    ("fields", "note"),
    [
        ({"captions": True}, "captions are events"),
        ({"file_name": "mine"}, "nothing is stored without store"),
        ({"stream_format": "sse", "stream": False}, "events are always streamed"),
    ],
)
async def test_what_has_no_effect_without_another_field_is_told(
    client: httpx.AsyncClient, fields: dict[str, Any], note: str
) -> None:
    answer = await client.post(SPEECH, json=body(**fields))
    assert answer.status_code == 200
    assert note in answer.headers["warning"]


async def test_a_value_that_is_none_of_a_few_is_answered_with_them(
    client: httpx.AsyncClient,
) -> None:
    answer = await client.post(SPEECH, json=body(response_format="oga"))
    error = answer.json()["error"]
    assert (answer.status_code, error["param"]) == (400, "response_format")
    assert "aac, alaw, flac, m4a, mp3, mulaw, opus, pcm, wav, webm" in error["message"]


async def test_the_voice_is_blamed_for_what_it_lacks(client: httpx.AsyncClient) -> None:
    answer = await client.post(SPEECH, json=body(voice={}))
    assert (answer.status_code, answer.json()["error"]["param"]) == (400, "voice")


async def test_a_longer_text_that_is_allowed_fits_into_a_body() -> None:
    """F35."""
    fakes = Fakes(Settings(speech=SpeechSettings(max_chars=100_000, prefetch_s=1.0)))
    content = b'{"stream": false, "input": "' + rb"\ud83d\ude00" * 99_990 + b' A word."}'
    async with serving(fakes.app()) as url, httpx.AsyncClient(base_url=url) as client:
        answer = await client.post(SPEECH, content=content)
    assert answer.status_code == 200
