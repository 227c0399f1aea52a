import asyncio
from collections.abc import AsyncGenerator
from contextlib import aclosing

import pytest

from app.domain.admission import ANYBODY, AdmissionLimits
from app.domain.audio import AudioChunk, PlaybackClock
from app.domain.errors import SynthesisError
from app.domain.segment import TextSegment
from app.domain.services.admission import Admission
from app.domain.services.prefetch import CHARS_PER_S, Prefetcher, PrefetchLimits
from app.domain.speech import SynthesisParams
from tests.fakes.clock import FakeClock
from tests.fakes.speech_model import SECONDS_PER_CHAR, FakeSpeechModel

NUM_CHARS = 30


def segments(count: int, num_chars: int = NUM_CHARS) -> list[TextSegment]:
    return [TextSegment(index, chr(ord("a") + index) * num_chars) for index in range(count)]


class Rig:
    """A prefetcher over a fake model, and a listener who takes what it gives."""

    def __init__(self, max_segments: int = 3, max_buffered_s: float = 1_000.0) -> None:
        self.model = FakeSpeechModel()
        self.clock = FakeClock()
        admission = Admission(AdmissionLimits(), self.clock, lambda: 0.0)
        self.playback = PlaybackClock(self.clock.monotonic())
        self.prefetcher = Prefetcher(
            self.model,
            self.clock,
            PrefetchLimits(max_segments, max_buffered_s),
            admission.slot(ANYBODY),
            self.playback,
        )

    async def take(
        self, segments: list[TextSegment] | None = None
    ) -> AsyncGenerator[tuple[TextSegment, AudioChunk | None], None]:
        """All parts of `segments`, and no more; with none given, of what is pushed meanwhile."""
        if segments is not None:
            self.prefetcher.push(segments)
            self.prefetcher.finish()
        params = SynthesisParams(self.model.info.voices[0])
        async with aclosing(self.prefetcher.chunks(params)) as parts:
            async for segment, chunk in parts:
                if chunk is not None:
                    self.playback.on_chunk(chunk, self.clock.monotonic())
                yield segment, chunk

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
    async for segment, chunk in rig.take(segments(7)):
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
    async with aclosing(rig.take(segments(9))) as parts:
        first = asyncio.ensure_future(anext(parts))
        await settle()
        assert rig.begun() == [0, 1, 2]
        first.cancel()
        await asyncio.gather(first, return_exceptions=True)
    assert rig.model.num_running == 0


async def test_nothing_is_begun_while_the_listener_has_enough_to_read() -> None:
    # Estimated at 2 s each: the third would be beyond 3 s.
    rig = Rig(max_segments=9, max_buffered_s=3.0)
    async with aclosing(rig.take(segments(9))) as parts:
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
    async with aclosing(rig.take(segments(3))) as parts:
        first = asyncio.ensure_future(anext(parts))
        await settle()
        estimate_s = NUM_CHARS / CHARS_PER_S
        assert rig.model.due_at == pytest.approx([0.0, estimate_s, 2 * estimate_s])
        first.cancel()
        await asyncio.gather(first, return_exceptions=True)


async def test_what_a_fast_reader_has_in_hand_makes_the_next_segment_due_later() -> None:
    rig = Rig(max_segments=1)
    async for part in rig.take(segments(3)):
        if part[1] is None:
            await rig.clock.advance(0.1)
    played_s = NUM_CHARS * SECONDS_PER_CHAR
    assert rig.model.due_at == pytest.approx([0.0, played_s, 2 * played_s])


async def test_what_a_slow_reader_has_played_makes_the_next_segment_due_now() -> None:
    rig = Rig(max_segments=1)
    async for part in rig.take(segments(2)):
        if part[1] is None:
            await rig.clock.advance(50.0)
    assert rig.model.due_at == pytest.approx([0.0, 50.0])


async def test_a_segment_that_fails_raises_when_it_would_have_been_heard() -> None:
    rig = Rig(max_segments=9)
    texts = segments(4)
    rig.model.fail_on = (texts[1].text, SynthesisError())
    heard = []
    with pytest.raises(SynthesisError):
        async for part in rig.take(texts):
            heard.append(part)
    assert heard[-1] == (texts[0], None)
    assert rig.model.num_running == 0


async def test_leaving_stops_all_that_was_begun() -> None:
    rig = Rig(max_segments=5)
    async with aclosing(rig.take(segments(20, num_chars=2_000))) as parts:
        await anext(parts)
        assert rig.model.num_running == 5
    assert rig.model.num_running == 0
    assert asyncio.all_tasks() == {asyncio.current_task()}


async def test_no_segments_are_no_sound() -> None:
    assert [part async for part in Rig().take([])] == []


async def test_a_segment_that_comes_later_is_begun_at_once_while_another_is_spoken() -> None:
    rig = Rig()
    rig.model.before_speaking = wait_for_ever
    rig.prefetcher.push(segments(1))
    async with aclosing(rig.take()) as parts:
        first = asyncio.ensure_future(anext(parts))
        await settle()
        rig.prefetcher.push([TextSegment(0, "bbb comes later.")])
        await settle()
        assert rig.begun() == [0, 1]
        first.cancel()
        await asyncio.gather(first, return_exceptions=True)


async def test_it_waits_for_a_text_that_is_being_written_and_ends_with_it() -> None:
    rig = Rig()
    heard: list[str] = []

    async def listen() -> None:
        async for segment, chunk in rig.take():
            if chunk is None:
                heard.append(segment.text)

    listening = asyncio.create_task(listen())
    await settle()
    rig.prefetcher.push([TextSegment(0, "000 is here.")])
    await settle()
    assert heard == ["000 is here."]
    rig.prefetcher.push([TextSegment(0, "001 is here."), TextSegment(1, "002 too.")])
    rig.prefetcher.finish()
    await asyncio.wait_for(listening, 1)
    assert heard == ["000 is here.", "001 is here.", "002 too."]
