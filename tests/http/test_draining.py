"""The end of a server, over fakes: what runs finishes, nothing new begins, and then it is over."""

import asyncio
import json
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

import httpx
import pytest
from structlog.testing import capture_logs
from websockets.asyncio.client import connect
from websockets.exceptions import ConnectionClosed, InvalidStatus

from app.domain.segment import TextSegment
from app.entrypoints.http.server import SpeechServer
from app.entrypoints.settings import AdmissionSettings, ServerSettings, Settings
from tests.eventually import eventually
from tests.live_client import LiveClient
from tests.serving import Fakes, serving_until_stopped, stop, url_of

SPEECH = "/v1/audio/speech"
BODY = {"input": "One one. Two two.", "response_format": "pcm"}


@pytest.fixture
async def server(fakes: Fakes) -> AsyncIterator[SpeechServer]:
    settings = ServerSettings(shutdown_s=30)
    async with serving_until_stopped(fakes.app(), settings) as server:
        await warmed_up(fakes)
        yield server


async def warmed_up(fakes: Fakes) -> None:
    """The sentence of the warm-up is no request that runs."""
    await eventually(lambda: bool(fakes.model.spoken) and fakes.model.num_running == 0)


@pytest.fixture
async def client(server: SpeechServer) -> AsyncIterator[httpx.AsyncClient]:
    async with httpx.AsyncClient(base_url=url_of(server)) as client:
        yield client


@pytest.fixture
def may_go_on(fakes: Fakes) -> asyncio.Event:
    """The model waits for it before the second sentence."""
    event = asyncio.Event()
    fakes.model.before_speaking = waiting_for(event)
    return event


def waiting_for(event: asyncio.Event) -> Callable[[TextSegment], Awaitable[None]]:
    async def wait(segment: TextSegment) -> None:
        if segment.index == 1:
            await event.wait()

    return wait


async def begin_to_drain(server: SpeechServer, fakes: Fakes) -> None:
    stop(server)
    await eventually(lambda: fakes.intake.is_draining)


def socket_to(server: SpeechServer) -> connect:
    return connect(url_of(server).replace("http", "ws", 1) + SPEECH + "/stream")


async def test_a_running_answer_finishes_while_nothing_new_begins(
    server: SpeechServer, client: httpx.AsyncClient, fakes: Fakes, may_go_on: asyncio.Event
) -> None:
    async with client.stream("POST", SPEECH, json=BODY) as answer:
        parts = answer.aiter_bytes()
        first = await anext(parts)
        await begin_to_drain(server, fakes)
        await expect_refusal(client)
        await expect_not_ready(client)
        may_go_on.set()
        rest = b"".join([part async for part in parts])
    assert (first + rest).endswith(b"!")  # what the fake encoder ends a file with
    await eventually(lambda: not server.server_state.connections)


async def expect_refusal(client: httpx.AsyncClient) -> None:
    assert_is_draining(await client.post(SPEECH, json=BODY))


def assert_is_draining(refused: httpx.Response) -> None:
    assert refused.status_code == 503
    error = refused.json()["error"]
    assert (error["code"], error["type"]) == ("server_draining", "server_error")
    assert refused.headers["connection"] == "close"
    assert refused.headers["x-should-retry"] == "true"
    assert int(refused.headers["retry-after"]) > 0
    assert refused.headers["x-request-id"]


async def expect_not_ready(client: httpx.AsyncClient) -> None:
    ready = await client.get("/health/ready")
    assert (ready.status_code, ready.json()["status"]) == (503, "draining")
    for path in ("/health/live", "/metrics", "/v1/models"):
        assert (await client.get(path)).status_code == 200


async def test_a_stream_of_events_and_a_whole_answer_finish_too(
    server: SpeechServer, client: httpx.AsyncClient, fakes: Fakes, may_go_on: asyncio.Event
) -> None:
    events = asyncio.create_task(client.post(SPEECH, json=BODY | {"stream_format": "sse"}))
    whole = asyncio.create_task(client.post(SPEECH, json=BODY | {"stream": False}))
    await eventually(lambda: fakes.model.num_running == 2)
    await begin_to_drain(server, fakes)
    may_go_on.set()
    assert (await events).text.count("speech.audio.done") == 1
    assert (await whole).content.endswith(b"!")


Asked = list[asyncio.Task[httpx.Response]]


@asynccontextmanager
async def two_in_line(fakes: Fakes, shutdown_s: int) -> AsyncIterator[tuple[SpeechServer, Asked]]:
    """A server that speaks one text at a time, and three requests, one of which is being heard."""
    heard: list[httpx.Response] = []

    async def note(answer: httpx.Response) -> None:
        heard.append(answer)

    fakes.settings = Settings(admission=AdmissionSettings(max_running=1))
    settings = ServerSettings(shutdown_s=shutdown_s)
    async with (
        serving_until_stopped(fakes.app(), settings) as server,
        httpx.AsyncClient(base_url=url_of(server), event_hooks={"response": [note]}) as client,
    ):
        await warmed_up(fakes)
        asked = [asyncio.create_task(client.post(SPEECH, json=BODY)) for _ in range(3)]
        await eventually(lambda: fakes.metrics.ask_queue().num_queued == 2 and bool(heard))
        yield server, asked


async def test_what_waits_for_its_turn_is_answered_as_well(
    fakes: Fakes, may_go_on: asyncio.Event
) -> None:
    async with two_in_line(fakes, 30) as (server, asked):
        await begin_to_drain(server, fakes)
        may_go_on.set()
        answers = await asyncio.gather(*asked)
    assert [answer.status_code for answer in answers] == [200] * 3
    assert all(answer.content.endswith(b"!") for answer in answers)


