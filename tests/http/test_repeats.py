"""Requests that repeat earlier ones, over fakes, on a real socket."""

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import httpx
import msgspec
import pytest

from app.adapters.speech.cache import CachedModel, MemoryCache
from app.domain.segment import TextSegment
from app.entrypoints.http.app import create_app
from tests.fakes.speech_model import FAKE_INFO
from tests.serving import Fakes, serving

SPEECH = "/v1/audio/speech"
BODY = {"input": "One. Two.", "response_format": "wav"}
SAMPLED = msgspec.structs.replace(FAKE_INFO, has_sampling=True)


@pytest.fixture
async def client(fakes: Fakes) -> AsyncIterator[httpx.AsyncClient]:
    async with serving(fakes.app()) as url, httpx.AsyncClient(base_url=url) as client:
        await client.post(SPEECH, json={"input": "Wait."})  # until the model is loaded
        fakes.model.spoken.clear()
        fakes.model.deliveries.clear()
        yield client


async def post(
    client: httpx.AsyncClient, headers: dict[str, str] | None = None, **fields: Any
) -> httpx.Response:
    return await client.post(SPEECH, json={**BODY, **fields}, headers=headers)


@pytest.mark.parametrize(
    ("held", "is_on", "expected"),
    [
        ({"One.", "Two."}, True, "soprano; hit"),
        ({"One."}, True, "soprano; fwd=partial; stored"),
        (set(), True, "soprano; fwd=miss; stored"),
        ({"One.", "Two."}, False, "soprano; fwd=bypass"),
    ],
)
@pytest.mark.parametrize("stream", [True, False])
async def test_an_answer_says_how_much_of_it_was_kept(
    client: httpx.AsyncClient,
    fakes: Fakes,
    held: set[str],
    expected: str,
    *,
    is_on: bool,
    stream: bool,
) -> None:
    fakes.cache.held = held
    fakes.cache.is_on = is_on
    assert (await post(client, stream=stream)).headers["cache-status"] == expected


@pytest.mark.parametrize(
    ("held", "shared", "expected"),
    [
        (set(), {"One.", "Two."}, "soprano; hit"),
        ({"One."}, {"Two."}, "soprano; hit"),
        (set(), {"Two."}, "soprano; fwd=partial; stored"),
    ],
)
async def test_what_another_server_has_counts_as_kept(
    client: httpx.AsyncClient, fakes: Fakes, held: set[str], shared: set[str], expected: str
) -> None:
    fakes.cache.held, fakes.cache.shared = held, shared
    assert (await post(client)).headers["cache-status"] == expected


async def test_the_same_request_has_the_same_bytes_and_no_tag(client: httpx.AsyncClient) -> None:
    first, second = await post(client), await post(client, {"if-none-match": "*"})
    assert (first.status_code, second.status_code) == (200, 200)
    assert first.content == second.content
    assert "etag" not in first.headers


@pytest.fixture
async def cached(fakes: Fakes) -> AsyncIterator[httpx.AsyncClient]:
    """Over the real cache around the fake model."""
    model = CachedModel(fakes.model, MemoryCache(1_000_000), None, lambda: "one", 0.0)
    ports = msgspec.structs.replace(fakes.ports(), model=model, cache=model)
    async with (
        serving(create_app(ports, fakes.settings)) as url,
        httpx.AsyncClient(base_url=url) as client,
    ):
        await client.post(SPEECH, json={"input": "Wait."})
        fakes.model.spoken.clear()
        yield client


async def both_have_begun(fakes: Fakes) -> None:
    """Two requests wait for the model."""
    while len(fakes.encoders.opened) < 4:  # one for the warm-up, one for the fixture
        await asyncio.sleep(0.005)
    await asyncio.sleep(0.2)  # from there on it is a matter of turns of the loop


async def test_two_equal_requests_at_once_make_one_generation(
    cached: httpx.AsyncClient, fakes: Fakes
) -> None:
    may_speak = asyncio.Event()

    async def wait(_: TextSegment) -> None:
        await may_speak.wait()

    fakes.model.before_speaking = wait
    asking = [asyncio.create_task(post(cached)) for _ in range(2)]
    await both_have_begun(fakes)
    may_speak.set()
    first, second = await asyncio.gather(*asking)
    assert first.status_code == second.status_code == 200
    assert first.content == second.content
    assert sorted(text for text, *_ in fakes.model.spoken) == ["One.", "Two."]


async def test_what_is_asked_again_is_kept_and_known_in_part(
    cached: httpx.AsyncClient, fakes: Fakes
) -> None:
    first = await post(cached)
    again = await post(cached)
    other = await post(cached, input="Two. Three.")
    statuses = [answer.headers["cache-status"] for answer in (first, again, other)]
    assert statuses == [
        "soprano; fwd=miss; stored",
        "soprano; hit",
        "soprano; fwd=partial; stored",
    ]
    assert first.content == again.content
    assert [text for text, *_ in fakes.model.spoken] == ["One.", "Two.", "Three."]


async def test_one_of_two_clients_leaves_and_the_other_hears_everything(
    cached: httpx.AsyncClient, fakes: Fakes
) -> None:
    may_speak = asyncio.Event()

    async def wait(_: TextSegment) -> None:
        await may_speak.wait()

    fakes.model.before_speaking = wait
    leaving = asyncio.create_task(post(cached))
    while not fakes.model.num_running:
        await asyncio.sleep(0.005)
    staying = asyncio.create_task(post(cached))
    await both_have_begun(fakes)
    leaving.cancel()
    await asyncio.gather(leaving, return_exceptions=True)
    while len(fakes.observer.reports) < 2:  # of the fixture, of who left
        await asyncio.sleep(0.005)
    may_speak.set()
    answer = await staying
    assert answer.content == (await post(cached)).content
    assert sorted(text for text, *_ in fakes.model.spoken) == ["One.", "Two."]


async def test_all_clients_leave_and_the_model_stops(
    cached: httpx.AsyncClient, fakes: Fakes
) -> None:
    async def forever(_: TextSegment) -> None:
        await asyncio.Event().wait()

    fakes.model.before_speaking = forever
    for _ in range(2):
        with pytest.raises(httpx.ReadTimeout):
            await cached.post(SPEECH, json=BODY, timeout=0.2)
    while len(fakes.observer.reports) < 3:
        await asyncio.sleep(0.005)
    assert fakes.model.num_running == 0
