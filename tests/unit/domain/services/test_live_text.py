import asyncio
from collections.abc import Callable
from typing import NoReturn

import pytest

from app.domain.admission import ANYBODY, AdmissionLimits
from app.domain.audio import AudioFormat, PlaybackClock
from app.domain.errors import EXPANDED_INPUT, InputTooLongError
from app.domain.segment import TextSegment
from app.domain.services.admission import Admission
from app.domain.services.prefetch import LiveText, Prefetcher, PrefetchLimits
from app.domain.speech import SpeechReport
from app.domain.text.front_end import segment_text
from app.domain.text.splitting import MAX_LIVE_CHARS
from tests.fakes.clock import FakeClock
from tests.fakes.speech_model import FakeSpeechModel

MAX_CHARS = 40
MAX_SPOKEN_CHARS = 6 * MAX_CHARS


def split_in_words(text: str, _begins_line: bool = True) -> list[TextSegment]:  # noqa: FBT001, FBT002
    return segment_text(text, FakeSpeechModel().split)


class Waiting(Prefetcher):
    """Segments that wait until the test takes them."""

    def __init__(self) -> None:
        clock = FakeClock()
        admission = Admission(AdmissionLimits(), clock, lambda: 0.0)
        slot, playback = admission.slot(ANYBODY), PlaybackClock(0.0)
        super().__init__(FakeSpeechModel(), clock, PrefetchLimits(), slot, playback)

    @property
    def is_over(self) -> bool:
        return self._is_finished and not self._waiting

    def take_all(self) -> list[tuple[int, str]]:
        taken = [(segment.index, segment.text) for segment in self._waiting]
        self._waiting.clear()
        self._has_changed.set()
        return taken


class Rig:
    """A live text, and the segments that leave it."""

    def __init__(
        self, split: Callable[[str, bool], list[TextSegment]] | None = None, min_chars: int = 0
    ) -> None:
        self.feed = Waiting()
        self.report = SpeechReport(format=AudioFormat.PCM)
        self.text = LiveText(
            split or split_in_words,
            self.feed,
            MAX_CHARS,
            MAX_SPOKEN_CHARS,
            self.report,
            min_chars=min_chars,
        )

    def taken(self) -> list[tuple[int, str]]:
        return self.feed.take_all()


async def test_a_sentence_leaves_when_the_next_one_begins() -> None:
    rig = Rig()
    for piece in ["Hel", "lo", " there", ".", " "]:
        await rig.text.write(piece)
        assert rig.taken() == []
    await rig.text.write("How")
    assert rig.taken() == [(0, "Hello there.")]


async def test_flush_speaks_what_is_there_and_finish_ends_the_text() -> None:
    rig = Rig()
    await rig.text.write("Not whole")
    await rig.text.flush()
    assert rig.taken() == [(0, "Not whole")]
    await rig.text.flush()
    await rig.text.write("The rest")
    await rig.text.finish()
    assert not rig.feed.is_over
    assert rig.taken() == [(1, "The rest")]
    assert rig.feed.is_over


async def test_what_waits_is_bounded_and_not_what_is_spoken() -> None:
    rig = Rig()
    for _ in range(10):
        await rig.text.write("Twenty characters. A")
        await rig.text.flush()
        rig.taken()
    await rig.text.write("a" * MAX_CHARS)
    with pytest.raises(InputTooLongError):
        await rig.text.write("b" * (MAX_CHARS + 1))
    await rig.text.flush()
    assert rig.taken()[-1][1] == "a" * MAX_CHARS
    assert rig.report.num_chars == 10 * 20 + MAX_CHARS


async def test_a_piece_waits_for_room_and_follows_what_was_before_it() -> None:
    rig = Rig()
    await rig.text.write("Twenty characters. And more of them. ")
    writing = asyncio.create_task(rig.text.write("Then these. "))
    done, _ = await asyncio.wait({writing}, timeout=0.1)
    assert not done
    assert [text for _, text in rig.taken()] == ["Twenty characters."]
    await writing
    await rig.text.finish()
    assert [text for _, text in rig.taken()] == ["And more of them.", "Then these."]


