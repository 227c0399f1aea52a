"""POST /v1/audio/speech/normalize, over fakes, on a real socket."""

import json
from collections.abc import AsyncIterator
from typing import Any, Final

import httpx
import pytest

from app.domain.api_keys import KeyLimits
from app.domain.services.speech import MAX_INLINE_CHARS
from tests.examples import table
from tests.server_events import read_events
from tests.serving import Fakes, serving

SPEECH: Final = "/v1/audio/speech"
NORMALIZE: Final = f"{SPEECH}/normalize"
KEY: Final = "sk-soprano-0123456789abcdef"
TEXT: Final = "# Dr. Who\n\nIt cost $5. [pause:1.5s] Bye!"


async def segments_of(client: httpx.AsyncClient, **body: Any) -> list[dict[str, Any]]:
    answer = await client.post(NORMALIZE, json=body)
    assert answer.status_code == 200, answer.text
    segments: list[dict[str, Any]] = answer.json()["segments"]
    return segments


async def test_a_text_is_answered_as_written_and_as_spoken_and_nothing_is_synthesized(
    client: httpx.AsyncClient, fakes: Fakes
) -> None:
    num_spoken = len(fakes.model.spoken)
    assert await segments_of(client, input=TEXT) == [
        {"index": 0, "text": "# Dr. Who", "spoken": "doctor Who", "pause_s": 0.0},
        {"index": 1, "text": "It cost $5.", "spoken": "It cost five dollars.", "pause_s": 0.0},
        {"index": 2, "text": "[pause:1.5s]", "spoken": "", "pause_s": 1.5},
        {"index": 3, "text": "Bye!", "spoken": "Bye!", "pause_s": 0.0},
    ]
    assert len(fakes.model.spoken) == num_spoken
    assert fakes.observer.reports == []


@table(
    "fields",
    [
        {},
        {"normalize": False},
        {"pronunciations": {"gif": "jif"}},
        {"voice": "alloy", "model": "tts-1", "store": True},
    ],
)
async def test_it_is_what_the_captions_of_the_same_request_say(
    client: httpx.AsyncClient, fields: dict[str, Any]
) -> None:
    body = {"input": f"A GIF cost $5. {TEXT}", **fields}
    segments = await segments_of(client, **body)
    events = await client.post(SPEECH, json={**body, "stream_format": "sse", "captions": True})
    captions = [event for event in read_events(events.text) if event["type"] == "speech.caption"]
    assert [(each["text"], each["spoken"]) for each in segments] == [
        (each["text"], each["spoken"]) for each in captions
    ]


async def test_a_text_with_nothing_to_pronounce_has_no_segments(client: httpx.AsyncClient) -> None:
    assert await segments_of(client, input="...") == []


async def test_a_long_text_is_read_in_a_thread_and_answered_whole(
    client: httpx.AsyncClient,
) -> None:
    text = "It cost $5. " * (MAX_INLINE_CHARS // 10)
    segments = await segments_of(client, input=text)
    assert "".join(each["text"] for each in segments).replace(" ", "") == text.replace(" ", "")


@table(
    ("body", "code"),
    [
        ({"input": ""}, "empty_input"),
        ({"input": "a" * 5_000}, "string_above_max_length"),
        ({"input": "%" * 4_096}, "string_above_max_length"),
        ({"input": "Hi.", "voice": "af_sky"}, "voice_not_found"),
        ({"input": "Hi.", "model": "gpt-5"}, "model_not_found"),
        ({"input": "Hi.", "speed": 9}, "invalid_value"),
        ({"voice": "alloy"}, "missing_required_parameter"),
    ],
)
async def test_what_speech_rejects_is_rejected_with_the_same_error(
    client: httpx.AsyncClient, body: dict[str, Any], code: str
) -> None:
    answer, speech = [await client.post(path, json=body) for path in (NORMALIZE, SPEECH)]
    assert answer.json()["error"]["code"] == code
    assert (answer.status_code, answer.json()) == (speech.status_code, speech.json())


async def test_it_answers_while_the_model_is_loading(fakes: Fakes) -> None:
    fakes.model.may_load.clear()
    async with serving(fakes.app()) as url, httpx.AsyncClient(base_url=url) as client:
        assert await segments_of(client, input="Hi.")
        fakes.model.may_load.set()


@pytest.fixture
async def keyed(fakes: Fakes) -> AsyncIterator[httpx.AsyncClient]:
    """A client of a server whose key may send two requests a minute."""
    fakes.keys.give("alice", KEY, KeyLimits(requests_per_minute=2))
    async with serving(fakes.app()) as url, httpx.AsyncClient(base_url=url) as client:
        yield client


async def test_it_needs_a_key_where_speech_does_and_counts_as_a_request(
    keyed: httpx.AsyncClient,
) -> None:
    body, headers = {"input": "Hi."}, {"authorization": f"Bearer {KEY}"}
    assert (await keyed.post(NORMALIZE, json=body)).status_code == 401
    statuses = [
        (await keyed.post(path, json=body, headers=headers)).status_code
        for path in (NORMALIZE, SPEECH, NORMALIZE)
    ]
    assert statuses == [200, 200, 429]


async def test_a_server_that_stops_rejects_it(client: httpx.AsyncClient, fakes: Fakes) -> None:
    fakes.intake.drain()
    answer = await client.post(NORMALIZE, json={"input": "Hi."})
    assert (answer.status_code, answer.json()["error"]["code"]) == (503, "server_draining")


async def test_the_schema_describes_it_with_examples_that_work(client: httpx.AsyncClient) -> None:
    schema = (await client.get("/schema/openapi.json")).json()
    for field in schema["components"]["schemas"]["CreateSpeech"]["properties"].values():
        kinds = [json.dumps(kind) for kind in field["oneOf"]] if "oneOf" in field else []
        assert len(kinds) == len(set(kinds))  # both operations have the same message
    operation = schema["paths"][NORMALIZE]["post"]
    assert set(operation["responses"]) == {
        "200", "400", "401", "404", "408", "413", "415", "429", "431", "503",
    }  # fmt: skip
    examples = operation["requestBody"]["content"]["application/json"]["examples"]
    assert len(examples) == 2
    for example in examples.values():
        assert await segments_of(client, **example["value"])
    shown = operation["responses"]["200"]["content"]["application/json"]["examples"]
    value = next(iter(shown.values()))["value"]
    assert value["segments"] == await segments_of(client, input="It cost $5.")
