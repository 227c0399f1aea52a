"""Markup, reading and a voice's form together: segments that know the user's own words."""

import re
from collections.abc import Sequence
from typing import NoReturn

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from app.adapters.speech.embedded_voice import EmbeddedVoice
from app.adapters.speech.soprano.text import split_for_soprano
from app.domain.errors import EXPANDED_INPUT, InputTooLongError
from app.domain.segment import TextSegment
from app.domain.text.front_end import ReadingOptions, Split, read_text, segment_text
from app.domain.text.mapped_text import MappedText
from app.domain.text.markup import MAX_PAUSE_S, Pause
from app.domain.text.pronunciations import Pronunciations
from app.domain.text.splitting import split_sentences
from tests.examples import examples

VOICES: dict[str, Split] = {
    "soprano": split_for_soprano,
    "embedded": EmbeddedVoice(num_threads=1).split,
}


def split(paragraphs: Sequence[MappedText]) -> list[MappedText]:
    return [sentence for paragraph in paragraphs for sentence in split_sentences(paragraph)]


def pairs(text: str, **options: object) -> list[tuple[str, str]]:
    reading = ReadingOptions(**options)  # type: ignore[arg-type]
    return [(one.source, one.text) for one in segment_text(text, split, reading)]


def test_segments_have_the_words_of_the_user_and_what_is_spoken() -> None:
    text = "### Plan\n\nDr. Smith paid **$5**. It is 3:30 PM!\n- 2 eggs"
    assert pairs(text) == [
        ("### Plan", "Plan"),
        ("Dr. Smith paid **$5**.", "doctor Smith paid five dollars."),
        ("It is 3:30 PM!", "It is three thirty P\x7fM!"),
        ("- 2 eggs", "two eggs"),
    ]


def test_what_is_not_spoken_belongs_to_what_is_spoken_before_or_after_it() -> None:
    assert pairs("\N{GRINNING FACE} Hi. <think>hm</think> Bye \N{GRINNING FACE}") == [
        ("\N{GRINNING FACE} Hi.", "Hi."),
        ("<think>hm</think> Bye \N{GRINNING FACE}", "Bye"),
    ]


@pytest.mark.parametrize("text", ["", " \n", "\N{GRINNING FACE}", "---", "<b></b>"])
def test_nothing_to_pronounce_is_no_segment(text: str) -> None:
    assert segment_text(text, split) == []


@pytest.mark.parametrize(
    ("mark", "duration_s"),
    [
        ('<break time="500ms"/>', 0.5),
        ("<break time='2s' />", 2.0),
        ("<break/>", 0.5),
        ('<break strength="x-strong"/>', 1.0),
        ("[pause:1.5s]", 1.5),
        ("[pause: 250ms]", 0.25),
        ('<break time="100000ms"/>', MAX_PAUSE_S),
        ('<break time="999999999 s"/>', MAX_PAUSE_S),
        ('<break time="9999s"/>', MAX_PAUSE_S),
    ],
)
def test_a_pause_is_a_segment_of_its_own(mark: str, duration_s: float) -> None:
    segments = segment_text(f"Wait {mark} now.", split)
    assert segments == [
        TextSegment(0, "Wait", "Wait"),
        TextSegment(1, "", mark, duration_s),
        TextSegment(2, "now.", "now."),
    ]


def test_a_text_may_begin_and_end_with_a_pause() -> None:
    segments = segment_text("[pause:1s]Hi.[pause:2s]", split)
    assert [(one.text, one.pause_s) for one in segments] == [("", 1), ("Hi.", 0), ("", 2)]


def test_without_normalization_a_text_is_spoken_as_it_is() -> None:
    assert pairs("# $5 &amp; **7**", is_normalized=False) == [
        ("# $5 &amp; **7**", "# $5 &amp; **7**")
    ]


def test_markup_can_be_text() -> None:
    assert [spoken for _, spoken in pairs("a <b> c", has_markup=False)] == [
        "a less than b greater than c"
    ]


def test_pronunciations_change_whole_words_and_nothing_else() -> None:
    said = Pronunciations({"gif": "jif", "SQL": "sequel", "C++": "see plus plus"})
    (pair,) = pairs("A GIF of gifs, SQL not sql, in C++.", pronunciations=said)
    assert pair[1] == "A jif of gifs, sequel not sql, in see plus plus."


