"""Speech that is kept while it is spoken: `store` and `file_name` of a request, over fakes."""

from typing import Any

import httpx
import pytest

from app.domain.errors import StoreFullError, SynthesisError
from app.entrypoints.http.schemas import EXPOSED_HEADERS
from tests.examples import table
from tests.server_events import deltas, read_events
from tests.serving import Fakes, serving

SPEECH = "/v1/audio/speech"
FILES = "/v1/audio/files"
SENTENCES = ["One one.", "Two two."]


def body(**fields: Any) -> dict[str, Any]:
    return {"input": " ".join(SENTENCES), "store": True, **fields}


async def names(client: httpx.AsyncClient) -> list[str]:
    return [item["id"] for item in (await client.get(FILES)).json()["data"]]


async def test_what_is_kept_is_what_was_sent_and_has_its_name_in_a_header(
    client: httpx.AsyncClient,
) -> None:
    answer = await client.post(SPEECH, json=body(file_name="talk.wav", response_format="wav"))
    assert answer.headers["x-stored-file"] == "talk_000001.wav"
    assert int(answer.headers["content-length"]) == len(answer.content)
    assert {"x-stored-file", "x-store-error", "content-location"} <= set(EXPOSED_HEADERS)
    kept = await client.get(answer.url.join(answer.headers["content-location"]))
    assert kept.content == answer.content
    captions = (await client.get(f"{FILES}/talk_000001.wav/captions.vtt")).text
    assert [line for line in captions.splitlines() if line in SENTENCES] == SENTENCES


async def test_a_streamed_answer_is_kept_with_an_exact_head(client: httpx.AsyncClient) -> None:
    streamed = await client.post(SPEECH, json=body(stream=True))
    assert "transfer-encoding" in streamed.headers
    (name,) = await names(client)
    kept = (await client.get(f"{FILES}/{name}")).content
    whole = await client.post(SPEECH, json=body(store=False, stream=False))
    assert kept == whole.content
    assert kept[8:] == streamed.content[8:]


async def test_events_tell_the_name(client: httpx.AsyncClient) -> None:
    answer = await client.post(SPEECH, json=body(stream_format="sse"))
    events = read_events(answer.text)
    assert [event["type"] for event in events[-2:]] == ["speech.audio.stored", "speech.audio.done"]
    assert events[-2]["failure"] is None
    kept = (await client.get(f"{FILES}/{events[-2]['file']}")).content
    assert kept[8:] == b"".join(deltas(answer.text))[8:]


async def test_a_store_that_is_full_does_not_stop_speech_and_says_so(
    client: httpx.AsyncClient, fakes: Fakes
) -> None:
    plain = await client.post(SPEECH, json=body(store=False, stream=False))
    (await fakes.stores.for_owner(None)).fail_with = StoreFullError("No space is left.")
    whole = await client.post(SPEECH, json=body())
    assert whole.status_code == 200
    assert whole.content == plain.content
    assert whole.headers["x-store-error"] == "store_full"
    assert "x-stored-file" not in whole.headers
    streamed = await client.post(SPEECH, json=body(stream=True))
    assert streamed.content[8:] == plain.content[8:]
    events = read_events((await client.post(SPEECH, json=body(stream_format="sse"))).text)
    assert events[-2]["file"] is None
    assert events[-2]["failure"]["code"] == "store_full"
    assert events[-1]["type"] == "speech.audio.done"


@table("name", ["../x", "a/b", "", ".", "x" * 65, "t\u2024x", "a.mp3.mp3", "a\0"])
async def test_a_name_that_is_none_is_refused_before_anything_is_spoken(
    client: httpx.AsyncClient, fakes: Fakes, name: str
) -> None:
    num_spoken = len(fakes.model.spoken)
    answer = await client.post(SPEECH, json=body(file_name=name))
    assert answer.status_code == 400
    error = answer.json()["error"]
    assert (error["code"], error["param"]) == ("invalid_file_name", "file_name")
    assert len(fakes.model.spoken) == num_spoken


async def test_speech_that_breaks_off_is_not_kept(client: httpx.AsyncClient, fakes: Fakes) -> None:
    fakes.model.fail_on = (SENTENCES[1], SynthesisError())
    with pytest.raises(httpx.RemoteProtocolError):
        await client.post(SPEECH, json=body(stream=True))
    assert (await client.post(SPEECH, json=body())).status_code == 500
    assert await names(client) == []


async def test_a_key_keeps_for_itself() -> None:
    fakes = Fakes()
    fakes.keys.give("ann", "key-of-ann-0123456789")
    fakes.keys.give("bob", "key-of-bob-0123456789")
    ann = {"authorization": "Bearer key-of-ann-0123456789"}
    bob = {"authorization": "Bearer key-of-bob-0123456789"}
    async with serving(fakes.app()) as url, httpx.AsyncClient(base_url=url) as client:
        kept = await client.post(SPEECH, json=body(), headers=ann)
        path = str(kept.url.join(kept.headers["content-location"]))
        assert (await client.get(path, headers=ann)).content == kept.content
        assert (await client.get(path, headers=bob)).status_code == 404
        assert (await client.delete(path, headers=bob)).status_code == 404
        assert (await client.get(FILES, headers=bob)).json()["data"] == []
        assert (await client.get(path)).status_code == 401
