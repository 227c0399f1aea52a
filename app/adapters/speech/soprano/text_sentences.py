"""A cleaned text in sentences as long as Soprano was trained on; knows nothing of what words mean.

A sentence ends at a mark; one that has no mark within the limit ends after a word. A short
one joins its neighbour.
"""

import re
from collections.abc import Iterable, Iterator
from typing import Final

from app.domain.text.mapped_text import MappedText

MAX_SENTENCE_CHARS: Final = 300
"""Longest sentence, before short ones join it."""

MIN_SENTENCE_CHARS: Final = 30
"""A shorter sentence is not spoken alone if it has a neighbour."""

MAX_JOINED_CHARS: Final = 400
"""Longest sentence, with the short ones that have joined it."""

MAX_WORD_CHARS: Final = 60
"""Length of the pieces of a word that no sentence could hold."""

_LONG_WORD: Final = re.compile(rf"[^ .!?]{{{MAX_SENTENCE_CHARS},}}")
_WORD_PIECE: Final = re.compile(rf".{{{MAX_WORD_CHARS}}}(?=.)")

_SENTENCE: Final = re.compile(
    rf".{{0,{MAX_SENTENCE_CHARS - 2}}}?"
    r"(?:[!?]|\.(?= |.?\Z))"  # a point inside a word ends nothing
    r"[!?.]*(?:.\Z)?"  # a last character is not left alone
)


def split_sentences(text: MappedText) -> list[MappedText]:
    """The sentences of a `text` in Soprano's form, of at most MAX_SENTENCE_CHARS characters."""
    text = text.sub(_LONG_WORD, lambda word: _WORD_PIECE.sub(r"\g<0> ", word[0]))
    pieces = (piece.strip() for piece in _cut(text))
    return [piece for piece in pieces if piece.text.strip(" .,!?-'")]


def _cut(text: MappedText) -> Iterator[MappedText]:
    start = 0
    while start < len(text):
        # Two characters more than the longest sentence show whether its last point ends it.
        end = start + _first_sentence_end(text.text[start : start + MAX_SENTENCE_CHARS + 2])
        yield text[start:end]
        start = end


def _first_sentence_end(text: str) -> int:
    """Where the first sentence of `text` ends: after its mark, else at the limit after a word."""
    sentence = _SENTENCE.match(text)
    if sentence:
        return min(sentence.end(), MAX_SENTENCE_CHARS)
    if len(text) < MAX_SENTENCE_CHARS:
        return len(text)
    return 1 + max(text.rfind(gap, 0, MAX_SENTENCE_CHARS) for gap in " .!?")


def join_short_sentences(sentences: Iterable[MappedText]) -> list[MappedText]:
    """The same with every short one joined to the one before; at the beginning, to the next."""
    joined: list[MappedText] = []
    for sentence in sentences:
        if joined and _belong_together(joined[-1], sentence):
            joined[-1] = MappedText.join([joined[-1], sentence], " ")
        else:
            joined.append(sentence)
    return joined


def _belong_together(one: MappedText, other: MappedText) -> bool:
    is_short = min(len(one), len(other)) < MIN_SENTENCE_CHARS
    return is_short and len(one) + 1 + len(other) <= MAX_JOINED_CHARS
