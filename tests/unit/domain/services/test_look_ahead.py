import asyncio
from contextlib import aclosing

import pytest

from app.domain.admission import ANYBODY, AdmissionLimits
from app.domain.errors import (
    DeviceError,
    EngineBusyError,
    InstanceDeadError,
    InvalidAudioError,
    NoInstanceError,
    SpeechError,
    SpeechTimeoutError,
    SynthesisError,
    TruncatedSpeechError,
)
from app.domain.segment import TextSegment
from app.domain.services.admission import Admission
from app.domain.services.look_ahead import CHARS_PER_S, LookAhead, LookAheadLimits
from app.domain.services.segment_feed import SegmentFeed
from app.domain.speech import SynthesisParams
from tests.fakes.clock import FakeClock
from tests.fakes.speech_model import SECONDS_PER_CHAR, FakeSpeechModel
from tests.fakes.speech_observer import FakeSpeechObserver

NUM_CHARS = 30


def segments(count: int, num_chars: int = NUM_CHARS) -> list[TextSegment]:
    return [TextSegment(index, chr(ord("a") + index) * num_chars) for index in range(count)]


def feed_of(segments: list[TextSegment]) -> SegmentFeed:
    """Those segments, and maybe more to come."""
    feed = SegmentFeed()
    feed.push(segments)
    return feed


def whole(segments: list[TextSegment]) -> SegmentFeed:
    """Those segments, and no more."""
    feed = feed_of(segments)
    feed.finish()
    return feed


class Rig:
    """A fake model, and what is heard of it."""

    def __init__(
        self, max_segments: int = 3, max_unread_s: float = 1_000.0, *, is_whole: bool = False
    ) -> None:
        self.model = FakeSpeechModel()
        self.clock = FakeClock()
        limits = LookAheadLimits(max_segments, max_unread_s)
        self.admission = Admission(AdmissionLimits(), self.clock, lambda: 0.0, FakeSpeechObserver())
        self.slot = self.admission.slot(ANYBODY)
        params = SynthesisParams(self.model.info.voices[0])
        self.num_sounds = 0
        on_sound = self._count_sound if is_whole else None
        self.ahead = LookAhead(self.model, self.clock, limits, params, self.slot, on_sound)

    def _count_sound(self) -> None:
        self.num_sounds += 1

    def begun(self) -> list[int]:
        return [ord(text[0]) - ord("a") for text, *_ in self.model.spoken]


async def wait_for_ever(_: TextSegment) -> None:
    await asyncio.Event().wait()


async def settle() -> None:
    for _ in range(50):
        await asyncio.sleep(0)


async def test_chunks_come_in_order_and_each_segment_after_its_own() -> None:
    rig = Rig()
    heard: list[int] = []
    audio_s = 0.0
    async for segment, chunk in rig.ahead.speak(whole(segments(7))):
        assert segment.index == len(heard)
        if chunk is not None:
            audio_s += chunk.duration_s
        else:
            heard.append(segment.index)
            assert audio_s == pytest.approx(len(heard) * NUM_CHARS * SECONDS_PER_CHAR)
    assert heard == list(range(7))
    assert rig.begun() == list(range(7))


async def test_no_more_segments_are_spoken_at_once_than_allowed() -> None:
    rig = Rig(max_segments=3)
    rig.model.before_speaking = wait_for_ever
    async with aclosing(rig.ahead.speak(whole(segments(9)))) as parts:
        first = asyncio.ensure_future(anext(parts))
        await settle()
        assert rig.begun() == [0, 1, 2]
        first.cancel()
        await asyncio.gather(first, return_exceptions=True)
    assert rig.model.num_running == 0


async def test_nothing_is_begun_while_the_listener_has_enough_to_read() -> None:
    # Estimated at 2 s each: the third would be beyond 3 s.
    rig = Rig(max_segments=9, max_unread_s=3.0)
    async with aclosing(rig.ahead.speak(whole(segments(9)))) as parts:
        await anext(parts)
        await settle()
        assert rig.begun() == [0, 1]
        await settle()
        assert rig.begun() == [0, 1]
        async for _ in parts:
            pass
    assert rig.begun() == list(range(9))


