import asyncio
from collections.abc import Coroutine
from typing import Any, TypeVar

import pytest

from app.domain.admission import AdmissionLimits
from app.domain.audio import AudioFormat
from app.domain.errors import (
    InputTooLongError,
    ModelLoadingError,
    ModelNotFoundError,
    SpeechError,
    SynthesisError,
    UnsupportedSampleRateError,
    VoiceNotFoundError,
)
from app.domain.segment import TextSegment
from app.domain.services.admission import Admission
from app.domain.services.lifecycle import Readiness
from app.domain.services.speech import SILENCE_S, SpeechLimits, SpeechService
from app.domain.services.speech_ports import SpeechPorts
from app.domain.services.speech_stream import SpeechStream
from app.domain.speech import (
    CacheStatus,
    Catalog,
    Outcome,
    SpeechOptions,
    SpeechReport,
    SpeechRequest,
)
from tests.fakes.audio_encoder import FakeAudioEncoders
from tests.fakes.clock import FakeClock
from tests.fakes.speech_cache import FakeSpeechCache
from tests.fakes.speech_model import CHUNK_S, SECONDS_PER_CHAR, FakeSpeechModel
from tests.fakes.speech_observer import FakeSpeechObserver

T = TypeVar("T")

MAX_CHARS = 200
FIVE_SENTENCES = "One one. Two two. Three three. Four four. Five five."


class Rig:
    """A service over fakes."""

    def __init__(self) -> None:
        self.model = FakeSpeechModel()
        self.encoders = FakeAudioEncoders()
        self.clock = FakeClock()
        self.observer = FakeSpeechObserver()
        self.cache = FakeSpeechCache()
        ports = SpeechPorts(self.model, self.encoders, self.clock, self.observer, self.cache)
        self.readiness = Readiness(ports, load_wait_s=10.0)
        self.admission = Admission(AdmissionLimits(), self.clock, lambda: 0.0)
        self.service = SpeechService(
            ports,
            self.readiness,
            self.admission,
            Catalog(self.model.info),
            SpeechLimits(MAX_CHARS),
        )

    async def load(self) -> "Rig":
        await self.readiness.load()
        self.model.spoken.clear()
        self.encoders.opened.clear()
        self.encoders.encodings.clear()
        return self


async def never(_: TextSegment) -> None:
    await asyncio.Event().wait()


@pytest.fixture
async def rig() -> Rig:
    return await Rig().load()


async def collect(stream: SpeechStream) -> bytes:
    """All that is sent of an answer that is sent whole."""
    body = bytearray()

    async def write(part: bytes) -> None:
        body.extend(part)

    await stream.save(write)
    head = stream.head()
    return head + bytes(body[len(head) :])


async def let_time_pass(rig: Rig, work: Coroutine[Any, Any, T]) -> T:
    """The result of `work`, part of which runs in threads; a second passes whenever it waits."""
    task = asyncio.create_task(work)
    while not task.done():
        if rig.clock.num_sleepers:
            await rig.clock.advance(1.0)
        await asyncio.sleep(0.001)
    return await task


async def test_of_a_whole_answer_first_audio_is_when_it_is_made_and_nobody_waits_in_it(
    rig: Rig,
) -> None:
    rig.model.before_chunk = lambda _: rig.clock.sleep(1.0)
    request = SpeechRequest(text=FIVE_SENTENCES)
    stream = await let_time_pass(rig, rig.service.start(request, is_whole=True))
    await let_time_pass(rig, collect(stream))
    (report,) = rig.observer.reports
    assert report.first_audio_s == 1.0
    assert report.stalled_s is None


async def test_segments_are_spoken_in_order_by_the_voice_and_at_the_speed_asked_for(
    rig: Rig,
) -> None:
    stream = await rig.service.start(SpeechRequest(text="One. Two.", voice="fan", speed=1.1))
    body = await collect(stream)
    assert rig.model.spoken == [("One.", "fan", 1.1), ("Two.", "fan", 1.1)]
    assert body.endswith(b"!")


@pytest.mark.parametrize("audio_format", [AudioFormat.PCM, AudioFormat.MP3])
async def test_others_have_a_turn_after_each_chunk_of_an_answer_that_need_not_wait(
    rig: Rig, audio_format: AudioFormat
) -> None:
    stream = await rig.service.start(SpeechRequest(text=FIVE_SENTENCES, format=audio_format))
    for _ in range(200):  # all is made
        await asyncio.sleep(0)
    num_turns = 0

    def count_turn() -> None:
        nonlocal num_turns
        num_turns += 1
        loop.call_soon(count_turn)

    loop = asyncio.get_running_loop()
    loop.call_soon(count_turn)
    num_parts = len([part async for part in stream if isinstance(part, bytes)])
    assert num_turns >= num_parts > 5