def test_a_text_that_no_rule_can_read_is_spelled_and_told() -> None:
    failures: list[Exception] = []

    def fail_on_words(paragraphs: Sequence[MappedText]) -> list[MappedText]:
        if any("Call" in paragraph.text for paragraph in paragraphs):
            raise ValueError
        return list(paragraphs)

    (segment,) = segment_text("Call Zo\u00eb: 20!", fail_on_words, on_failure=failures.append)
    assert segment.text == "C a l l, Z o \u00eb, two zero,"
    assert segment.source == "Call Zo\u00eb: 20!"
    assert [type(failure) for failure in failures] == [ValueError] * 2


def test_a_text_that_a_rule_fails_on_is_read_without_rules_and_told(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def fail(*_: object) -> NoReturn:
        raise ZeroDivisionError

    failures: list[Exception] = []
    monkeypatch.setattr("app.domain.text.front_end.read_text", fail)
    (segment,) = segment_text("Release 0.0.12 is out.", list, on_failure=failures.append)
    assert segment.text == "Release zero . zero . one two is out."
    assert segment.source == "Release 0.0.12 is out."
    assert [type(failure) for failure in failures] == [ZeroDivisionError]


PIECES = st.sampled_from([
    "Hi. ", "Dr. X", "$5", " 3/4", "1990s", "**b**", "\n", "\n\n", "- ", "1. ", "# ", "| a | b |",
    "<br>", "<i>", "&amp;", "[a](b)", "`", "http://a.b/c", "a@b.co", "\u00bd", "\u2212",
    "10\u00b2",
    "\N{GRINNING FACE}", "e\u0301", "\u200b", "\u202e", "\u05d0", "\u4f60", "\x00", "\ud800",
    "...", "?!",
    "(", ")", '"', "'", " a.m. ", "U.S. ", "re-\nturn", "<think>", "</think>", "[pause:1s]", "\r\n",
    "<break/>", "0451", "1,234", "XIV", "\uff15", "\u2460", "\u0967",
])  # fmt: skip
TEXTS = st.lists(st.one_of(PIECES, st.text(max_size=8)), max_size=30).map("".join)


@settings(max_examples=examples(400), deadline=None)
@given(TEXTS, st.sampled_from(sorted(VOICES)), st.booleans())
def test_every_text_is_segmented_and_its_sources_are_the_text(
    text: str,
    voice: str,
    is_normalized: bool,  # noqa: FBT001 - Hypothesis gives arguments by position
) -> None:
    options = ReadingOptions(is_normalized=is_normalized)
    failures: list[Exception] = []
    segments = segment_text(text, VOICES[voice], options, failures.append)
    assert failures == []
    assert [segment.index for segment in segments] == list(range(len(segments)))
    if segments:
        assert without_space("".join(one.source for one in segments)) == without_space(text)
    for segment in segments:
        assert not any(char.isnumeric() for char in segment.text)
        assert segment.text == segment.text.strip()


SOPRANO_KNOWS = re.compile(r"[a-z !$',.?-]*")


@settings(max_examples=examples(200), deadline=None)
@given(TEXTS)
def test_soprano_is_given_what_it_knows(text: str) -> None:
    for segment in segment_text(text, split_for_soprano):
        assert SOPRANO_KNOWS.fullmatch(segment.text)


@settings(max_examples=examples(300), deadline=None)
@given(TEXTS, st.sampled_from(sorted(VOICES)))
def test_spans_lie_in_the_source_in_order_and_do_not_overlap(text: str, voice: str) -> None:
    parts = [part for part in read_text(text, ReadingOptions()) if not isinstance(part, Pause)]
    end = 0
    for piece in VOICES[voice](parts):
        for start, stop in dict.fromkeys(piece[i : i + 1].span() for i in range(len(piece))):
            assert end <= start <= stop <= len(text)
            end = stop


def without_space(text: str) -> str:
    return "".join(text.split())


def test_a_text_that_pronunciations_make_too_long_is_refused_before_it_is_read() -> None:
    respelled = Pronunciations({"a": "x" * 100})
    options = ReadingOptions(pronunciations=respelled, max_chars=1_000)
    with pytest.raises(InputTooLongError, match=EXPANDED_INPUT + r" has 10\d+ characters"):
        segment_text("a " * 100, never_split, options)


def never_split(paragraphs: Sequence[MappedText]) -> list[MappedText]:
    raise AssertionError


@pytest.mark.parametrize(
    ("text", "spoken"),
    [
        ("``` a fence? It is none.", "a fence? It is none."),
        ("~~~ a tilde fence.", "a tilde fence."),
        ("> 5 percent.", "greater than five percent."),
        ("# 4 is it.", "hash four is it."),
        ("+ 3 more.", "plus three more."),
        ("[1]: http://a.org is it.", "[one]: a dot org is it."),
        ("- no item", "- no item"),
        ("a\n- item", "a"),
    ],
)
def test_a_text_that_goes_on_in_a_line_begins_with_no_mark(text: str, spoken: str) -> None:
    part, *_ = read_text(text, ReadingOptions(begins_line=False))
    assert isinstance(part, MappedText)
    assert part.text == spoken


@pytest.mark.parametrize(
    "text",
    [
        "Go.\n``` said he. It is no fence.",
        "Go.\n~~~ said he. It is no fence.",
        "Go.\n\n[1]: https://a.org said he. It is no fence.",
        "Go.\n[said he]: It is no fence.",
    ],
)
def test_prose_behind_what_looks_like_markup_is_read(text: str) -> None:
    read = " ".join(
        part.text for part in read_text(text, ReadingOptions()) if isinstance(part, MappedText)
    )
    assert "said he" in read
    assert "It is no fence." in read


def test_mathematics_and_fractions_of_all_scripts_have_words() -> None:
    (part,) = read_text("\u2200 x \u2208 A, \u00ac B, \u0f2a", ReadingOptions())
    assert isinstance(part, MappedText)
    assert part.text == "for all x element of A, not B, one half"


ENDS = (
    "Bake it at 350\u00b0F.", "It was 20 \u00b0C.", "Lunch is at 12 PM.", "See you at 3pm.",
    "It closes at 5 p.m.", "Happy 4th of July.", "He was born on 5 May.", "It opens in Jan.",
    "Come on Mon.", "He took vitamin C.", "That was plan B.", "She works at AT&T.",
    "He has a Ph.D.", "It is Apple Inc.", "We met on Fifth Ave.", "Bring fruit, etc.",
    "The lamp has 100 W.", "The battery has 12 V.", "The video is in 4K.", "We drink H2O.",
    "She lives at 12 Oak St.", "He is 6'4.",
)  # fmt: skip


@pytest.mark.parametrize("end", ENDS)
@pytest.mark.parametrize("following", ["Housing is dear.", "Mary came.", "Does it matter?"])
def test_what_ends_with_an_abbreviation_is_a_sentence(end: str, following: str) -> None:
    assert [source for source, _ in pairs(f"{end} {following}")] == [end, following]


@pytest.mark.parametrize(
    "text",
    [
        "We meet at 3 p.m. Eastern in the hall.",
        "We meet at 3 p.m. Friday in the hall.",
        "George C. Marshall met J. K. Rowling.",
        "Apple Inc. CEO Tim Cook spoke.",
        "The U.S. Army and the U.S. Open.",
        "On Mon. Jan. 5 she left.",
        "I love St. Louis.",
        "Main St. Bridge is closed.",
        "Sault Ste. Marie is cold.",
        "In 1980 Mount St. Helens erupted.",
        "In 1917 East St. Louis saw riots.",
        "At one point J. Edgar Hoover resigned.",
        "Of the three R. Kelly songs he liked one.",
        "He read an H. G. Wells novel.",
        "Around 5 p.m. Mary called.",
        "The 7 p.m. Yankees game was good.",
        "The meeting is at 3 p.m. Beijing time.",
        "In Sept. Apple announced a phone.",
        "My address is 350 Fifth Ave. New York.",
        "The Sunset Blvd. Hotel is open.",
        "Meta Inc. Spokesman Andy Stone said so.",
        "The U.S. May jobs report came.",
        "Theresa M. May was prime minister.",
    ],
)
def test_an_abbreviation_before_a_name_ends_no_sentence(text: str) -> None:
    assert len(pairs(text)) == 1
