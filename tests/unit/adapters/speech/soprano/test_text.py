"""What is sent to the model is what the package would send, and nothing else can be."""

import time

import pytest
import structlog.testing
from hypothesis import example, given, settings
from hypothesis import strategies as st

from app.adapters.speech.soprano.text import prompt_for, split_for_soprano, split_or_spell
from app.adapters.speech.soprano.text_sentences import MAX_JOINED_CHARS, MAX_SENTENCE_CHARS
from app.domain.segment import TextSegment
from tests.unit.adapters.speech.soprano.text_oracle import package_prompts

TEXTS = (
    "Hello there.",
    "Dr. Smith paid $3.50 for 12 apples on Jan. 5th, 2024, at 7:30 pm.",
    "One. Two. Three. Four. Five.",
    "A short one. And then a sentence that is long enough to stand on its own.",
    "A sentence that is long enough to stand on its own. Short.",
    "It cost 1,234,567 dollars; 50% of that went to the U.S. government.",
    "See https://example.com/path?q=1 or write to someone@example.com.",
    'He said "Stop! Now." and left. "Why?" she asked.',
    "Temperatures of -5°C to 40°C, 3 km away, in the 21st century.",
    "The 1st, 2nd, 3rd and 100th. 3/4 of them. 10-12 people.",
    "Call 555-123-4567 & ask for #42 @ noon, i.e. 12:00.",
    "Café naïve résumé, Zoë and Çelik. Ünïcödé tëxt.",
    "“Curly quotes” and ‘single ones’ — and a dash… and an ellipsis.",
    "First line\nSecond line\n\nA new paragraph follows here.",
    "What?! No way... Really?",
    "word " * 120,
    "A very long sentence, with many commas, " * 12 + "and an end.",
    "MixedCase WORDS and iPhones, e.g. the NASA HQ.",
)


@pytest.mark.parametrize("text", TEXTS)
def test_the_prompts_are_the_packages(text: str) -> None:
    assert [prompt_for(segment) for segment in split_for_soprano(text)] == package_prompts(text)


@pytest.mark.parametrize("text", ["1" * 300, "9," * 200])
def test_a_number_the_package_cannot_read_is_read_digit_by_digit(text: str) -> None:
    """The package raises an error on it."""
    segments = split_for_soprano(text)
    assert set(" ".join(segment.text for segment in segments).strip(".,").split()) in (
        {"one"},
        {"nine"},
    )


def test_no_part_of_a_word_that_fills_several_sentences_is_lost() -> None:
    word = ("lighthouse" * 410)[:4096]
    segments = split_for_soprano(f"The {word} shone.")
    spoken = "".join(segment.text.replace(" ", "") for segment in segments)
    assert spoken == f"the{word}shone."
    assert all(len(segment.text) <= MAX_SENTENCE_CHARS for segment in segments)


def test_a_word_that_fits_a_sentence_stays_whole() -> None:
    word = "ab" * 100
    assert [segment.text for segment in split_for_soprano(word)] == [f"{word}."]


def test_prompt_marks_in_a_text_are_words() -> None:
    (segment,) = split_for_soprano("[START] and [STOP] and [TEXT] are words here.")
    assert "[" not in segment.text
    assert "start" in segment.text


@pytest.mark.parametrize(
    "text", ["", " \n\t", "...", "!?", "/", "\N{GRINNING FACE}", "\x00", "\u0301"]
)
def test_a_text_with_nothing_to_pronounce_has_no_sentences(text: str) -> None:
    assert split_for_soprano(text) == []


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


@settings(max_examples=500, deadline=None)
@given(ANY_TEXT)
@example("(" * 4000)
@example("a" * 4096 + "b" * 4096)
@example("e\u0301" * 5000)
@example("Yes. " * 2000)
def test_whatever_the_text_is_the_model_can_speak_its_sentences(text: str) -> None:
    segments = split_for_soprano(text)
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


@settings(max_examples=1000, deadline=None)
@given(st.lists(FIGURES, max_size=40).map("".join))
@example("100000:" + "0" * 34)
@example("²" + "0" * 27 + ":" + "0" * 12)
@example("1" * 20_000)
@example("$" + ("0" * 36 + ":") * 200 + "00")
def test_whatever_figures_a_text_has_they_are_words(text: str) -> None:
    segments = split_for_soprano(text)
    assert all(set(segment.text) <= TOKENS for segment in segments)
    assert segments or not any(char.isascii() and char.isdigit() for char in text)


def failing(text: str) -> list[TextSegment]:
    raise ValueError(text)


def test_a_text_whose_reading_fails_is_spelled_and_told_without_the_text() -> None:
    with structlog.testing.capture_logs() as events:
        segments = split_or_spell("Call Zoë: 2０, О²!", failing)
    assert segments == [TextSegment(0, "c a l l, z o e, two zero, o two.")]
    (event,) = events
    assert event.pop("place").startswith("failing:")
    assert event == {
        "event": "soprano.text_spelled",
        "log_level": "warning",
        "error": "ValueError",
    }


def test_a_text_that_can_be_read_is_not_spelled() -> None:
    with structlog.testing.capture_logs() as events:
        assert split_or_spell(TEXTS[1]) == split_for_soprano(TEXTS[1])
    assert events == []


@given(st.text(ANY_CHARACTER, max_size=2_000))
@example("7" * 4096)
@example("a" * 4096)
@example("\ufdfa" * 100)
def test_any_text_can_be_spelled(text: str) -> None:
    segments = split_or_spell(text, failing)
    assert [segment.index for segment in segments] == list(range(len(segments)))
    assert all(set(segment.text) <= TOKENS for segment in segments)
    assert all(len(segment.text) <= MAX_SENTENCE_CHARS for segment in segments)
    assert segments or not any(char.isascii() and char.isalnum() for char in text)


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


@pytest.mark.parametrize("size", [5_000, 10_000, 20_000])
def test_time_grows_with_the_length_of_a_text_and_not_faster(size: int) -> None:
    """All of them take a second or two at 20,000 characters; the bound is for slow machines."""
    split_for_soprano("1")  # the first number loads a library
    different_numbers = " ".join(map(str, range(10**6, 10**6 + size // 8)))
    started = time.perf_counter()
    for text in [*((piece * size)[:size] for piece in HOSTILE), different_numbers]:
        split_for_soprano(text)
    assert time.perf_counter() - started < size / 500
