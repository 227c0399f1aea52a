"""Sentences end where they should, no word is lost, and a growing text gives what is whole."""

import re

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from app.domain.text import splitting
from app.domain.text.mapped_text import MappedText
from app.domain.text.splitting import MAX_LIVE_CHARS, cut_whole_sentences, is_speakable
from tests.examples import examples


def split_sentences(text: str) -> list[str]:
    return [sentence.text for sentence in splitting.split_sentences(MappedText.of(text))]


def fit(text: str, max_chars: int) -> list[str]:
    return [piece.text for piece in splitting.fit(MappedText.of(text), max_chars)]


@pytest.mark.parametrize(
    ("text", "sentences"),
    [
        ("Wait... what? Yes!", ["Wait...", "what?", "Yes!"]),
        ('"Stop!" he said. "Now."', ['"Stop!"', "he said.", '"Now."']),
        ("No punctuation at all", ["No punctuation at all"]),
        ("dot net v2.x stays", ["dot net v2.x stays"]),
    ],
)
def test_a_sentence_ends_after_its_marks(text: str, sentences: list[str]) -> None:
    assert split_sentences(text) == sentences


@pytest.mark.parametrize("text", ["$", "%", "&", "+", "5", "é", "你", "a.", "№ 5"])
def test_letters_digits_and_named_symbols_are_speakable(text: str) -> None:
    assert is_speakable(text)


@pytest.mark.parametrize("text", [".", "...", "?!", "😀", "—", "   ", "", '""', "()", "*"])
def test_marks_are_not(text: str) -> None:
    assert not is_speakable(text)


def test_a_word_longer_than_the_limit_is_cut_into_pieces_that_join_to_it() -> None:
    word = "".join(chr(ord("a") + i % 26) for i in range(4096))
    pieces = fit(word, 100)
    assert "".join(pieces) == word
    assert max(map(len, pieces)) == 100


def test_a_long_sentence_is_cut_at_its_last_clause_mark_that_fits() -> None:
    text = "One two three, four five six; seven eight nine ten eleven"
    assert fit(text, 35) == ["One two three, four five six;", "seven eight nine ten eleven"]


def test_a_long_sentence_without_marks_is_cut_between_words() -> None:
    assert fit("alpha beta gamma delta", 12) == ["alpha beta", "gamma delta"]


@settings(max_examples=examples(300), deadline=None)
@given(st.text(st.sampled_from("ab ,.!? "), max_size=300), st.integers(1, 60))
def test_nothing_is_lost_repeated_or_too_long(text: str, max_chars: int) -> None:
    pieces = [piece for sentence in split_sentences(text) for piece in fit(sentence, max_chars)]
    assert "".join("".join(pieces).split()) == "".join(text.split())
    assert all(len(piece) <= max_chars for piece in pieces)


@settings(max_examples=examples(300), deadline=None)
@given(st.lists(st.from_regex(re.compile(r"[a-z]{1,12}"), fullmatch=True), min_size=1, max_size=80))
def test_words_shorter_than_the_limit_stay_whole(words: list[str]) -> None:
    assert " ".join(fit(" ".join(words), 20)).split() == words


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
        ("sent to\nJohn", ""),
        ("1. Mil", ""),
        ("1. Milk\n2. Eg", "1. Milk\n"),
        ("Shop:\n- 5 app", "Shop:\n"),
        ("<think>One. Two. Thr", ""),
        ("Hm. <think>One. Two.</think> Well. Th", "Hm. <think>One. Two.</think> Well. "),
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
@pytest.mark.parametrize(
    "run",
    [".", "?!", "\u2026", " ", '"', pytest.param(". ", marks=pytest.mark.integration), "\n"],
)
def test_a_long_run_of_marks_or_spaces_is_read_once(run: str) -> None:
    text = "One." + run * 200_000
    whole, rest = cut_whole_sentences(text)
    assert whole + rest == text


@pytest.mark.parametrize("step", [1, 7, 1_000])
@pytest.mark.parametrize(
    "unspoken",
    [
        "<think>First thought. Second thought.</think>",
        "<thinking>\nOne.\n\nTwo.\n</thinking>",
        "<style>a {b: c}. p {d: e}. </style>",
    ],
)
def test_nothing_is_cut_within_what_is_not_spoken(unspoken: str, step: int) -> None:
    text = f"Hello. {unspoken} The answer is four. Well."
    rest, pieces = "", list[str]()
    for start in range(0, len(text), step):
        whole, rest = cut_whole_sentences(rest + text[start : start + step])
        pieces.append(whole)
    assert "".join([*pieces, rest]) == text
    assert any(unspoken in piece for piece in [*pieces, rest])


@pytest.mark.parametrize(
    "text", ["Jan. 5 is a day. ", "See Sec. 4 of it. ", "Born Dec. 25, 1990. "]
)
def test_a_short_form_before_figures_ends_no_sentence(text: str) -> None:
    assert cut_whole_sentences(text + "Yes") == (text, "Yes")
