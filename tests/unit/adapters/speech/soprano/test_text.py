"""Whatever a text is, the model is only given what it knows."""

import time

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from app.adapters.speech.soprano.text import MAX_JOINED_CHARS, MAX_SENTENCE_CHARS, split_for_soprano
from app.domain.segment import TextSegment
from app.domain.text.front_end import segment_text
from tests.examples import examples


def segments_of(text: str) -> list[TextSegment]:
    return segment_text(text, split_for_soprano)


@pytest.mark.parametrize("text", ["1" * 300, "9," * 200])
def test_a_number_the_package_cannot_read_is_read_digit_by_digit(text: str) -> None:
    segments = segments_of(text)
    words = " ".join(segment.text for segment in segments)
    assert set(words.replace(",", "").strip(".").split()) in (
        {"one"},
        {"nine"},
    )


def test_no_part_of_a_word_that_fills_several_sentences_is_lost() -> None:
    word = ("lighthouse" * 410)[:4096]
    segments = segments_of(f"The {word} shone.")
    spoken = "".join(segment.text.replace(" ", "") for segment in segments)
    assert spoken == f"the{word}shone."
    assert all(len(segment.text) <= MAX_SENTENCE_CHARS for segment in segments)


def test_a_word_that_fits_a_sentence_stays_whole() -> None:
    word = "ab" * 100
    assert [segment.text for segment in segments_of(word)] == [f"{word}."]


def test_prompt_marks_in_a_text_are_words() -> None:
    (segment,) = segments_of("[START] and [STOP] and [TEXT] are words here.")
    assert "[" not in segment.text
    assert "start" in segment.text


@pytest.mark.parametrize("text", ["", " \n\t", "...", "!?", "\N{GRINNING FACE}", "\x00", "\u0301"])
def test_a_text_with_nothing_to_pronounce_has_no_sentences(text: str) -> None:
    assert segments_of(text) == []


ANY_CHARACTER = st.characters(exclude_categories=())
PIECES = st.sampled_from(
    (
        "[START]",
        "[STOP]",
        "[TEXT]",
        "1" * 50,
        "$1,.5",
        "a.b.",
        "(",
        ")]",
        "\ud800",
        "\u202e",
        "\x00",
    )
)
ANY_TEXT = st.lists(st.one_of(st.text(ANY_CHARACTER, max_size=60), PIECES), max_size=40).map(
    "".join
)
TOKENS = frozenset("abcdefghijklmnopqrstuvwxyz !$',-.?")


@settings(max_examples=examples(500), deadline=None)
@given(ANY_TEXT)
@example("(" * 4000)
@example("a" * 4096 + "b" * 4096)
@example("e\u0301" * 5000)
@example("Yes. " * 2000)
def test_whatever_the_text_is_the_model_can_speak_its_sentences(text: str) -> None:
    segments = segments_of(text)
    assert [segment.index for segment in segments] == list(range(len(segments)))
    for segment in segments:
        assert set(segment.text) <= TOKENS
        assert 0 < len(segment.text) <= MAX_JOINED_CHARS


FIGURES = st.one_of(
    st.text("0123456789", max_size=6),
    st.text("01", min_size=30, max_size=80),
    st.text("²³¹½⅓①２７٣६ⅷ", max_size=4),
    st.sampled_from([*",.:/-$#*+%() £KmaZ\n", "st", "nd", "rd", "th", "，", "：", "．", "−"]),
)


@settings(max_examples=examples(1000), deadline=None)
@given(st.lists(FIGURES, max_size=40).map("".join))
@example("100000:" + "0" * 34)
@example("²" + "0" * 27 + ":" + "0" * 12)
@example("1" * 20_000)
@example("$" + ("0" * 36 + ":") * 200 + "00")
def test_whatever_figures_a_text_has_they_are_words(text: str) -> None:
    segments = segments_of(text)
    assert all(set(segment.text) <= TOKENS for segment in segments)
    assert segments or not any(char.isascii() and char.isdigit() for char in text)


HOSTILE = (
    "1",
    "9,",
    "1.",
    "1e999999 ",
    "$1,.",
    "1/2/03",
    "12345 ",
    "1st ",
    "a",
    "ab",
    "Ab",
    "AaA_",
    "a.b.",
    "(",
    "(a) ",
    "{[(",
    ".",
    "...!",
    "?!,. ",
    "Yes. ",
    " - ",
    "a - ",
    "-",
    "https://",
    ">",
    "\\",
    "\n",
    "e\u0301",
    "\u0301",
    "\u4e2d",
    "\ufdfa",
    "\u2189",
    "\ud800",
    "\u202e",
    "[START]",
)


@pytest.mark.parametrize(
    "size",
    [5_000, *(pytest.param(size, marks=pytest.mark.integration) for size in (10_000, 20_000))],
)
def test_time_grows_with_the_length_of_a_text_and_not_faster(size: int) -> None:
    """All of them take a second or two at 20,000 characters; the bound is for slow machines."""
    different_numbers = " ".join(map(str, range(10**6, 10**6 + size // 8)))
    started = time.perf_counter()
    for text in [*((piece * size)[:size] for piece in HOSTILE), different_numbers]:
        segments_of(text)
    assert time.perf_counter() - started < size / 500
