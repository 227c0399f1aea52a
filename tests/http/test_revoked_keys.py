"""Requests that run when their key is taken away, over fakes, on a real socket."""

import asyncio
import json
from collections.abc import AsyncIterator, Callable, MutableMapping
from contextlib import asynccontextmanager, suppress
from typing import Any, Final

import httpx
import pytest
from structlog.testing import capture_logs

from app.adapters.encoding.encoders import StreamingEncoders
from app.domain.api_keys import KeyLimits
from app.domain.audio import AudioFormat
from app.domain.segment import TextSegment
from app.domain.speech import Outcome
from app.entrypoints.settings import AdmissionSettings, Settings, SpeechSettings
from tests.eventually import eventually
from tests.leaving import SPEECH, asking, serving_when_ready, silent_from
from tests.serving import Fakes

ANN, BOB = "key-of-ann-0123456789", "key-of-bob-0123456789"
TEXT: Final = "One one. Two two."
STREAMED: Final[dict[str, Any]] = {"input": TEXT, "response_format": "pcm"}
EVENTS: Final = STREAMED | {"stream_format": "sse"}
WHOLE: Final = STREAMED | {"stream": False}
LONG_TEXT: Final = ("word " * 15 + "end. ") * 400
LAST_CHUNK: Final = b"0\r\n\r\n"
FAREWELL_S: Final = 1.0


@pytest.fixture
def fakes() -> Fakes:
    speech = SpeechSettings(max_chars=len(LONG_TEXT))
    fakes = Fakes(Settings(speech=speech))
    fakes.keys.give("ann", ANN)
    fakes.keys.give("bob", BOB)
    return fakes


def bearer(key: str) -> dict[str, str]:
    return {"authorization": f"Bearer {key}"}


@asynccontextmanager
async def client_of(fakes: Fakes) -> AsyncIterator[httpx.AsyncClient]:
    async with serving_when_ready(fakes) as url, httpx.AsyncClient(base_url=url) as client:
        yield client


def assert_is_refused(answer: httpx.Response) -> None:
    assert answer.status_code == 401
    assert answer.headers["www-authenticate"] == "Bearer"
    assert answer.json()["error"]["code"] == "invalid_api_key"


async def cut_body(answer: httpx.Response) -> bytes:
    """What comes of an answer that does not end as a whole one does."""
    body = b""
    with pytest.raises(httpx.RemoteProtocolError):
        async for part in answer.aiter_raw():
            body += part
    return body


def take(fakes: Fakes) -> None:
    fakes.keys.take("ann")


def replace(fakes: Fakes) -> None:
    fakes.keys.give("ann", "another-key-of-ann-0123456789")


def silent_until(fakes: Fakes, opened: asyncio.Event) -> None:
    """The model says the first sentence, and the others when it may."""

    async def wait(segment: TextSegment) -> None:
        if segment.index:
            await opened.wait()

    fakes.model.before_speaking = wait


@pytest.mark.parametrize("revoke", [take, replace])
async def test_a_stream_is_cut_while_the_model_is_silent_and_others_go_on(
    fakes: Fakes, revoke: Callable[[Fakes], None]
) -> None:
    opened = asyncio.Event()
    async with client_of(fakes) as client:
        silent_until(fakes, opened)
        going_on = client.stream("POST", SPEECH, json=STREAMED, headers=bearer(BOB))
        cut = client.stream("POST", SPEECH, json=STREAMED, headers=bearer(ANN))
        async with going_on as other, cut as answer:
            await eventually(lambda: fakes.model.num_running == 2)
            revoke(fakes)
            assert await cut_body(answer)
            await eventually(lambda: fakes.model.num_running == 1)
            assert [report.outcome for report in fakes.observer.reports] == [Outcome.CANCELLED]
            opened.set()
            assert (await other.aread()).endswith(b"!")
        assert_is_refused(await client.post(SPEECH, json=STREAMED, headers=bearer(ANN)))


async def test_new_limits_of_a_key_disturb_nothing_that_runs(fakes: Fakes) -> None:
    opened = asyncio.Event()
    async with client_of(fakes) as client:
        silent_until(fakes, opened)
        async with client.stream("POST", SPEECH, json=STREAMED, headers=bearer(ANN)) as answer:
            await eventually(lambda: fakes.model.num_running == 1)
            fakes.keys.give("ann", ANN, KeyLimits(max_concurrent=1))
            opened.set()
            assert (await answer.aread()).endswith(b"!")


@pytest.mark.parametrize("form", [STREAMED, EVENTS])
async def test_a_stream_that_its_client_does_not_read_is_cut(
    fakes: Fakes, form: dict[str, Any]
) -> None:
    fakes.encoders = StreamingEncoders()  # type: ignore[assignment] # files of real size
    async with (
        serving_when_ready(fakes) as url,
        asking(url, form | {"input": LONG_TEXT}, ANN) as reader,
    ):
        await made_as_much_as_is_read(fakes)
        take(fakes)
        await eventually(lambda: fakes.model.num_running == 0)
        for _ in range(2):
            await asyncio.sleep(0.05)
            await fakes.clock.advance(FAREWELL_S)
        await eventually(lambda: any(r.route == SPEECH for r in fakes.requests.reports))
        assert fakes.observer.reports[0].outcome is Outcome.CANCELLED
        body = await asyncio.wait_for(reader.read(), 10)
    assert len(body) > 100_000
    assert not body.endswith(LAST_CHUNK)


