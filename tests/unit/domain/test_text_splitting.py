import re

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from app.adapters.speech.sentences import find_sentences
from app.domain.segment import spoken_lengths
from app.domain.text_splitting import (
    MAX_LIVE_CHARS,
    clean_text,
    cut_whole_sentences,
    is_speakable,
    split_text,
)

MAX_CHARS = 80


def split(text: str, max_chars: int = MAX_CHARS) -> list[str]:
    return [segment.text for segment in split_text(text, max_chars, find_sentences)]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("Dr. Smith met Mr. J. K. Rowling.", ["Dr. Smith met Mr. J. K. Rowling."]),
        ("It costs $3.50. Really.", ["It costs $3.50.", "Really."]),
        ("See http://a.example/b?c=1.5 now. Go.", ["See http://a.example/b?c=1.5 now.", "Go."]),
        ("Wait... what? Yes!", ["Wait... what?", "Yes!"]),
        ('"Stop!" he said. "Now."', ['"Stop!" he said.', '"Now."']),
        ("No punctuation at all", ["No punctuation at all"]),
        ("First line\nSecond line", ["First line", "Second line"]),
        ("a hard-wrapped\nline goes on", ["a hard-wrapped line goes on"]),
        ("One.\r\n\r\nTwo.", ["One.", "Two."]),
        ("你好。世界！", ["你好。", "世界！"]),
        ("Hi 😀 there. 😀", ["Hi 😀 there."]),
        ("zero\u200bwidth and\u00adhyphen\ufeff", ["zero width andhyphen"]),
        ("tab\tand\x00nul\x07bell", ["tab and nul bell"]),
        ("5 + 5 = 10", ["5 + 5 = 10"]),
    ],
)
def test_sentences_end_where_a_reader_would_end_them(text: str, expected: list[str]) -> None:
    assert split(text) == expected


@pytest.mark.parametrize(
    "text", [".", "...", "?!", "😀", "👩‍👩‍👧", "—", "   ", "\n\n", '""', "()", "*"]
)
def test_text_with_nothing_to_pronounce_gives_no_segment(text: str) -> None:
    assert split(text) == []


@pytest.mark.parametrize("text", ["$", "%", "&", "+", "5", "é", "你", "a.", "№ 5"])
def test_letters_digits_and_named_symbols_are_speakable(text: str) -> None:
    assert is_speakable(text)


def test_a_word_longer_than_the_limit_is_cut_into_pieces_that_join_to_it() -> None:
    word = "".join(chr(ord("a") + i % 26) for i in range(4096))
    pieces = split(word, 100)
    assert "".join(pieces) == word
    assert max(map(len, pieces)) == 100


def test_a_long_sentence_is_cut_at_its_last_clause_mark_that_fits() -> None:
    text = "One two three, four five six; seven eight nine ten eleven"
    assert split(text, 35) == ["One two three, four five six;", "seven eight nine ten eleven"]


def test_a_long_sentence_without_marks_is_cut_between_words() -> None:
    assert split("alpha beta gamma delta", 12) == ["alpha beta", "gamma delta"]


def test_segments_are_numbered_from_zero() -> None:
    segments = split_text("One. Two. Three.", MAX_CHARS, find_sentences)
    assert [segment.index for segment in segments] == [0, 1, 2]


ANY_TEXT = st.text(
    st.one_of(
        st.characters(),
        st.sampled_from("aeiou bcdf. ,;:!?\n\"'()$5…—你。😀\u0301"),
    ),
    max_size=600,
)


def speakable_words(text: str) -> str:
    """All speakable characters in order, white space and the rest aside."""
    return "".join(char for char in clean_text(text) if is_speakable(char))


@settings(max_examples=1_500, deadline=None)
@given(ANY_TEXT, st.integers(1, 120))
@example("Hello. " * 50, 10)
@example("x" * 500, 7)
@example("a\u0301" * 300, 10)
def test_nothing_speakable_is_lost_repeated_or_reordered(text: str, max_chars: int) -> None:
    pieces = split(text, max_chars)
    assert speakable_words("".join(pieces)) == speakable_words(text)


@settings(max_examples=800, deadline=None)
@given(ANY_TEXT, st.integers(1, 120))
def test_every_segment_fits_has_no_control_character_and_can_be_spoken(
    text: str, max_chars: int
) -> None:
    for piece in split(text, max_chars):
        is_one_character = len(piece) == 1
        assert sum(spoken_lengths(piece)) <= max_chars or is_one_character
        assert is_speakable(piece)
        assert piece.isprintable()
        assert piece == " ".join(piece.split())


@settings(max_examples=300, deadline=None)
@given(st.lists(st.from_regex(re.compile(r"[a-z]{1,12}"), fullmatch=True), min_size=1, max_size=80))
def test_words_shorter_than_the_limit_stay_whole(words: list[str]) -> None:
    assert " ".join(split(" ".join(words), 20)).split() == words


@pytest.mark.parametrize(
    ("text", "whole"),
    [
        ("", ""),
        ("No end in sight", ""),
        ("Whole.", ""),
        ("Whole. ", ""),
        ("Whole. N", "Whole. "),
        ("One. Two! Three? Fo", "One. Two! Three? "),
        ('He said "Stop!" Then', 'He said "Stop!" '),
        ("Dr. Smith met Mr. J. K. Rowling at 5 p.m. Fri", ""),
        ("It costs 3.50 or 4. then", ""),
        ("A pause ... and on", ""),
        ("One.\n\nTwo", "One.\n\n"),
        ("A title\nText", "A title\n"),
        ("hard-wrapped\nline", ""),
        ("No. Not at all", ""),
        ("So it is. No. Not at all", "So it is. "),
    ],
)
def test_only_what_is_surely_whole_leaves_a_growing_text(text: str, whole: str) -> None:
    assert cut_whole_sentences(text) == (whole, text.removeprefix(whole))


def test_a_sentence_without_end_is_cut_at_a_clause() -> None:
    text = "and so on, " * 30
    whole, rest = cut_whole_sentences(text)
    assert whole.endswith(",")
    assert whole + rest == text
    assert len(rest) <= MAX_LIVE_CHARS


@given(st.lists(st.sampled_from(["Hi. ", "What? ", "a", "B", " ", ". ", "\n", "Mr. ", ", "])))
def test_a_text_in_pieces_loses_nothing(pieces: list[str]) -> None:
    rest, cut = "", []
    for piece in pieces:
        whole, rest = cut_whole_sentences(rest + piece)
        cut.append(whole)
        assert len(rest) <= MAX_LIVE_CHARS
    assert "".join(cut) + rest == "".join(pieces)


@pytest.mark.timeout(20)
@pytest.mark.parametrize("run", [".", "?!", "\u2026", " ", '"', ". ", "\n"])
def test_a_long_run_of_marks_or_spaces_is_read_once(run: str) -> None:
    text = "One." + run * 200_000
    whole, rest = cut_whole_sentences(text)
    assert whole + rest == text