@pytest.mark.usefixtures("may_go_on")
async def test_what_waits_for_its_turn_when_the_time_is_over_is_refused(fakes: Fakes) -> None:
    async with two_in_line(fakes, 0) as (server, asked):
        stop(server)
        ends = await asyncio.gather(*asked, return_exceptions=True)
        await eventually(lambda: fakes.metrics.ask_queue().num_open == 0)
    answers = [end for end in ends if isinstance(end, httpx.Response)]
    assert len(answers) == 2  # the third was being heard, and is cut
    for answer in answers:
        assert_is_draining(answer)


async def test_what_is_not_finished_in_time_is_cut_and_never_looks_whole(
    fakes: Fakes, may_go_on: asyncio.Event
) -> None:
    settings = ServerSettings(shutdown_s=0)
    async with (
        serving_until_stopped(fakes.app(), settings) as server,
        httpx.AsyncClient(base_url=url_of(server)) as client,
        client.stream("POST", SPEECH, json=BODY) as answer,
    ):
        stop(server)
        with pytest.raises(httpx.TransportError):
            await answer.aread()
        await eventually(lambda: fakes.model.num_running == 0)


@pytest.mark.parametrize("form", [{}, {"stream_format": "sse"}])
async def test_what_is_cut_is_logged_as_the_shutdown_and_events_say_so(
    fakes: Fakes, may_go_on: asyncio.Event, form: dict[str, str]
) -> None:
    settings = ServerSettings(shutdown_s=0)
    body = b""
    with capture_logs() as events:
        async with (
            serving_until_stopped(fakes.app(), settings) as server,
            httpx.AsyncClient(base_url=url_of(server)) as client,
            client.stream("POST", SPEECH, json=BODY | form) as answer,
        ):
            stop(server)
            with pytest.raises(httpx.TransportError):
                async for part in answer.aiter_raw():
                    body += part
            await eventually(lambda: any(event["event"] == "http.request" for event in events))
    names = [event["event"] for event in events]
    assert "speech.client_left" not in names
    (cut,) = [event for event in events if event["event"] == "speech.cut"]
    assert (cut["log_level"], cut["error"]) == ("warning", "server_draining")
    if form:
        *_, last, after = body.decode().split("\n\n")
        event = json.loads(last.removeprefix("data: "))
        assert (event["type"], event["error"]["code"], after) == ("error", "server_draining", "")


async def test_a_second_signal_does_not_wait_for_a_whole_answer(
    server: SpeechServer, client: httpx.AsyncClient, fakes: Fakes, may_go_on: asyncio.Event
) -> None:
    while (await client.get("/health/ready")).status_code != 200:
        await asyncio.sleep(0.001)  # the model warms up, which counts as running
    whole = asyncio.create_task(client.post(SPEECH, json=BODY | {"stream": False}))
    await eventually(lambda: fakes.model.num_running == 1)
    await begin_to_drain(server, fakes)
    stop(server)
    assert_is_draining(await whole)  # nothing of it had been sent
    await eventually(lambda: fakes.model.num_running == 0)


async def test_an_idle_socket_is_told_and_closed(server: SpeechServer, fakes: Fakes) -> None:
    async with socket_to(server) as connection:
        client = LiveClient(connection)
        await client.until("ready")
        await begin_to_drain(server, fakes)
        error, _, _ = await client.until("error")
        assert (error["error"]["code"], error["utterance"]) == ("server_draining", None)
        with pytest.raises(ConnectionClosed):
            await client.receive()
        assert connection.close_code == 1012


async def test_a_socket_that_speaks_finishes_what_was_written_and_takes_nothing_new(
    server: SpeechServer, fakes: Fakes, may_go_on: asyncio.Event
) -> None:
    async with socket_to(server) as connection:
        client = LiveClient(connection)
        await client.send("text", text="One one. Two two. ")
        await client.until("caption")
        await begin_to_drain(server, fakes)
        await client.send("text", text="Three")  # the utterance may be written to its end
        await client.send("end")
        await client.send("text", text="Another one.")
        error, _, _ = await client.until("error")
        assert (error["error"]["code"], error["utterance"]) == ("server_draining", None)
        with pytest.raises(InvalidStatus) as refused:
            await socket_to(server)
        assert refused.value.response.status_code == 503
        assert b"server_draining" in refused.value.response.body
        may_go_on.set()
        _, sound, _ = await client.until("utterance.ended")
        assert sound.endswith(b"!")
        await client.until("error")
        with pytest.raises(ConnectionClosed):
            await client.receive()
        assert connection.close_code == 1012


async def test_an_utterance_that_is_cut_is_named(
    server: SpeechServer, fakes: Fakes, may_go_on: asyncio.Event
) -> None:
    async with socket_to(server) as connection:
        client = LiveClient(connection)
        await client.send("text", text="One one. Two two. Three")
        await client.until("caption")
        await begin_to_drain(server, fakes)
        stop(server)
        error, _, others = await client.until("error")
        assert (error["error"]["code"], error["utterance"]) == ("server_draining", 1)
        assert "utterance.ended" not in [other["type"] for other in others]
        with pytest.raises(ConnectionClosed):
            await client.receive()
        assert connection.close_code == 1012
    await eventually(lambda: fakes.model.num_running == 0)
