"""The speech socket where keys are asked for."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress

import httpx
import pytest
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed, InvalidStatus
from websockets.typing import Subprotocol

from app.adapters.encoding.encoders import StreamingEncoders
from app.domain.api_keys import KeyLimits
from app.domain.speech import Outcome
from app.entrypoints.connections import FAREWELL_S
from app.entrypoints.http.websocket import MAX_WAITING_UTTERANCES
from app.entrypoints.settings import ServerSettings, Settings, SpeechSettings
from tests.eventually import eventually
from tests.examples import table
from tests.http.test_live_speech import socket_to
from tests.leaving import silent_from
from tests.live_client import LiveClient
from tests.serving import Fakes, serving

PATH = "/v1/audio/speech/stream"
SPEECH = "/v1/audio/speech"
KEY, OTHER_KEY = "key-of-ann-0123456789", "key-of-bob-0123456789"
LONG_TEXT = ("word " * 15 + "end. ") * 400


@pytest.fixture
def fakes() -> Fakes:
    speech = SpeechSettings(max_chars=len(LONG_TEXT))
    fakes = Fakes(Settings(speech=speech, server=ServerSettings(socket_idle_s=600)))
    fakes.keys.give("ann", KEY, KeyLimits(max_concurrent=1))
    fakes.keys.give("bob", OTHER_KEY)
    return fakes


@pytest.fixture
async def url(fakes: Fakes) -> AsyncIterator[str]:
    async with serving(fakes.app()) as url:
        yield url.replace("http", "ws", 1) + PATH


@asynccontextmanager
async def connected(url: str, key: str = KEY) -> AsyncIterator[LiveClient]:
    async with connect(
        url, additional_headers=bearer(key), sock=socket_to(url.replace("ws", "http", 1))
    ) as connection:
        client = LiveClient(connection)
        await client.until("ready")
        yield client


def bearer(key: str) -> dict[str, str]:
    return {"authorization": f"Bearer {key}"}


@table("headers", [{}, bearer(""), bearer("wrong"), bearer("a" * 8_000)])
async def test_without_a_key_it_is_not_accepted(url: str, headers: dict[str, str]) -> None:
    with pytest.raises(InvalidStatus) as caught:
        await connect(url, additional_headers=headers)
    assert caught.value.response.status_code == 401
    assert b"invalid_api_key" in caught.value.response.body
    assert caught.value.response.headers["x-request-id"]


async def test_a_key_opens_it_and_its_limit_holds_until_it_is_closed(url: str) -> None:
    async with connect(url, additional_headers=bearer(KEY)) as connection:
        await LiveClient(connection).until("ready")
        with pytest.raises(InvalidStatus) as caught:
            await connect(url, additional_headers=bearer(KEY))
        assert caught.value.response.status_code == 429
    connection = await connect_soon(url)
    await LiveClient(connection).until("ready")
    await connection.close()


async def connect_soon(url: str) -> ClientConnection:
    """Connect once the server has noticed that the connection before was closed."""
    async with asyncio.timeout(10):
        while True:
            with suppress(InvalidStatus):
                return await connect(url, additional_headers=bearer(KEY))
            await asyncio.sleep(0.01)


async def test_a_browser_brings_its_key_as_a_subprotocol(url: str) -> None:
    offered = [Subprotocol("realtime"), Subprotocol(f"openai-insecure-api-key.{KEY}")]
    async with connect(url, subprotocols=offered) as connection:
        await LiveClient(connection).until("ready")
        assert connection.subprotocol == "realtime"


async def test_a_page_of_another_server_is_refused(url: str) -> None:
    with pytest.raises(InvalidStatus) as caught:
        await connect(
            url,
            additional_headers=bearer(KEY),
            origin="https://elsewhere.example",  # type: ignore[arg-type]
        )
    assert caught.value.response.status_code == 403


def take(fakes: Fakes) -> None:
    fakes.keys.take("ann")


def replace(fakes: Fakes) -> None:
    fakes.keys.give("ann", "another-key-of-ann-0123456789")


async def assert_is_closed(client: LiveClient, *, cut: int | None) -> None:
    failed, _, _ = await client.until("error")
    assert failed["error"]["code"] == "invalid_api_key"
    assert failed["utterance"] == cut
    with pytest.raises(ConnectionClosed) as caught:
        await client.receive()
    assert caught.value.rcvd is not None
    assert (caught.value.rcvd.code, caught.value.rcvd.reason) == (1008, "invalid_api_key")


@pytest.mark.parametrize("revoke", [take, replace])
async def test_an_idle_socket_whose_key_is_taken_away_is_told_and_closed_and_others_stay(
    url: str, fakes: Fakes, revoke: Callable[[Fakes], None]
) -> None:
    async with connected(url, OTHER_KEY) as other, connected(url) as client:
        revoke(fakes)
        await assert_is_closed(client, cut=None)
        await other.send("text", text="One.")
        await other.send("end")
        await other.until("utterance.ended")


async def test_a_socket_that_speaks_is_told_what_breaks_off_and_the_model_stops(
    url: str, fakes: Fakes
) -> None:
    silent_from(fakes, 1)
    async with connected(url) as client:
        await client.send("text", text="One. Two. Three.")
        await client.send("end")
        await client.send("text", text="Another one.")
        await client.until("caption")
        await eventually(lambda: fakes.model.num_running > 0)
        take(fakes)
        await assert_is_closed(client, cut=1)
        assert fakes.model.num_running == 0
        assert [report.outcome for report in fakes.observer.reports] == [Outcome.CANCELLED]


async def test_a_socket_whose_client_does_not_read_is_cut_after_a_second(fakes: Fakes) -> None:
    fakes.encoders = StreamingEncoders()  # type: ignore[assignment] # files of real size
    async with (
        serving(fakes.app()) as url,
        connected(url.replace("http", "ws", 1) + PATH) as client,
    ):
        client.connection.transport.pause_reading()
        await client.send("text", text=LONG_TEXT)
        await client.send("end")
        num_made = -1
        while num_made != fakes.model.num_chunks or num_made < 10:
            num_made = fakes.model.num_chunks
            await asyncio.sleep(0.3)
        await client.send("ping")  # whose answer holds up the server's reader
        await asyncio.sleep(0.1)
        take(fakes)
        await eventually(lambda: FAREWELL_S in fakes.clock.slept_s)
        assert fakes.requests.nums_open == [1]
        await fakes.clock.advance(FAREWELL_S)
        await eventually(lambda: fakes.requests.nums_open == [1, 0])
        assert fakes.observer.reports[0].outcome is Outcome.CANCELLED
        client.connection.transport.resume_reading()
        with pytest.raises(ConnectionClosed):
            await client.until("utterance.ended")


async def say(client: LiveClient, *texts: str) -> None:
    """Write an utterance, piece by piece."""
    for text in texts:
        await client.send("text", text=text)
    await client.send("end")


async def spoken(client: LiveClient) -> tuple[int, str]:
    """Number and text of the next utterance that is spoken to its end."""
    ended, _, others = await client.until("utterance.ended")
    assert "error" not in {message["type"] for message in others}
    texts = [message["text"] for message in others if message["type"] == "caption"]
    return ended["utterance"], " ".join(texts)


async def test_each_utterance_counts_as_a_request_and_one_too_many_is_told_when_to_come_back(
    url: str, fakes: Fakes
) -> None:
    fakes.keys.give("ann", KEY, KeyLimits(requests_per_minute=2))
    async with connected(url) as client:
        await say(client, "One.")
        assert await spoken(client) == (1, "One.")
        await say(client, "Two, ", "in pieces.")
        assert await spoken(client) == (2, "Two, in pieces.")
        await say(client, "Three. ", "Not spoken ", "either.")
        failed, _, _ = await client.until("error")
        assert failed["utterance"] is None
        assert failed["error"] == {
            "message": "This API key has reached its limit of requests: 2 per minute."
            " Try again in 30 s.",
            "type": "rate_limit_error",
            "param": None,
            "code": "rate_limit_exceeded",
        }
        await client.send("ping")
        assert await client.receive() == {"type": "pong", "id": None}
        await fakes.clock.advance(30)
        await say(client, "Four.")
        assert await spoken(client) == (3, "Four.")


async def test_the_rest_of_an_utterance_that_was_refused_is_not_spoken_when_there_is_room_again(
    url: str, fakes: Fakes
) -> None:
    fakes.keys.give("ann", KEY, KeyLimits(requests_per_minute=1))
    async with connected(url) as client:
        await say(client, "One.")
        await spoken(client)
        await client.send("text", text="Refused ")
        await client.until("error")
        await fakes.clock.advance(59)
        await client.send("text", text="to its end.")
        await client.send("flush")
        await client.send("end")
        await fakes.clock.advance(1)
        await say(client, "Two.")
        assert await spoken(client) == (2, "Two.")
        await client.send("text", text="Refused ")
        await client.until("error")
        await client.send("cancel")
        await client.until("utterance.cancelled")
        await fakes.clock.advance(60)
        await say(client, "Three.")
        assert await spoken(client) == (3, "Three.")


async def test_the_rest_of_an_utterance_that_found_no_place_is_not_spoken_either(
    url: str, fakes: Fakes
) -> None:
    silent_from(fakes, 0)
    async with connected(url) as client:
        await say(client, "Speaking.")
        await client.until("utterance.started")
        for _ in range(MAX_WAITING_UTTERANCES):
            await say(client, "Waiting.")
        await client.send("text", text="Refused ")
        failed, _, _ = await client.until("error")
        assert failed["error"]["code"] == "too_many_utterances"
        await say(client, "to its ", "end.")
        await client.send("ping")
        assert await client.receive() == {"type": "pong", "id": None}


async def test_opening_a_socket_takes_nothing_of_the_minute_which_http_and_sockets_share(
    url: str, fakes: Fakes
) -> None:
    fakes.keys.give("ann", KEY, KeyLimits(requests_per_minute=1))
    address = url.replace("ws", "http", 1).replace(PATH, SPEECH)
    for _ in range(3):
        async with connected(url):
            pass
    async with connected(url) as client, httpx.AsyncClient(headers=bearer(KEY)) as http:
        assert (await http.post(address, json={"input": "One."})).status_code == 200
        await say(client, "Two.")
        failed, _, _ = await client.until("error")
        assert failed["error"]["code"] == "rate_limit_exceeded"
        await fakes.clock.advance(60)
        await say(client, "Three.")
        await spoken(client)
        assert (await http.post(address, json={"input": "Four."})).status_code == 429


async def test_new_limits_hold_for_the_next_utterance_of_an_open_socket(
    url: str, fakes: Fakes
) -> None:
    async with connected(url) as client:
        await say(client, "One.")
        await spoken(client)
        fakes.keys.give("ann", KEY, KeyLimits(requests_per_minute=1))
        await say(client, "Two.")
        await spoken(client)
        await say(client, "Three.")
        failed, _, _ = await client.until("error")
        assert "1 per minute" in failed["error"]["message"]
