"""What callers see of a server that has too much to speak."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import httpx
import msgspec
import pytest
from websockets.asyncio.client import connect

from app.adapters.encoding.encoders import StreamingEncoders
from app.domain.segment import TextSegment
from app.domain.services.lifecycle import WARM_UP_TEXT
from app.domain.speech import Outcome
from app.entrypoints.settings import AdmissionSettings, Settings, SpeechSettings
from tests.eventually import eventually
from tests.live_client import LiveClient
from tests.serving import Fakes, serving

SPEECH = "/v1/audio/speech"
FREE_PATHS = ("/health/live", "/health/ready", "/metrics", "/v1/models", "/v1/audio/voices")


class Busy(Fakes):
    """Fakes whose model speaks each sentence when it may."""

    def __init__(self, admission: AdmissionSettings, speech: SpeechSettings | None = None) -> None:
        super().__init__(Settings(admission=admission, speech=speech or SpeechSettings()))
        self.may_speak = asyncio.Event()
        self.model.before_speaking = self._wait

    async def _wait(self, segment: TextSegment) -> None:
        if segment.text != WARM_UP_TEXT:
            await self.may_speak.wait()

    def num_queued(self) -> int:
        return self.metrics.ask_queue().num_queued

    def num_running(self) -> int:
        return self.metrics.ask_queue().num_running


@asynccontextmanager
async def client_of(fakes: Fakes) -> AsyncIterator[httpx.AsyncClient]:
    limits = httpx.Limits(max_connections=None)
    async with (
        serving(fakes.app()) as url,
        httpx.AsyncClient(base_url=url, limits=limits, timeout=30) as client,
    ):
        while (await client.get("/health/ready")).status_code != 200:
            await asyncio.sleep(0.005)
        yield client


def ask(
    client: httpx.AsyncClient, text: str = "One.", key: str | None = None, **headers: str
) -> "asyncio.Task[httpx.Response]":
    if key is not None:
        headers["authorization"] = f"Bearer {key}"
    body = {"input": text, "response_format": "pcm"}
    return asyncio.create_task(client.post(SPEECH, json=body, headers=headers))


async def test_what_neither_runs_nor_waits_is_refused_at_once_in_the_shape_of_openai() -> None:
    fakes = Busy(AdmissionSettings(max_running=2, max_queued=3))
    fakes.chance = 0.75
    async with client_of(fakes) as client:
        accepted = [ask(client, f"One {number}.") for number in range(5)]
        await eventually(lambda: fakes.num_queued() == 3)
        refused = await client.post(SPEECH, json={"input": "Hi."})
        assert refused.status_code == 503
        assert refused.json()["error"] == {
            "message": "The server has too much to speak; try again later.",
            "type": "server_error",
            "param": None,
            "code": "server_overloaded",
        }
        assert refused.headers["retry-after"] == "3"  # at least 1 s, and 2 s x 0.75
        assert refused.headers["retry-after-ms"] == "2500"
        assert "x-should-retry" not in refused.headers
        fakes.may_speak.set()
        assert {(await answer).status_code for answer in accepted} == {200}
    outcomes = [report.outcome for report in fakes.observer.reports]
    assert outcomes == [Outcome.COMPLETED] * 5
    assert len(fakes.requests.refused) == 1


@pytest.mark.integration
async def test_a_burst_of_500_ends_in_200_and_503_and_leaves_nothing_behind() -> None:
    fakes = Busy(AdmissionSettings(max_running=4, max_queued=8))
    async with client_of(fakes) as client:
        asked = [ask(client, f"One {number}.") for number in range(500)]
        await eventually(lambda: sum(answer.done() for answer in asked) == 488)
        assert (fakes.num_running(), fakes.num_queued()) == (4, 8)
        fakes.may_speak.set()
        statuses = [(await answer).status_code for answer in asked]
        assert (statuses.count(200), statuses.count(503)) == (12, 488)
        load = fakes.metrics.ask_queue()
        assert (load.num_queued, load.num_running, load.num_open) == (0, 0, 0)


async def test_health_metrics_and_lists_do_not_wait() -> None:
    fakes = Busy(AdmissionSettings(max_running=1, max_queued=1))
    async with client_of(fakes) as client:
        asked = [ask(client, f"One {number}.") for number in range(2)]
        await eventually(lambda: fakes.num_queued() == 1)
        for path in FREE_PATHS:
            assert (await client.get(path)).status_code == 200, path
        fakes.may_speak.set()
        await asyncio.gather(*asked)


async def test_readiness_tells_of_a_full_line_and_stays_ready() -> None:
    fakes = Busy(AdmissionSettings(max_running=1, max_queued=1))
    async with client_of(fakes) as client:
        asked = [ask(client, f"One {number}.") for number in range(2)]
        await eventually(lambda: fakes.num_queued() == 1)
        await fakes.clock.advance(2.5)
        answer = await client.get("/health/ready")
        queue = answer.json()["parts"]["queue"]
        fakes.may_speak.set()
        await asyncio.gather(*asked)
    assert answer.status_code == 200
    assert queue.pop("reason")
    assert queue == {
        "ok": False,
        "num_queued": 1,
        "oldest_s": 2.5,
        "num_running": 1,
        "max_running": 1,
    }


async def test_whoever_waits_too_long_is_told_so() -> None:
    fakes = Busy(AdmissionSettings(max_running=1, max_wait_s=10.0))
    async with client_of(fakes) as client:
        first, second = ask(client, "One."), None
        await eventually(lambda: fakes.model.num_running == 1)
        second = ask(client, "Two.")
        await eventually(lambda: fakes.num_queued() == 1)
        await fakes.clock.advance(10.0)
        answer = await second
        assert (answer.status_code, answer.json()["error"]["code"]) == (503, "queue_timeout")
        assert int(answer.headers["retry-after"]) >= 1
        assert fakes.num_queued() == 0
        fakes.may_speak.set()
        assert (await first).status_code == 200
    assert "Two." not in [text for text, *_ in fakes.model.spoken]


@pytest.mark.parametrize("stream", [True, False])
async def test_an_answer_that_does_not_begin_in_time_is_504(*, stream: bool) -> None:
    fakes = Busy(AdmissionSettings(request_timeout_s=7.0))
    async with client_of(fakes) as client:
        asked = asyncio.create_task(client.post(SPEECH, json={"input": "One.", "stream": stream}))
        await eventually(lambda: fakes.model.num_running == 1)
        await fakes.clock.advance(7.0)
        answer = await asked
        assert (answer.status_code, answer.json()["error"]["code"]) == (504, "request_timeout")
        await eventually(lambda: fakes.model.num_running == 0)
    assert fakes.observer.reports[-1].outcome is Outcome.FAILED
    assert fakes.observer.reports[-1].error_code == "request_timeout"


async def test_a_whole_answer_must_be_whole_in_time_and_a_streamed_one_only_begun() -> None:
    fakes = Busy(AdmissionSettings(request_timeout_s=7.0))
    async with client_of(fakes) as client:
        fakes.may_speak.set()

        async def wait_amid(number: int) -> None:
            if number == 1:
                await fakes.clock.sleep(8.0)

        fakes.model.before_chunk = wait_amid
        text = "A sentence of more than one chunk."
        whole = asyncio.create_task(client.post(SPEECH, json={"input": text, "stream": False}))
        await eventually(lambda: 8.0 in fakes.clock.slept_s)
        await fakes.clock.advance(8.0)
        assert (await whole).json()["error"]["code"] == "request_timeout"
        fakes.clock.slept_s.clear()
        body = {"input": text, "response_format": "pcm"}
        async with client.stream("POST", SPEECH, json=body) as streamed:  # entered when it begins
            assert streamed.status_code == 200
            await eventually(lambda: 8.0 in fakes.clock.slept_s)
            await fakes.clock.advance(8.0)
            await streamed.aread()  # raises if what began is cut
        assert fakes.observer.reports[-1].outcome is Outcome.COMPLETED


async def test_a_client_may_wait_for_less_but_not_for_more() -> None:
    fakes = Busy(AdmissionSettings(request_timeout_s=7.0))
    async with client_of(fakes) as client:
        less = ask(client, **{"X-Request-Timeout-Seconds": "2.5"})
        more = ask(client, "Two.", **{"X-Request-Timeout-Seconds": "60"})
        await eventually(lambda: fakes.model.num_running == 2)
        await fakes.clock.advance(2.5)
        assert (await less).status_code == 504
        assert not more.done()
        await fakes.clock.advance(4.5)
        assert (await more).status_code == 504


@pytest.mark.parametrize("value", ["0", "0.5", "-1", "nan", "soon", "", "1,2"])
async def test_a_time_that_is_none_is_an_error(value: str) -> None:
    async with client_of(Fakes()) as client:
        answer = await ask(client, **{"X-Request-Timeout-Seconds": value})
    assert answer.status_code == 400
    assert answer.json()["error"]["code"] == "invalid_request_timeout"


async def test_a_short_text_of_another_key_does_not_wait_for_all_the_long_ones_of_one() -> None:
    fakes = Busy(AdmissionSettings(max_running=1, max_queued=6))
    keys = {"ann": "ann-ann-ann-ann-ann", "bob": "bob-bob-bob-bob-bob"}
    for name, key in keys.items():
        fakes.keys.give(name, key)
    async with client_of(fakes) as client:
        many = [ask(client, f"Long {number}. " * 20, keys["ann"]) for number in range(7)]
        await eventually(lambda: fakes.num_queued() == 6)
        short = ask(client, "Short.", keys["bob"])
        await eventually(lambda: any(answer.done() for answer in many))
        assert fakes.num_queued() == 6
        fakes.may_speak.set()
        assert (await short).status_code == 200
        statuses = [(await answer).status_code for answer in many]
        assert sorted(statuses) == [200] * 6 + [503]
    begun = [text for text, *_ in fakes.model.spoken]
    others = {text.split(".")[0] for text in begun[: begun.index("Short.")]} - {WARM_UP_TEXT}
    assert len(others) <= 2, "only the one that ran, and maybe one whose turn it was"


async def test_while_the_model_loads_no_more_wait_than_may() -> None:
    fakes = Fakes(Settings(admission=AdmissionSettings(max_running=2, max_queued=3)))
    fakes.model.may_load.clear()
    async with serving(fakes.app()) as url, httpx.AsyncClient(base_url=url, timeout=30) as client:
        asked = [ask(client, f"One {number}.") for number in range(20)]
        await eventually(lambda: sum(answer.done() for answer in asked) == 15)
        fakes.model.may_load.set()
        statuses = [(await answer).status_code for answer in asked]
    assert (statuses.count(200), statuses.count(503)) == (5, 15)


async def test_speech_that_is_kept_needs_no_turn() -> None:
    fakes = Busy(AdmissionSettings(max_running=1, max_queued=1))
    async with client_of(fakes) as client:
        first = ask(client, "One.")
        await eventually(lambda: fakes.model.num_running == 1)
        fakes.cache.held.add("Known.")
        fakes.model.before_speaking = None
        assert (await client.post(SPEECH, json={"input": "Known."})).status_code == 200
        assert not first.done()
        fakes.may_speak.set()
        assert (await first).status_code == 200


async def test_what_has_no_place_is_refused_before_its_body_is_read() -> None:
    fakes = Busy(AdmissionSettings(max_running=1, max_queued=1))
    async with client_of(fakes) as client:
        asked = [ask(client, f"One {number}.") for number in range(2)]
        await eventually(lambda: fakes.num_queued() == 1)
        refused = await client.post(SPEECH, content=b"no JSON at all")
        assert refused.json()["error"]["code"] == "server_overloaded"
        await eventually(lambda: fakes.requests.refused == ["server_overloaded"])
        fakes.may_speak.set()
        assert {(await answer).status_code for answer in asked} == {200}
    assert len(fakes.observer.reports) == 2


@pytest.mark.integration
async def test_a_listener_who_has_enough_lets_others_speak() -> None:
    fakes = Fakes(
        Settings(
            admission=AdmissionSettings(max_running=1),
            speech=SpeechSettings(max_chars=100_000, prefetch_s=1.0),
        )
    )
    fakes.encoders = StreamingEncoders()  # type: ignore[assignment]
    long_text = "This sentence is one of a great many that follow. " * 600
    async with client_of(fakes) as client:
        body = {"input": long_text, "response_format": "pcm"}
        async with client.stream("POST", SPEECH, json=body) as slow:
            chunks = slow.aiter_raw()
            await anext(chunks)
            other = await asyncio.wait_for(ask(client, "Short."), 10)
            assert other.status_code == 200
            assert fakes.metrics.ask_queue().num_open == 1
            num_bytes = sum([len(chunk) async for chunk in chunks])
    assert num_bytes > 25e6, "more than the system takes of what nobody reads"
    assert fakes.observer.reports[-1].outcome is Outcome.COMPLETED


async def test_on_a_socket_an_utterance_waits_once_it_is_written_and_may_be_refused() -> None:
    fakes = Busy(AdmissionSettings(max_running=1, max_queued=0))
    async with client_of(fakes) as client:
        url = str(client.base_url).replace("http", "ws", 1) + SPEECH + "/stream"
        async with connect(url) as connection:
            live = LiveClient(connection)
            await live.until("ready")
            await live.send("text", text="Half a")
            await live.until("utterance.started")
            first = ask(client, "One.")  # nothing of the utterance is to be spoken yet
            await eventually(lambda: fakes.model.num_running == 1)
            await live.send("text", text=" sentence. ")
            await live.send("end")
            error, *_ = await live.until("error")
            assert error["error"]["code"] == "server_overloaded"
            fakes.may_speak.set()
            assert (await first).status_code == 200
            await live.send("text", text="Again. ")
            await live.send("end")
            await live.until("utterance.ended")
    load = fakes.metrics.ask_queue()
    assert (load.num_queued, load.num_running, load.num_open) == (0, 0, 0)


async def test_a_text_that_grows_too_much_in_words_is_refused() -> None:
    fakes = Fakes(Settings(speech=SpeechSettings(max_chars=50)))
    async with client_of(fakes) as client:
        answer = await ask(client, "\u2265" * 40)
    assert answer.status_code == 400
    error = answer.json()["error"]
    assert (error["code"], error["param"]) == ("string_above_max_length", "input")
    assert "in words" in error["message"]
    assert msgspec.structs.asdict(fakes.observer.reports[-1])["num_chars"] == 40


async def test_the_time_a_client_waits_counts_while_the_model_loads() -> None:
    fakes = Fakes()
    fakes.model.may_load.clear()
    async with serving(fakes.app()) as url, httpx.AsyncClient(base_url=url, timeout=30) as client:
        answer = ask(client, **{"X-Request-Timeout-Seconds": "3"})
        await eventually(lambda: 3.0 in fakes.clock.slept_s)
        await fakes.clock.advance(3.0)
        assert (await answer).status_code == 504


async def test_a_refusal_reaches_a_client_that_is_still_sending_its_body() -> None:
    fakes = Busy(AdmissionSettings(max_running=1, max_queued=1))
    async with client_of(fakes) as client:
        accepted = [ask(client, f"One {number}.") for number in range(2)]
        await eventually(lambda: fakes.num_queued() == 1)
        url = client.base_url
        reader, writer = await asyncio.open_connection(url.host, url.port)
        head = f"POST {SPEECH} HTTP/1.1\r\nhost: localhost\r\ncontent-type: application/json\r\n"
        writer.write(f"{head}content-length: 200000\r\n\r\n".encode())
        first = await reader.readuntil(b"\r\n\r\n")
        for _ in range(20):
            writer.write(b" " * 10_000)
            await asyncio.sleep(0.001)
        rest = await reader.read()
        writer.close()
        fakes.may_speak.set()
        assert [answer.status_code for answer in await asyncio.gather(*accepted)] == [200, 200]
    assert first.startswith(b"HTTP/1.1 503 ")
    assert msgspec.json.decode(rest)["error"]["code"] == "server_overloaded"


async def test_nothing_that_follows_a_refusal_on_its_connection_is_taken_for_a_request() -> None:
    fakes = Busy(AdmissionSettings(max_running=1, max_queued=1))
    async with client_of(fakes) as client:
        accepted = [ask(client, f"One {number}.") for number in range(2)]
        await eventually(lambda: fakes.num_queued() == 1)
        head = f"POST {SPEECH} HTTP/1.1\r\nhost: localhost\r\ncontent-type: application/json\r\n"
        head += "content-length: 4\r\ntransfer-encoding: chunked\r\n\r\n39\r\n"
        reader, writer = await asyncio.open_connection(client.base_url.host, client.base_url.port)
        writer.write(head.encode())
        await asyncio.sleep(0.05)
        writer.write(b"GET /health/live HTTP/1.1\r\nhost: localhost\r\n\r\n\r\n0\r\n\r\n")
        answers = await reader.read()
        writer.close()
        fakes.may_speak.set()
        await asyncio.gather(*accepted)
    assert answers.count(b"HTTP/1.1 ") == 1
    assert answers.startswith(b"HTTP/1.1 503 ")
    assert b"\r\nconnection: close\r\n" in answers
