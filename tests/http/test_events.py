"""Speech as server-sent events, over fakes, on a real socket."""

import asyncio
import json
from typing import Any

import httpx
import pytest

from app.domain.errors import SynthesisError
from app.domain.segment import TextSegment
from app.domain.speech import Outcome
from app.entrypoints.http.sse import KEEP_ALIVE
from tests.fakes.speech_model import SECONDS_PER_CHAR
from tests.server_events import deltas, read_events
from tests.serving import Fakes

SPEECH = "/v1/audio/speech"
SENTENCES = ["One one.", "Two two two.", "Three."]


def body(**fields: Any) -> dict[str, Any]:
    return {"input": " ".join(SENTENCES), "stream_format": "sse", **fields}


async def test_joined_deltas_are_the_file_that_is_streamed_otherwise(
    client: httpx.AsyncClient,
) -> None:
    answer = await client.post(SPEECH, json=body())
    assert answer.headers["content-type"].startswith("text/event-stream")
    assert answer.headers["cache-control"] == "no-cache"
    plain = await client.post(SPEECH, json=body(stream_format="audio"))
    assert b"".join(deltas(answer.text)) == plain.content


async def test_the_last_event_has_the_tokens_as_the_model_counts_them(
    client: httpx.AsyncClient,
) -> None:
    events = read_events((await client.post(SPEECH, json=body())).text)
    assert {event["type"] for event in events[:-1]} == {"speech.audio.delta"}
    num_chars = sum(map(len, SENTENCES))
    num_chunks = 2 + 3 + 2
    assert events[-1] == {
        "type": "speech.audio.done",
        "usage": {
            "input_tokens": num_chars,
            "output_tokens": num_chunks,
            "total_tokens": num_chars + num_chunks,
        },
    }


async def test_captions_come_on_request_after_the_sound_they_describe(
    client: httpx.AsyncClient,
) -> None:
    events = read_events((await client.post(SPEECH, json=body(captions=True))).text)
    kinds = [event["type"].rpartition(".")[2] for event in events]
    assert kinds.index("caption") > kinds.index("delta")
    captions = [event for event in events if event["type"] == "speech.caption"]
    assert [caption["text"] for caption in captions] == SENTENCES
    ends = [caption["end"] for caption in captions]
    assert [caption["start"] for caption in captions] == [0.0, *ends[:-1]]
    assert ends[-1] == pytest.approx(sum(map(len, SENTENCES)) * SECONDS_PER_CHAR)


async def test_a_failure_before_the_first_sound_is_an_ordinary_error(
    client: httpx.AsyncClient, fakes: Fakes
) -> None:
    fakes.model.fail_on = (SENTENCES[0], SynthesisError())
    answer = await client.post(SPEECH, json=body())
    assert answer.status_code == 500
    assert answer.json()["error"]["code"] == "synthesis_failed"


@pytest.mark.parametrize("error", [SynthesisError(), RuntimeError("secret")])
async def test_a_later_failure_is_told_before_the_connection_is_cut(
    client: httpx.AsyncClient, fakes: Fakes, error: Exception
) -> None:
    fakes.model.fail_on = (SENTENCES[1], error)
    received = b""
    with pytest.raises(httpx.RemoteProtocolError):
        async with client.stream("POST", SPEECH, json=body()) as answer:
            async for part in answer.aiter_bytes():
                received += part
    last = read_events(received.decode())[-1]
    assert last["type"] == "error"
    assert set(last["error"]) == {"message", "type", "param", "code"}
    assert "secret" not in received.decode()
    assert fakes.observer.reports[-1].outcome is Outcome.FAILED


async def test_comments_keep_a_silent_stream_alive(client: httpx.AsyncClient, fakes: Fakes) -> None:
    may_go_on = asyncio.Event()

    async def wait_at_the_second(segment: TextSegment) -> None:
        if segment.index == 1:
            await may_go_on.wait()

    async def let_time_pass() -> None:
        while True:
            await fakes.clock.advance(10.0)
            await asyncio.sleep(0.01)

    fakes.model.before_speaking = wait_at_the_second
    received = b""
    passing = asyncio.create_task(let_time_pass())
    async with client.stream("POST", SPEECH, json=body()) as answer:
        async for part in answer.aiter_bytes():
            received += part
            if received.count(KEEP_ALIVE) >= 2:
                may_go_on.set()
    passing.cancel()
    assert received.count(KEEP_ALIVE) >= 2
    assert read_events(received.decode())[-1]["type"] == "speech.audio.done"


async def test_a_client_that_leaves_stops_the_model(
    client: httpx.AsyncClient, fakes: Fakes
) -> None:
    async def wait_at_the_second(segment: TextSegment) -> None:
        if segment.index == 1:
            await asyncio.Event().wait()

    fakes.model.before_speaking = wait_at_the_second
    async with client.stream("POST", SPEECH, json=body()) as answer:
        await anext(answer.aiter_bytes())
    while fakes.model.num_running:
        await asyncio.sleep(0.005)
    while len(fakes.observer.reports) < 1:
        await asyncio.sleep(0.005)
    assert fakes.observer.reports[-1].outcome is Outcome.CANCELLED


@pytest.mark.parametrize("line_end", ["\u2028", "\u2029", "\x85"])
async def test_a_line_end_of_unicode_in_a_text_does_not_split_an_event(
    client: httpx.AsyncClient, line_end: str
) -> None:
    """`str.splitlines`, and so `httpx.Response.iter_lines`, would."""
    text = f"One{line_end}one."
    answer = await client.post(SPEECH, json=body(input=text, captions=True))
    lines = [line for line in answer.text.splitlines() if line]
    events = [json.loads(line.removeprefix("data: ")) for line in lines]
    assert [event["text"] for event in events if event["type"] == "speech.caption"] == [text]
