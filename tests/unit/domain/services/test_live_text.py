from collections.abc import Callable
from typing import NoReturn

import pytest

from app.domain.audio import AudioFormat
from app.domain.errors import InputTooLongError
from app.domain.segment import TextSegment
from app.domain.services.live_text import LiveText
from app.domain.services.segment_feed import SegmentFeed
from app.domain.speech import SpeechReport
from app.domain.text.front_end import segment_text
from tests.fakes.speech_model import FakeSpeechModel

MAX_CHARS = 40


def split_in_words(text: str) -> list[TextSegment]:
    return segment_text(text, FakeSpeechModel().split)


class Rig:
    """A live text, and the segments that leave it."""

    def __init__(
        self, split: Callable[[str], list[TextSegment]] | None = None, min_chars: int = 0
    ) -> None:
        self.feed = SegmentFeed()
        self.report = SpeechReport(format=AudioFormat.PCM)
        self.text = LiveText(
            split or split_in_words, self.feed, MAX_CHARS, self.report, min_chars=min_chars
        )

    def taken(self) -> list[tuple[int, str]]:
        taken = []
        while self.feed.has_next:
            segment = self.feed.take()
            taken.append((segment.index, segment.text))
        return taken


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
        await rig.text.write("b")
    await rig.text.flush()
    assert rig.taken()[-1][1] == "a" * MAX_CHARS
    assert rig.report.num_chars == 10 * 20 + MAX_CHARS


async def test_nothing_to_pronounce_is_no_segment() -> None:
    rig = Rig()
    await rig.text.write(" ... \n\n 😀 ")
    await rig.text.finish()
    assert rig.feed.is_over


async def test_a_text_that_cannot_be_split_at_its_end_has_ended_all_the_same() -> None:
    rig = Rig(split=lambda _: refuse())
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
