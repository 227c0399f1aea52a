"""What a caller gets of a model that does whatever it should not, through the whole server."""

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Iterable
from typing import Any

import httpx
import numpy as np
import pytest

from app.adapters.encoding.encoders import StreamingEncoders
from app.adapters.speech.resilient import ResilientModel
from app.domain.audio import AudioChunk
from app.domain.errors import InstanceDeadError
from app.domain.resilience import PROBE_TEXT, ResiliencePolicy
from app.domain.segment import TextSegment
from app.domain.services.lifecycle import WARM_UP_TEXT
from app.domain.speech import Outcome, SynthesisParams
from tests.examples import table
from tests.fakes.speech_model import FAKE_INFO, FakeSpeechModel
from tests.listening import decode_file
from tests.pools import pool_of
from tests.serving import Fakes, serving

SPEECH = "/v1/audio/speech"
RATE = FAKE_INFO.sample_rate
NUM_SAMPLES = RATE // 10
HANG = object()
"""A step of a script: nothing more comes."""


def good(number: int = 1) -> list[Any]:
    return [AudioChunk(np.full(NUM_SAMPLES, 0.1, np.float32), RATE)] * number


def of(samples: Any, rate: int = RATE) -> Callable[[], AudioChunk]:
    """Made when it is due, inside the model, as a model would."""
    return lambda: AudioChunk(samples, rate)


class ScriptedModel(FakeSpeechModel):
    """Does what its script says, once for each entry; then it works again.

    A step is a chunk, an exception, HANG, or a function that is called and gives a chunk.
    """

    def __init__(self) -> None:
        super().__init__()
        self.scripts: list[Iterable[Any]] = []
        self.num_calls = 0
        self.is_hanging = False

    async def synthesize(
        self, segment: TextSegment, params: SynthesisParams, due_at: float = 0.0
    ) -> AsyncGenerator[AudioChunk, None]:
        if segment.text in (PROBE_TEXT, WARM_UP_TEXT):  # follows no script
            yield good()[0]
            return
        self.num_calls += 1
        self.num_running += 1
        try:
            for step in self.scripts.pop(0) if self.scripts else good():
                await asyncio.sleep(0)
                if isinstance(step, BaseException):
                    raise step
                if step is HANG:
                    self.is_hanging = True
                    await asyncio.Event().wait()
                yield step() if callable(step) else step
        finally:
            self.is_hanging = False
            self.num_running -= 1


class Rig:
    """A server around a model that can be broken."""

    def __init__(self, client: httpx.AsyncClient, fakes: Fakes, model: ScriptedModel) -> None:
        self.client = client
        self.fakes = fakes
        self.model = model

    async def ask(self, *steps: Any, times: int = 1, **fields: Any) -> httpx.Response:
        """One request, the model following `steps` so many times."""
        self.model.scripts = [list(steps) for _ in range(times)]
        return await self.client.post(SPEECH, json={"input": "Hi.", **fields})

    async def until_hanging(self) -> None:
        while not self.model.is_hanging:
            await asyncio.sleep(0.01)
        await asyncio.sleep(0.1)  # what was made before is on its way

    async def assert_unharmed(self) -> None:
        """Nothing runs any more, and the next request is served."""
        while self.model.num_running:
            await asyncio.sleep(0.01)
        assert (await self.ask()).status_code == 200


@pytest.fixture
async def rig() -> AsyncIterator[Rig]:
    fakes, model = Fakes(), ScriptedModel()
    pool = pool_of(model, fakes.clock, fakes.observer)
    policy = ResiliencePolicy(retry_pause_s=0.0)
    resilient = ResilientModel(pool, fakes.clock, policy, fakes.observer, lambda: 0.0)
    app = fakes.app(model=resilient, health=resilient.health, encoders=StreamingEncoders())
    async with serving(app) as url, httpx.AsyncClient(base_url=url) as client:
        while (await client.get("/health/ready")).status_code != 200:
            await asyncio.sleep(0.01)
        yield Rig(client, fakes, model)


def num_wav_bytes(num_chunks: int) -> int:
    """Of a streamed file in which so many chunks were sent."""
    return 44 + num_chunks * NUM_SAMPLES * 2


def error_of(answer: httpx.Response) -> tuple[int, str]:
    return answer.status_code, answer.json()["error"]["code"]


