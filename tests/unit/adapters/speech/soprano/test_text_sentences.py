"""Sentences end where they should, and short ones find company."""

from app.adapters.speech.soprano import text as soprano_text
from app.adapters.speech.soprano.text import (
    MAX_JOINED_CHARS,
    MAX_SENTENCE_CHARS,
    MIN_SENTENCE_CHARS,
)
from app.domain.text.mapped_text import MappedText


def split_sentences(text: str) -> list[str]:
    return [sentence.text for sentence in soprano_text.split_sentences(MappedText.of(text))]


def join_short_sentences(sentences: list[str]) -> list[str]:
    mapped = map(MappedText.of, sentences)
    return [sentence.text for sentence in soprano_text.join_short_sentences(mapped)]


def test_a_sentence_ends_after_its_marks() -> None:
    assert split_sentences("one. two!? three... four") == ["one.", "two!?", "three...", "four"]


def test_a_point_inside_a_word_ends_nothing() -> None:
    assert split_sentences("version b.c of it") == ["version b.c of it"]


def test_a_last_character_is_not_left_alone() -> None:
    assert split_sentences("'stop!'") == ["'stop!'"]


def test_marks_alone_are_no_sentence() -> None:
    assert split_sentences("? . one. ,") == ["one."]


def test_a_long_sentence_ends_after_the_last_word_that_fits() -> None:
    first, second = split_sentences("four " * 80)
    assert first == ("four " * 60).strip()
    assert len(first) < MAX_SENTENCE_CHARS
    assert second == ("four " * 20).strip()


def test_a_short_sentence_joins_the_one_before_and_a_first_one_the_next() -> None:
    long = "x" * MIN_SENTENCE_CHARS
    assert join_short_sentences(["a.", "b.", long, "c.", long]) == [f"a. b. {long} c.", long]


def test_short_sentences_alone_become_one() -> None:
    assert join_short_sentences(["a.", "b."]) == ["a. b."]


def test_joined_sentences_have_a_limit() -> None:
    joined = join_short_sentences(["yes."] * 200)
    assert [len(sentence) for sentence in joined] == [399, 399, 199]
    assert max(map(len, joined)) <= MAX_JOINED_CHARS
