"""A hundred clients that leave, at every stage of an answer: each time the work for it stops."""

import asyncio
from time import perf_counter
from typing import Any, Final

import httpx
import msgspec
import numpy as np
import pytest

from app.domain.errors import SynthesisError
from app.domain.services.lifecycle import WARM_UP_TEXT
from app.domain.speech import Outcome
from tests.eventually import eventually
from tests.fakes.speech_observer import FakeSpeechObserver
from tests.leaving import SPEECH, ask, asking, serving_when_ready, silent_from
from tests.serving import Fakes, serving

NUM_DISCONNECTS: Final = 20
"""Of each of five kinds."""

TEXT: Final = "One one. Two two."
STREAMED: Final = {"input": TEXT, "response_format": "pcm"}
EVENTS: Final = STREAMED | {"stream_format": "sse"}
WHOLE: Final = STREAMED | {"stream": False}


def cancelled(observer: FakeSpeechObserver) -> int:
    return sum(report.outcome is Outcome.CANCELLED for report in observer.reports)


@pytest.mark.parametrize(
    ("body", "first_silent"),
    [(STREAMED, 0), (STREAMED, 1), (EVENTS, 1), (WHOLE, 0), (WHOLE, 1)],
    ids=["before the first byte", "amid a stream", "amid events", "unbegun whole", "amid whole"],
)
async def test_the_model_is_stopped_when_its_client_leaves(
    fakes: Fakes,
    body: dict[str, Any],
    first_silent: int,
    capsys: pytest.CaptureFixture[str],
    request: pytest.FixtureRequest,
) -> None:
    took_s: list[float] = []
    async with serving_when_ready(fakes) as url:
        silent_from(fakes, first_silent)
        for _ in range(NUM_DISCONNECTS):
            async with asking(url, body) as reader:
                if first_silent and body is not WHOLE:
                    assert (await reader.read(10)).startswith(b"HTTP/1.1 2")
                await eventually(lambda: fakes.model.num_running > 0)
                left_at = perf_counter()
            await eventually(lambda: fakes.model.num_running == 0)
            took_s.append(perf_counter() - left_at)
            await eventually(lambda: cancelled(fakes.observer) == len(took_s))
    with capsys.disabled():
        print(f"\n{request.node.callspec.id}: {describe(took_s)}")


@pytest.mark.parametrize("behind", [b"\r\n", b"X", b"GET / HTTP/1.1\r\n\r\n" * 3, b"a" * 200_000])
async def test_a_client_that_leaves_more_behind_its_request_is_noticed(
    fakes: Fakes, behind: bytes
) -> None:
    async with serving_when_ready(fakes) as url:
        silent_from(fakes, 0)
        reader, writer = await ask(url, WHOLE)
        await eventually(lambda: fakes.model.num_running > 0)
        writer.write(behind)
        await asyncio.sleep(0.05)
        left_at = perf_counter()
        writer.transport.abort()
        await eventually(lambda: fakes.model.num_running == 0)
        assert perf_counter() - left_at < 1.0
        assert reader is not None


async def test_half_a_close_ends_a_stream_that_nobody_reads(fakes: Fakes) -> None:
    async with serving_when_ready(fakes) as url:
        silent_from(fakes, 1)
        _, writer = await ask(url, STREAMED)
        await eventually(lambda: fakes.model.num_running > 0)
        writer.write_eof()
        await eventually(lambda: cancelled(fakes.observer) == 1)
        writer.close()


def describe(took_s: list[float]) -> str:
    p50, p99 = np.quantile(took_s, [0.5, 0.99]) * 1e3
    return f"{len(took_s)} disconnects, stopped after {p50:.1f} ms (p50), {p99:.1f} ms (p99)"


async def test_who_leaves_while_the_model_loads_is_not_spoken_to(fakes: Fakes) -> None:
    fakes.model.may_load.clear()
    async with serving(fakes.app()) as url:
        num_sleepers = fakes.clock.num_sleepers
        for _ in range(NUM_DISCONNECTS):
            async with asking(url, STREAMED):
                await eventually(lambda: fakes.settings.model.load_wait_s in fakes.clock.slept_s)
                fakes.clock.slept_s.clear()
        await eventually(lambda: cancelled(fakes.observer) == NUM_DISCONNECTS)
        assert fakes.clock.num_sleepers == num_sleepers
        fakes.model.may_load.set()
        async with httpx.AsyncClient(base_url=url) as client:
            assert (await client.post(SPEECH, json=STREAMED)).status_code == 200
    assert [text for text, *_ in fakes.model.spoken] == [WARM_UP_TEXT, "One one.", "Two two."]


async def ask_as_an_old_client(url: str) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    """A stream over HTTP/1.0."""
    address, body = httpx.URL(url), msgspec.json.encode(STREAMED)
    reader, writer = await asyncio.open_connection(address.host, address.port)
    writer.write(
        b"POST /v1/audio/speech HTTP/1.0\r\nHost: localhost\r\n"
        b"Content-Type: application/json\r\nContent-Length: %d\r\n\r\n%s" % (len(body), body)
    )
    return reader, writer


async def test_an_answer_that_breaks_is_reset_to_http_1_0_which_knows_no_other_end(
    fakes: Fakes,
) -> None:
    fakes.model.fail_on = ("Two two.", SynthesisError())
    async with serving_when_ready(fakes) as url:
        reader, writer = await ask_as_an_old_client(url)
        with pytest.raises(ConnectionResetError):
            while await asyncio.wait_for(reader.read(65_536), 10):
                pass
        writer.close()


async def test_an_old_client_that_leaves_amid_a_stream_is_no_error(
    fakes: Fakes, caplog: pytest.LogCaptureFixture
) -> None:
    """Its socket is closed when the application ends."""
    async with serving_when_ready(fakes) as url:
        silent_from(fakes, 1)
        reader, writer = await ask_as_an_old_client(url)
        assert (await reader.read(10)).startswith(b"HTTP/1.1 2")
        writer.close()
        await eventually(lambda: cancelled(fakes.observer) == 1)
        await asyncio.sleep(0.1)
    assert [record for record in caplog.records if record.levelname == "ERROR"] == []