async def cut_after(rig: Rig, *steps: Any, **fields: Any) -> int:
    """How many bytes came before the connection was cut."""
    rig.model.scripts = [list(steps)]
    num_bytes = 0
    with pytest.raises(httpx.RemoteProtocolError):
        async with rig.client.stream(
            "POST", SPEECH, json={"input": "Hi.", "response_format": "wav", **fields}
        ) as answer:
            assert answer.status_code == 200
            async for part in answer.aiter_raw():
                num_bytes += len(part)
    return num_bytes


async def test_an_exception_before_the_first_chunk_is_an_error_without_its_words(rig: Rig) -> None:
    answer = await rig.ask(RuntimeError("a secret detail of /path"))
    assert error_of(answer) == (500, "synthesis_failed")
    assert "secret" not in answer.text
    await rig.assert_unharmed()


async def test_a_dead_instance_before_the_first_chunk_is_tried_once_more_and_unseen(
    rig: Rig,
) -> None:
    before = rig.model.num_calls
    assert (await rig.ask(InstanceDeadError())).status_code == 200
    assert rig.model.num_calls == before + 2
    assert error_of(await rig.ask(InstanceDeadError(), times=2, input="Ho.")) == (
        503,
        "engine_unavailable",
    )


@pytest.mark.parametrize("error", [RuntimeError("x"), InstanceDeadError(), MemoryError()])
async def test_an_exception_after_three_chunks_cuts_the_answer_and_counts_once(
    rig: Rig, error: Exception
) -> None:
    before = rig.model.num_calls
    num_bytes = await cut_after(rig, *good(3), error)
    assert 0 < num_bytes <= num_wav_bytes(3)
    assert rig.model.num_calls == before + 1
    assert rig.fakes.observer.reports[-1].outcome is Outcome.FAILED
    await rig.assert_unharmed()


WHOLE = pytest.mark.parametrize(
    "fields", [{"stream": False}, {"store": True}], ids=["not streamed", "stored"]
)


@WHOLE
async def test_a_dead_instance_after_three_chunks_of_a_whole_answer_is_unseen(
    rig: Rig, fields: dict[str, Any]
) -> None:
    plain = await rig.ask(*good(4), stream=False)
    before = rig.model.num_calls
    rig.model.scripts = [[*good(3), InstanceDeadError()], good(4)]
    answer = await rig.client.post(SPEECH, json={"input": "Hi.", **fields})
    assert (answer.status_code, answer.content) == (200, plain.content)
    assert rig.model.num_calls == before + 2
    assert rig.fakes.observer.reports[-1].outcome is Outcome.COMPLETED
    await rig.assert_unharmed()


async def test_a_whole_answer_that_loses_two_instances_is_a_503(rig: Rig) -> None:
    before = rig.model.num_calls
    answer = await rig.ask(*good(3), InstanceDeadError(), times=3, stream=False)
    assert error_of(answer) == (503, "engine_unavailable")
    assert rig.model.num_calls == before + 2


@WHOLE
async def test_a_model_that_hangs_amid_a_whole_answer_is_tried_again_and_unseen(
    rig: Rig, fields: dict[str, Any]
) -> None:
    plain = await rig.ask(*good(4), stream=False)
    rig.model.scripts = [[*good(3), HANG], good(4)]
    asking = asyncio.create_task(rig.client.post(SPEECH, json={"input": "Hi.", **fields}))
    await rig.until_hanging()
    await rig.fakes.clock.advance(6)
    answer = await asking
    assert (answer.status_code, answer.content) == (200, plain.content)
    await rig.assert_unharmed()


async def test_a_whole_answer_that_hangs_again_has_only_the_time_of_a_request(rig: Rig) -> None:
    rig.model.scripts = [[*good(3), HANG]] * 2
    asking = asyncio.create_task(
        rig.client.post(
            SPEECH,
            json={"input": "Hi.", "stream": False},
            headers={"x-request-timeout-seconds": "8"},
        )
    )
    for _ in range(2):
        await rig.until_hanging()
        await rig.fakes.clock.advance(6)
    assert error_of(await asking) == (504, "request_timeout")
    await rig.assert_unharmed()


async def test_memory_that_is_too_small_is_an_error_and_the_next_request_is_served(
    rig: Rig,
) -> None:
    assert error_of(await rig.ask(MemoryError())) == (500, "synthesis_failed")
    await rig.assert_unharmed()


async def test_a_model_that_hangs_before_its_first_chunk_is_a_timeout(rig: Rig) -> None:
    asking = asyncio.create_task(rig.ask(HANG, times=2))
    for _ in range(2):  # the first is tried again
        await rig.until_hanging()
        await rig.fakes.clock.advance(10)
    assert error_of(await asking) == (504, "speech_timeout")
    await rig.assert_unharmed()