async def test_what_is_collected_is_what_is_streamed_but_for_the_head(rig: Rig) -> None:
    request = SpeechRequest(text=FIVE_SENTENCES)
    stream = await rig.service.start(request)
    parts = [part async for part in stream if isinstance(part, bytes)]
    whole = await collect(await rig.service.start(request))
    assert b"".join(parts)[8:] == whole[8:]
    assert parts[0].startswith(b"<000000>")
    assert whole.startswith(rig.encoders.opened[-1].head())


async def test_the_first_bytes_do_not_wait_for_the_second_segment(rig: Rig) -> None:
    async def wait_after_the_first(segment: TextSegment) -> None:
        if segment.index > 0:
            await never(segment)

    rig.model.before_speaking = wait_after_the_first
    stream = await rig.service.start(SpeechRequest(text=FIVE_SENTENCES))
    async for part in stream:
        assert part
        break
    await stream.aclose()
    assert rig.model.num_running == 0


@pytest.mark.parametrize("text", [".", "😀", "  ", "?!..."])
async def test_text_with_nothing_to_pronounce_is_a_short_silence(rig: Rig, text: str) -> None:
    await collect(await rig.service.start(SpeechRequest(text=text)))
    (encoder,) = rig.encoders.opened
    assert sum(chunk.duration_s for chunk in encoder.chunks) == SILENCE_S
    assert not any(chunk.samples.any() for chunk in encoder.chunks)
    assert rig.observer.reports[-1].outcome is Outcome.COMPLETED


async def test_a_failure_before_the_first_chunk_is_raised_by_start(rig: Rig) -> None:
    rig.model.fail_on = ("One.", SynthesisError())
    with pytest.raises(SynthesisError):
        await rig.service.start(SpeechRequest(text="One. Two."))
    (report,) = rig.observer.reports
    assert (report.outcome, report.error_code) == (Outcome.FAILED, "synthesis_failed")


async def test_a_failure_later_breaks_off_the_stream(rig: Rig) -> None:
    rig.model.fail_on = ("Two.", SynthesisError())
    stream = await rig.service.start(SpeechRequest(text="One. Two."))
    received = []
    with pytest.raises(SynthesisError):
        async for part in stream:
            received += [part] if isinstance(part, bytes) else []
    assert received
    assert b"!" not in b"".join(received)
    (report,) = rig.observer.reports
    assert report.outcome is Outcome.FAILED


@pytest.mark.parametrize(
    ("request_", "error"),
    [
        (SpeechRequest(text="a" * (MAX_CHARS + 1)), InputTooLongError),
        (SpeechRequest(text="a", model="other"), ModelNotFoundError),
        (SpeechRequest(text="a", voice="other"), VoiceNotFoundError),
        (SpeechRequest(text="a", sample_rate=7), UnsupportedSampleRateError),
    ],
)
async def test_what_cannot_work_is_rejected_before_the_model_is_asked(
    rig: Rig, request_: SpeechRequest, error: type[SpeechError]
) -> None:
    with pytest.raises(error):
        await rig.service.start(request_)
    assert rig.model.spoken == []
    (report,) = rig.observer.reports
    assert (report.outcome, report.error_code) == (Outcome.REJECTED, error.code)


async def test_the_limit_counts_code_points(rig: Rig) -> None:
    await collect(await rig.service.start(SpeechRequest(text="😀" * MAX_CHARS)))
    assert rig.observer.reports[-1].num_chars == MAX_CHARS


async def test_closing_the_stream_stops_the_model_and_is_reported_as_cancelled(rig: Rig) -> None:
    stream = await rig.service.start(SpeechRequest(text=FIVE_SENTENCES))
    await stream.aclose()
    assert rig.model.num_running == 0
    assert rig.observer.reports[-1].outcome is Outcome.CANCELLED


async def test_cancelling_start_stops_the_model(rig: Rig) -> None:
    rig.model.before_speaking = never
    starting = asyncio.create_task(rig.service.start(SpeechRequest(text="One.")))
    while not rig.model.num_running:
        await asyncio.sleep(0.001)
    starting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await starting
    assert rig.model.num_running == 0
    assert rig.observer.reports[-1].outcome is Outcome.CANCELLED


async def test_the_report_counts_what_was_heard(rig: Rig) -> None:
    async def take_two_seconds(segment: TextSegment) -> None:
        if segment.index == 0:
            await rig.clock.advance(2.0)

    rig.model.before_speaking = take_two_seconds
    request = SpeechRequest(text="One one. Two two.", format=AudioFormat.FLAC, voice="alloy")
    await collect(await rig.service.start(request))
    (report,) = rig.observer.reports
    assert report.num_chars == 17
    assert (report.num_segments, report.num_segments_spoken) == (2, 2)
    assert report.voice == "bee"
    assert report.format is AudioFormat.FLAC
    assert report.audio_s == pytest.approx(16 * 0.02)
    assert report.first_audio_s == pytest.approx(2.0)
    assert report.total_s == pytest.approx(2.0)


