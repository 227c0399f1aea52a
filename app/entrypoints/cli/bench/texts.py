"""Sentences to speak, all different.

A prompt costs time by its tokens. Soprano's own tokenizer makes about 0.72 tokens of a character,
the test checkpoint's about one: its sentences of 50 to 55 characters have the prompt of a real
sentence of 5 s.
"""

from collections.abc import Iterator
from itertools import count
from math import prod
from typing import Final

MIN_CHARS: Final = 50
MAX_CHARS: Final = 55

_STRIDE: Final = 7_919
"""A prime: steps through all sentences, and neighbours share few words."""

_WORDS: Final = (
    ("The", "One", "This", "That", "Their", "Every", "Another"),
    ("old", "young", "quiet", "patient", "careful", "cheerful", "forgetful", "hurried"),
    ("teacher", "farmer", "painter", "captain", "gardener", "librarian", "neighbour", "doctor"),
    ("carried", "watched", "found", "repaired", "wanted", "described", "remembered", "sold"),
    ("the", "a", "some", "his", "her", "our"),
    ("wooden", "silver", "broken", "heavy", "painted", "borrowed", "little", "forgotten"),
    ("ladder", "boat", "window", "letter", "clock", "basket", "lantern", "violin"),
    ("today", "at noon", "again", "by the sea", "last week", "in the rain", "before dawn"),
)


def iterate_sentences() -> Iterator[str]:
    """Different sentences of MIN_CHARS to MAX_CHARS characters, always the same ones."""
    for index in count():
        sentence = _compose(index * _STRIDE % prod(map(len, _WORDS)))
        if MIN_CHARS <= len(sentence) <= MAX_CHARS:
            yield sentence


def _compose(number: int) -> str:
    words = []
    for choices in _WORDS:
        number, choice = divmod(number, len(choices))
        words.append(choices[choice])
    return " ".join(words) + "."