async def test_pieces_of_the_greatest_length_are_all_taken() -> None:
    rig = Rig()
    text = "Nine words make up a sentence of this text. " * 4
    for start in range(0, len(text), MAX_CHARS):
        await rig.text.write(text[start : start + MAX_CHARS])
        rig.taken()
    assert rig.report.num_chars == len(text)


async def test_a_thought_without_an_end_is_bounded() -> None:
    rig = Rig()
    await rig.text.write("<think>")
    with pytest.raises(InputTooLongError):
        for _ in range(MAX_LIVE_CHARS):
            await rig.text.write("and on " * 5)


async def test_what_waits_is_counted_as_it_is_written() -> None:
    rig = Rig()
    for _ in range(2):
        await rig.text.write("$1234567.89. ")
        await rig.text.flush()
    assert rig.feed.num_waiting_chars > MAX_CHARS
    assert rig.feed.num_waiting_written_chars == 2 * len("$1234567.89.")
    assert len(rig.taken()) == 2


async def test_what_waits_is_bounded_as_it_is_spoken_too() -> None:
    rig = Rig()
    await rig.text.write("\u2265" * 8 + ". A")
    assert rig.feed.num_waiting_chars <= MAX_SPOKEN_CHARS
    writing = asyncio.create_task(rig.text.write(". " + "\u2265" * 8 + ". B"))
    done, _ = await asyncio.wait({writing}, timeout=0.1)
    assert not done
    num_taken = len(rig.taken())
    await writing
    await rig.text.finish()
    assert rig.feed.num_waiting_chars <= MAX_SPOKEN_CHARS
    assert rig.taken()[0] == (num_taken, "A.")
    with pytest.raises(InputTooLongError, match=EXPANDED_INPUT):
        await rig.text.write("\u2265" * 30 + ". C")


async def test_a_refused_piece_leaves_what_was_taken_before() -> None:
    def split(text: str, _begins_line: bool) -> list[TextSegment]:  # noqa: FBT001
        return refuse() if "100 %" in text else split_in_words(text)

    rig = Rig(split)
    await rig.text.write("First")
    with pytest.raises(InputTooLongError):
        await rig.text.write(" one. 100 %. And")
    assert rig.report.num_chars == len("First")
    await rig.text.write(" and last. ")
    await rig.text.finish()
    assert rig.taken() == [(0, "First and last.")]


async def test_nothing_to_pronounce_is_no_segment() -> None:
    rig = Rig()
    await rig.text.write(" ... \n\n 😀 ")
    await rig.text.finish()
    assert rig.feed.is_over


async def test_a_text_that_cannot_be_split_at_its_end_has_ended_all_the_same() -> None:
    rig = Rig(split=lambda *_: refuse())
    await rig.text.write("100 %")
    with pytest.raises(InputTooLongError):
        await rig.text.finish()
    assert rig.feed.is_over


def refuse() -> NoReturn:
    raise InputTooLongError(1_000, MAX_CHARS)


async def test_a_sentence_that_is_too_short_for_the_voice_waits_for_the_next() -> None:
    rig = Rig(min_chars=12)
    await rig.text.write("Yes. No. ")
    await rig.text.write("Maybe. So")
    assert rig.taken() == [(0, "Yes."), (1, "No."), (2, "Maybe.")]
    await rig.text.finish()
    assert rig.taken() == [(3, "So")]


async def test_what_follows_a_sentence_in_its_line_begins_none() -> None:
    begins: list[tuple[str, bool]] = []

    def split(text: str, begins_line: bool) -> list[TextSegment]:  # noqa: FBT001
        begins.append((text, begins_line))
        return []

    rig = Rig(split)
    for piece in ("One is. ", "Two is.\n", "Three is. Four is.", " Five is. Six."):
        await rig.text.write(piece)
    await rig.text.flush()
    await rig.text.write("Seven is.")
    await rig.text.finish()
    assert begins == [
        ("One is. ", True),
        ("Two is.\nThree is. ", False),
        ("Four is. Five is. ", False),
        ("Six.", False),
        ("Seven is.", False),
    ]