async def test_a_model_that_hangs_between_two_chunks_cuts_the_answer(rig: Rig) -> None:
    cutting = asyncio.create_task(cut_after(rig, *good(3), HANG))
    await rig.until_hanging()
    await rig.fakes.clock.advance(6)
    assert await cutting == num_wav_bytes(3)
    await rig.assert_unharmed()


INVALID = {
    "NaN": of(np.array([0.1, np.nan], np.float32)),
    "infinity": of(np.array([np.inf], np.float32)),
    "doubles": of(np.zeros(100)),
    "integers": of(np.zeros(100, np.int16)),
    "two channels": of(np.zeros((2, 100), np.float32)),
    "a number": of(np.float32(0.5)),
    "no rate": of(np.zeros(100, np.float32), 0),
}


@pytest.mark.parametrize("name", INVALID)
async def test_samples_that_must_not_be_heard_are_an_error_and_never_sent(
    rig: Rig, name: str
) -> None:
    status, _ = error_of(await rig.ask(INVALID[name]))
    assert status == 500
    assert await cut_after(rig, *good(2), INVALID[name]) <= num_wav_bytes(2)
    await rig.assert_unharmed()


@pytest.mark.parametrize("step", [b"bytes", "text", 5])
async def test_what_is_no_audio_at_all_is_an_error(rig: Rig, step: Any) -> None:
    assert (await rig.ask(step)).status_code == 500
    await rig.assert_unharmed()


async def test_audio_at_another_rate_is_an_error(rig: Rig) -> None:
    answer = await rig.ask(AudioChunk(np.zeros(100, np.float32), 8_000))
    assert error_of(answer) == (500, "encoding_failed")
    await rig.assert_unharmed()


EMPTY = AudioChunk(np.zeros(0, np.float32), RATE)


@table("audio_format", ["mp3", "opus", "aac", "flac", "wav", "pcm"])
@table("stream", [True, False])
async def test_chunks_without_samples_are_passed_over(
    rig: Rig, audio_format: str, *, stream: bool
) -> None:
    fields: dict[str, Any] = {"response_format": audio_format, "stream": stream}
    plain = await rig.ask(*good(2), **fields)
    mixed = await rig.ask(EMPTY, *good(), EMPTY, EMPTY, *good(), EMPTY, **fields)
    assert mixed.status_code == 200
    assert mixed.content == plain.content


async def test_a_word_of_which_only_empty_chunks_come_is_a_failure_of_the_model(rig: Rig) -> None:
    answers = [await rig.ask(EMPTY, EMPTY) for _ in range(6)]
    assert [answer.status_code for answer in answers[:4]] == [200] * 4
    assert error_of(answers[-1]) == (503, "engine_unavailable")


@table("num_samples", [1, 2, 7, 1_023, 48_001])
@table("audio_format", ["mp3", "opus", "aac", "flac", "wav"])
async def test_chunks_of_any_length_are_a_file(
    rig: Rig, audio_format: str, num_samples: int
) -> None:
    chunk = AudioChunk(np.full(num_samples, 0.1, np.float32), RATE)
    answer = await rig.ask(chunk, *good(5), chunk, response_format=audio_format)
    assert answer.status_code == 200
    samples, rate, _ = decode_file(answer.content)
    assert len(samples) / rate >= 5 * NUM_SAMPLES / RATE


async def test_five_failures_of_any_kind_and_callers_are_told_when_to_come_back(rig: Rig) -> None:
    await rig.fakes.clock.advance(31)
    kinds = [RuntimeError(), MemoryError(), INVALID["NaN"], RuntimeError(), ValueError()]
    for kind in kinds:
        assert (await rig.ask(kind)).status_code == 500
    refused = await rig.ask()
    assert error_of(refused) == (503, "engine_unavailable")
    assert int(refused.headers["retry-after"]) >= 1


async def test_a_clock_that_jumps_ends_no_answer_that_is_being_made(rig: Rig) -> None:
    """As after a laptop has slept, for less than a request may take; nobody notices."""
    plain = (await rig.ask(*good(4), response_format="pcm")).content
    asking = asyncio.create_task(rig.ask(*good(4), response_format="pcm"))
    while not rig.model.num_running:
        await asyncio.sleep(0)
    await rig.fakes.clock.advance(100)
    assert (await asking).content == plain
    await rig.assert_unharmed()