async def test_a_client_that_does_not_read_is_disconnected_a_second_later(fakes: Fakes) -> None:
    fakes.encoders = StreamingEncoders()  # type: ignore[assignment] # files of real size
    with capture_logs() as events:
        async with (
            serving_when_ready(fakes) as url,
            asking(url, STREAMED | {"input": LONG_TEXT}, ANN) as reader,
        ):
            await made_as_much_as_is_read(fakes)
            take(fakes)
            await eventually(lambda: stalled(events) != [])
            with suppress(ConnectionError):
                assert not (await asyncio.wait_for(reader.read(), 10)).endswith(LAST_CHUNK)
    assert [event["limit_s"] for event in stalled(events)] == [FAREWELL_S]


def stalled(events: list[MutableMapping[str, Any]]) -> list[MutableMapping[str, Any]]:
    return [event for event in events if event["event"] == "connection.stalled"]


async def made_as_much_as_is_read(fakes: Fakes) -> None:
    """Return once the model waits for the client to read on."""
    num_made = -1
    while num_made != fakes.model.num_chunks or num_made < 10:
        num_made = fakes.model.num_chunks
        await asyncio.sleep(0.3)


async def test_events_say_why_they_are_cut(fakes: Fakes) -> None:
    async with client_of(fakes) as client:
        silent_from(fakes, 1)
        async with client.stream("POST", SPEECH, json=EVENTS, headers=bearer(ANN)) as answer:
            await eventually(lambda: fakes.model.num_running == 1)
            take(fakes)
            body = await cut_body(answer)
    *_, last, after = body.decode().split("\n\n")
    assert after == ""
    event = json.loads(last.removeprefix("data: "))
    assert event["type"] == "error"
    assert (event["error"]["code"], event["error"]["type"]) == (
        "invalid_api_key",
        "invalid_request_error",
    )


@pytest.mark.parametrize(
    ("form", "first_silent"), [(STREAMED, 0), (EVENTS, 0), (WHOLE, 0), (WHOLE, 1)]
)
async def test_an_answer_that_has_not_begun_is_a_401(
    fakes: Fakes, form: dict[str, Any], first_silent: int
) -> None:
    async with client_of(fakes) as client:
        silent_from(fakes, first_silent)
        asked = asyncio.create_task(client.post(SPEECH, json=form, headers=bearer(ANN)))
        await eventually(lambda: fakes.model.num_running > 0)
        take(fakes)
        assert_is_refused(await asked)
        await eventually(lambda: fakes.model.num_running == 0)


async def test_a_request_that_waits_for_its_turn_is_a_401(fakes: Fakes) -> None:
    fakes.settings = Settings(admission=AdmissionSettings(max_running=1))
    async with client_of(fakes) as client:
        opened = asyncio.Event()
        silent_until(fakes, opened)
        async with client.stream("POST", SPEECH, json=STREAMED, headers=bearer(BOB)) as running:
            asked = asyncio.create_task(client.post(SPEECH, json=STREAMED, headers=bearer(ANN)))
            await eventually(lambda: fakes.metrics.ask_queue().num_queued == 1)
            take(fakes)
            assert_is_refused(await asked)
            assert fakes.metrics.ask_queue().num_queued == 0
            opened.set()
            assert (await running.aread()).endswith(b"!")


async def test_a_request_whose_body_is_on_its_way_is_a_401(fakes: Fakes) -> None:
    async with client_of(fakes) as client:
        reader, writer = await asyncio.open_connection(client.base_url.host, client.base_url.port)
        head = f"POST {SPEECH} HTTP/1.1\r\nhost: localhost\r\nauthorization: Bearer {ANN}\r\n"
        writer.write(f"{head}content-type: application/json\r\n".encode())
        writer.write(b"content-length: 100\r\n\r\n{")
        await eventually(lambda: fakes.keys.num_waiting == 1)
        take(fakes)
        assert (await reader.readline()).startswith(b"HTTP/1.1 401 ")
        writer.close()


async def test_a_stored_file_is_cut(fakes: Fakes) -> None:
    num_bytes = 50_000_000

    async def parts() -> AsyncIterator[bytes]:
        yield bytes(num_bytes)

    async with client_of(fakes) as client:
        store = await fakes.stores.for_owner("ann")
        file = await store.save(parts(), stem="long", audio_format=AudioFormat.PCM)
        address = f"/v1/audio/files/{file.name}"
        with capture_logs() as events:
            async with client.stream("GET", address, headers=bearer(ANN)) as answer:
                take(fakes)
                assert len(await cut_body(answer)) < num_bytes
    (cut,) = (event for event in events if event["event"] == "stored_audio.cut")
    assert (cut["log_level"], cut["error"]) == ("warning", "invalid_api_key")
