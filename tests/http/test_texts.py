"""What a request says of its text, over fakes, on a real socket."""

import re
from typing import Any

import httpx
import msgspec
import pytest

from app.entrypoints.http.schemas import CreateSpeech
from app.entrypoints.http.websocket_messages import ClientMessage
from app.entrypoints.settings import Settings, TextSettings
from tests.examples import table
from tests.fakes.speech_model import SECONDS_PER_CHAR
from tests.server_events import read_events
from tests.serving import Fakes, serving

SPEECH = "/v1/audio/speech"


async def spoken(client: httpx.AsyncClient, fakes: Fakes, text: str, **fields: Any) -> list[str]:
    num_before = len(fakes.model.spoken)
    answer = await client.post(SPEECH, json={"input": text, **fields})
    assert answer.status_code == 200, answer.text
    return [said for said, *_ in fakes.model.spoken[num_before:]]


async def test_figures_and_markup_are_read_unless_the_request_says_no(
    client: httpx.AsyncClient, fakes: Fakes
) -> None:
    text = "**It** cost $5."
    assert await spoken(client, fakes, text) == ["It cost five dollars."]
    assert await spoken(client, fakes, text, normalize=True) == ["It cost five dollars."]
    assert await spoken(client, fakes, text, normalize=False) == [text]


async def test_markup_can_be_switched_off() -> None:
    fakes = Fakes(Settings(text=TextSettings(markup="off")))
    async with serving(fakes.app()) as url, httpx.AsyncClient(base_url=url) as client:
        assert await spoken(client, fakes, "x <b> y") == ["x less than b greater than y"]


async def test_pronunciations_change_their_words_and_nothing_else(
    client: httpx.AsyncClient, fakes: Fakes
) -> None:
    said = await spoken(client, fakes, "A GIF of 2 gifs.", pronunciations={"gif": "jif"})
    assert said == ["A jif of two gifs."]


@table(
    "pronunciations",
    [
        *({"gif": "j1f"}, {"gif": ""}, {"": "jif"}, {"gif": 7}, {"a" * 101: "a"}, ["gif"]),
        {f"w{number}": "a" for number in range(101)},
        *({"a ": "b"}, {" a": "b"}, {"a\n": "b"}, {"gif": "jif\n"}, {"gif": "a" * 201}),
    ],
)
async def test_pronunciations_that_cannot_be_are_refused(
    client: httpx.AsyncClient, pronunciations: object
) -> None:
    answer = await client.post(SPEECH, json={"input": "Hi.", "pronunciations": pronunciations})
    assert answer.status_code == 400
    error = answer.json()["error"]
    assert (error["type"], error["code"]) == ("invalid_request_error", "invalid_value")
    assert error["param"] == "pronunciations"
    assert not re.search(r"regex|[\^$\[\]]", error["message"].replace("[...]", ""))


async def test_captions_have_the_words_of_the_user_and_what_was_spoken(
    client: httpx.AsyncClient,
) -> None:
    text = "# Dr. Who\n\nIt cost $5. [pause:1.5s] Bye!"
    body = {"input": text, "stream_format": "sse", "captions": True, "response_format": "pcm"}
    events = read_events((await client.post(SPEECH, json=body)).text)
    captions = [event for event in events if event["type"] == "speech.caption"]
    assert [(caption["text"], caption["spoken"]) for caption in captions] == [
        ("# Dr. Who", "doctor Who"),
        ("It cost $5.", "It cost five dollars."),
        ("[pause:1.5s]", ""),
        ("Bye!", "Bye!"),
    ]
    lengths = [round(caption["end"] - caption["start"], 3) for caption in captions]
    chars = [round(len(caption["spoken"]) * SECONDS_PER_CHAR, 3) for caption in captions]
    assert lengths == pytest.approx([chars[0], chars[1], 1.5, chars[3]])


async def test_a_pause_is_silence_of_exactly_that_length(
    client: httpx.AsyncClient, fakes: Fakes
) -> None:
    text = 'One. <break time="250ms"/> Two.'
    answer = await client.post(SPEECH, json={"input": text, "response_format": "pcm"})
    num_samples = round(4 * SECONDS_PER_CHAR * fakes.model.info.sample_rate)
    assert f"[{num_samples}][4000][{num_samples}]" in answer.text
    assert [said for said, *_ in fakes.model.spoken[-2:]] == ["One.", "Two."]


def test_no_message_of_a_client_is_held_against_a_regular_expression() -> None:
    """It would be what the client is told."""
    _, schemas = msgspec.json.schema_components([CreateSpeech, ClientMessage])
    assert b'"pattern":' not in msgspec.json.encode(schemas)


async def test_pauses_count_like_the_words_that_they_last_as_long_as(
    client: httpx.AsyncClient,
) -> None:
    answer = await client.post(SPEECH, json={"input": "[pause:10s]" * 28})
    assert answer.status_code == 400
    error = answer.json()["error"]
    assert (error["code"], error["param"]) == ("string_above_max_length", "input")
    assert error["message"].startswith("With its speed and pauses the input takes as long as")
    assert (await client.post(SPEECH, json={"input": "[pause:10s]" * 27})).status_code == 200
