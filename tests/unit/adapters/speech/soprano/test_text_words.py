"""Abbreviations in full, and capitals inside words."""

import pytest

from app.adapters.speech.soprano.text_words import expand_abbreviations, split_mixed_case


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("Dr. No, MR. and mrs. X", "doctor No, mister and misess X"),
        ("Dr No", "Dr No"),
        ("Smith and Co.", "Smith and company"),
        ("fresco.", "fresco."),
        ("Jan. or jan.", "january. or jan."),
        ("two GPUs, one API", "two g p u's, one a p i"),
        ("and/or etc.", "and or et cetera."),
    ],
)
def test_abbreviations_are_expanded(text: str, expected: str) -> None:
    assert expand_abbreviations(text) == expected


@pytest.mark.parametrize(
    ("word", "expected"),
    [
        ("CamelCase", "Camel Case"),
        ("HTTPServer", "H T T P Server"),
        ("NASA", "NASA"),
        ("TVs", "TV's"),
        ("As", "As"),
        ("A", "A"),
        ("Word", "Word"),
        ("iPhone", "iPhone"),
        ("Camel_Case", "Camel_Case"),
    ],
)
def test_words_are_split_at_their_capitals(word: str, expected: str) -> None:
    assert split_mixed_case(word) == expected