async def test_each_segment_is_due_when_those_before_it_are_played() -> None:
    rig = Rig(max_segments=3)
    rig.model.before_speaking = wait_for_ever
    async with aclosing(rig.ahead.speak(whole(segments(3)))) as parts:
        first = asyncio.ensure_future(anext(parts))
        await settle()
        estimate_s = NUM_CHARS / CHARS_PER_S
        assert rig.model.due_at == pytest.approx([0.0, estimate_s, 2 * estimate_s])
        first.cancel()
        await asyncio.gather(first, return_exceptions=True)


async def test_what_a_fast_reader_has_in_hand_makes_the_next_segment_due_later() -> None:
    rig = Rig(max_segments=1)
    async for part in rig.ahead.speak(whole(segments(3))):
        if part[1] is None:
            await rig.clock.advance(0.1)
    played_s = NUM_CHARS * SECONDS_PER_CHAR
    assert rig.model.due_at == pytest.approx([0.0, played_s, 2 * played_s])


async def test_what_a_slow_reader_has_played_makes_the_next_segment_due_now() -> None:
    rig = Rig(max_segments=1)
    async for part in rig.ahead.speak(whole(segments(2))):
        if part[1] is None:
            await rig.clock.advance(50.0)
    assert rig.model.due_at == pytest.approx([0.0, 50.0])


async def test_a_segment_that_fails_raises_when_it_would_have_been_heard() -> None:
    rig = Rig(max_segments=9)
    texts = segments(4)
    rig.model.fail_on = (texts[1].text, SynthesisError())
    heard = []
    with pytest.raises(SynthesisError):
        async for part in rig.ahead.speak(whole(texts)):
            heard.append(part)
    assert heard[-1] == (texts[0], None)
    assert rig.model.num_running == 0


async def test_leaving_stops_all_that_was_begun() -> None:
    rig = Rig(max_segments=5)
    async with aclosing(rig.ahead.speak(whole(segments(20, num_chars=2_000)))) as parts:
        await anext(parts)
        assert rig.model.num_running == 5
    assert rig.model.num_running == 0
    assert asyncio.all_tasks() == {asyncio.current_task()}


async def test_no_segments_are_no_sound() -> None:
    assert [part async for part in Rig().ahead.speak(whole([]))] == []


async def test_a_segment_that_comes_later_is_begun_at_once_while_another_is_spoken() -> None:
    rig = Rig()
    rig.model.before_speaking = wait_for_ever
    feed = feed_of(segments(1))
    async with aclosing(rig.ahead.speak(feed)) as parts:
        first = asyncio.ensure_future(anext(parts))
        await settle()
        feed.push([TextSegment(0, "bbb comes later.")])
        await settle()
        assert rig.begun() == [0, 1]
        first.cancel()
        await asyncio.gather(first, return_exceptions=True)


async def test_it_waits_for_a_text_that_is_being_written_and_ends_with_it() -> None:
    rig = Rig()
    feed = SegmentFeed()
    heard: list[str] = []

    async def listen() -> None:
        async for segment, chunk in rig.ahead.speak(feed):
            if chunk is None:
                heard.append(segment.text)

    listening = asyncio.create_task(listen())
    await settle()
    feed.push([TextSegment(0, "000 is here.")])
    await settle()
    assert heard == ["000 is here."]
    feed.push([TextSegment(0, "001 is here."), TextSegment(1, "002 too.")])
    feed.finish()
    await asyncio.wait_for(listening, 1)
    assert heard == ["000 is here.", "001 is here.", "002 too."]