@pytest.mark.parametrize(
    ("held", "is_on", "text", "expected"),
    [
        ({"One.", "Two."}, True, "One. Two.", CacheStatus.HIT),
        ({"Two."}, True, "One. Two.", CacheStatus.PARTIAL),
        (set(), True, "One. Two.", CacheStatus.MISS),
        ({"One.", "Two."}, False, "One. Two.", CacheStatus.BYPASS),
        (set(), True, "...", CacheStatus.BYPASS),
    ],
)
async def test_the_report_says_how_much_was_kept_before_the_first_bytes(
    rig: Rig, held: set[str], text: str, expected: CacheStatus, *, is_on: bool
) -> None:
    rig.cache.held = held
    rig.cache.is_on = is_on
    stream = await rig.service.start(SpeechRequest(text=text))
    assert stream.report.cache is expected
    await collect(stream)
    assert rig.observer.reports[-1].cache is expected


async def test_a_request_that_is_rejected_says_nothing_of_the_cache(rig: Rig) -> None:
    with pytest.raises(ModelNotFoundError):
        await rig.service.start(SpeechRequest(text="One.", model="other"))
    assert rig.observer.reports[-1].cache is None


async def test_a_request_waits_for_a_model_that_is_loading() -> None:
    rig = Rig()
    rig.model.may_load.clear()
    loading = asyncio.create_task(rig.readiness.load())
    starting = asyncio.create_task(rig.service.start(SpeechRequest(text="One.")))
    await rig.clock.advance(9.0)
    assert not starting.done()
    rig.model.may_load.set()
    await loading
    assert await collect(await starting)


async def test_a_request_gives_up_on_a_model_that_loads_too_long() -> None:
    rig = Rig()
    rig.model.may_load.clear()
    loading = asyncio.create_task(rig.readiness.load())
    starting = asyncio.create_task(rig.service.start(SpeechRequest(text="One.")))
    while not rig.clock.num_sleepers:
        await asyncio.sleep(0.001)
    await rig.clock.advance(10.0)
    with pytest.raises(ModelLoadingError) as caught:
        await starting
    assert caught.value.retry_after_s > 0
    loading.cancel()


async def hear(rig: Rig, pauses_s: list[float], reading_s: float = 0.0) -> SpeechReport:
    """The report of a speech whose chunks come after `pauses_s`; each is read in `reading_s`."""
    is_asked, may_come = asyncio.Event(), asyncio.Semaphore(0)

    async def wait(_: int) -> None:
        is_asked.set()
        await may_come.acquire()

    async def let_come(pause_s: float) -> None:
        await is_asked.wait()
        is_asked.clear()
        await rig.clock.advance(pause_s)
        may_come.release()

    rig.model.before_chunk = wait
    num_chars = round(len(pauses_s) * CHUNK_S / SECONDS_PER_CHAR)
    starting = rig.service.start(SpeechRequest(text="a" * num_chars))
    stream, _ = await asyncio.gather(starting, let_come(pauses_s[0]))
    parts = aiter(stream)
    await anext(parts)
    for pause_s in pauses_s[1:]:
        await rig.clock.advance(reading_s)
        await asyncio.gather(anext(parts), let_come(pause_s))
    assert [part async for part in parts]
    return stream.report


@pytest.mark.parametrize(
    ("pauses_s", "stalled_s", "num_stalls"),
    [
        ([2.0, 0.05, 0.05, 0.05], 0.0, 0),
        ([0.0, 0.0, 0.0, 0.3], 0.0, 0),
        ([0.0, 0.15, 0.0, 0.0], 0.05, 1),
        ([0.0, 0.0, 0.25, 0.4], 0.35, 2),
    ],
)
async def test_what_a_listener_had_to_wait_for_after_the_first_sound_is_in_the_report(
    rig: Rig, pauses_s: list[float], stalled_s: float, num_stalls: int
) -> None:
    report = await hear(rig, pauses_s)
    assert report.stalled_s == pytest.approx(stalled_s)
    assert report.num_stalls == num_stalls


async def test_a_client_that_reads_late_was_not_made_to_wait(rig: Rig) -> None:
    report = await hear(rig, [0.0, 0.0, 0.0], reading_s=5.0)
    assert (report.stalled_s, report.num_stalls) == (0.0, 0)


async def test_the_pauses_of_a_writer_are_nobodys_stalls(rig: Rig) -> None:
    live = await rig.service.start_live(SpeechOptions())
    await live.text.write("One. ")
    await live.text.flush()
    parts = aiter(live)
    await anext(parts)
    await rig.clock.advance(60.0)
    await live.text.write("Two.")
    await live.text.finish()
    assert [part async for part in parts]
    assert (live.report.stalled_s, live.report.num_stalls) == (None, 0)