async def test_what_was_made_ahead_and_lost_with_an_instance_is_made_again() -> None:
    rig = Rig()
    rig.model.fail_after_chunks = 2
    rig.model.before_speaking = _first_later
    rig.model.fail_on = (segments(3)[1].text, InstanceDeadError())

    async def mend(_: int) -> None:
        if rig.begun().count(1) > 1:
            rig.model.fail_on = None

    rig.model.before_chunk = mend
    audio_s = 0.0
    async for _, chunk in rig.ahead.speak(whole(segments(3))):
        audio_s += chunk.duration_s if chunk is not None else 0.0
    assert sorted(rig.begun()) == [0, 1, 1, 2]
    assert audio_s == pytest.approx(3 * NUM_CHARS * SECONDS_PER_CHAR)


async def _first_later(segment: TextSegment) -> None:
    """Let the sentences behind the first one be made before it."""
    if segment.text.startswith("aaa"):
        await settle()


async def test_it_is_not_made_a_third_time() -> None:
    rig = Rig()
    rig.model.fail_on = (segments(2)[1].text, InstanceDeadError())
    rig.model.fail_after_chunks = 2
    rig.model.before_speaking = _first_later
    with pytest.raises(InstanceDeadError):
        await drain(rig, whole(segments(2)))
    assert sorted(rig.begun()) == [0, 1, 1]


async def test_what_somebody_has_heard_is_not_made_again() -> None:
    rig = Rig(max_segments=1)
    rig.model.fail_after_chunks = 2
    rig.model.failures = [InstanceDeadError()]
    async with aclosing(rig.ahead.speak(whole(segments(1)))) as parts:
        assert (await anext(parts))[1] is not None
        with pytest.raises(InstanceDeadError):
            while True:
                await anext(parts)
    assert rig.begun() == [0]


async def test_what_has_no_sound_yet_is_left_to_the_model() -> None:
    rig = Rig()
    rig.model.failures = [InstanceDeadError()]
    with pytest.raises(InstanceDeadError):
        await drain(rig, whole(segments(1)))
    assert rig.begun() == [0]


@pytest.mark.parametrize("error", [InstanceDeadError(), SpeechTimeoutError(5)])
async def test_of_a_whole_answer_what_is_lost_half_made_is_made_again(error: SpeechError) -> None:
    rig = Rig(max_segments=1, is_whole=True)
    rig.model.fail_after_chunks = 2
    rig.model.failures = [error]
    audio_s = 0.0
    async for _, chunk in rig.ahead.speak(whole(segments(2))):
        audio_s += chunk.duration_s if chunk is not None else 0.0
    assert rig.begun() == [0, 0, 1]
    assert audio_s == pytest.approx(2 * NUM_CHARS * SECONDS_PER_CHAR)


async def test_of_a_whole_answer_it_is_not_made_a_third_time() -> None:
    rig = Rig(max_segments=1, is_whole=True)
    rig.model.fail_after_chunks = 2
    rig.model.failures = [InstanceDeadError(), SpeechTimeoutError(5)]
    with pytest.raises(SpeechTimeoutError):
        await drain(rig, whole(segments(2)))
    assert rig.begun() == [0, 0]
    assert rig.model.num_running == 0


@pytest.mark.parametrize(
    "error",
    [
        SynthesisError(),
        TruncatedSpeechError(),
        InvalidAudioError("NaN"),
        DeviceError(),
        NoInstanceError(),
        EngineBusyError(60),
    ],
    ids=lambda error: type(error).__name__,
)
async def test_what_fails_by_itself_is_not_made_again(error: SpeechError) -> None:
    rig = Rig(max_segments=1, is_whole=True)
    rig.model.fail_after_chunks = 2
    rig.model.failures = [error]
    with pytest.raises(type(error)):
        await drain(rig, whole(segments(1)))
    assert rig.begun() == [0]


async def test_a_whole_answer_hands_a_segment_on_once_all_of_it_is_made() -> None:
    rig = Rig(max_segments=1, is_whole=True)
    made_at: list[int] = []
    async for _, chunk in rig.ahead.speak(whole(segments(1))):
        if chunk is not None:
            made_at.append(rig.model.num_chunks)
    assert made_at == [6] * 6
    assert rig.num_sounds == 6


async def drain(rig: Rig, feed: SegmentFeed) -> None:
    async for _ in rig.ahead.speak(feed):
        pass
