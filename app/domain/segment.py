"""A piece of text that the model speaks in one go, and how much of it there is to say."""

import re
import unicodedata
from functools import lru_cache
from typing import Final

import msgspec

from app.domain.errors import InvalidRequestError

CHARS_PER_DIGIT: Final = 6
"""Measured with the embedded voice, as all of these: a digit by itself is read with 5 phonemes, one
of a year with 7, of 777 with 10. A letter of prose has about one phoneme."""

CHARS_PER_SYMBOL: Final = 8
"""`+` has 5, `%`, `=` and `#` have 8, `>` has 12. Signs of markup are mostly not read at all."""

CHARS_PER_CAPITAL: Final = 2
"""In a run of capitals, which may be a word (1) or spelled (3, and 8 for a W)."""

CHARS_PER_FOREIGN_LETTER: Final = 4
"""A letter of another script is read by its Latin spelling, an ideograph as a syllable."""

CHARS_PER_RARE_LETTER: Final = 20
"""Of a script beyond the basic plane, whose Latin spelling may be a name (20 letters in Bamum)."""

_SYMBOL_CATEGORIES: Final = frozenset({"Sm", "Sc", "Sk", "So"})
_OTHER_SYMBOLS: Final = frozenset("&%@#/\\\u00a7\u00b6\u2020\u2021\u2030")
_SILENT_SYMBOLS: Final = frozenset("|`")
_LAST_LATIN_LETTER: Final = "\u024f"
_CAPITALS: Final = re.compile(r"[A-Z]{2,}")
_NOT_PROSE: Final = re.compile(r"[^A-Za-z\s.,;:!?'\"()-]")
"""Looked at one by one; all else is one character for itself."""


class TextSegment(msgspec.Struct, frozen=True):
    """A sentence or part of one, or a pause.

    Attributes:
        index: counts from 0 within its text.
        text: as the voice is given it; empty for a pause.
        source: as the user wrote it; the sources of a text, joined, are the text but for white space.
        pause_s: playing time of the silence, in seconds; 0 for what is spoken.
    """

    index: int
    text: str
    source: str = ""
    pause_s: float = 0.0

    def __post_init__(self) -> None:
        if self.index < 0 or bool(self.text.strip()) == bool(self.pause_s):
            raise InvalidRequestError("A text segment has an index from 0 on, and some text or a pause.")

    @property
    def num_spoken_chars(self) -> int:
        """About how many characters it has once figures and symbols are words."""
        return sum(spoken_lengths(self.text))


def spoken_lengths(text: str) -> list[int]:
    """For each character of `text`, about how many letters of prose take as long to say."""
    lengths = [1] * len(text)
    for char in _NOT_PROSE.finditer(text):
        lengths[char.start()] = _spoken_length(char[0])
    for run in _CAPITALS.finditer(text):
        lengths[run.start() : run.end()] = [CHARS_PER_CAPITAL] * len(run[0])
    return lengths


@lru_cache(maxsize=1 << 14)
def _spoken_length(char: str) -> int:
    parts = unicodedata.normalize("NFKC", char)
    num_parts = len(parts)  # a ligature may stand for four words
    if char.isalpha():
        return num_parts * _letter_length(parts[0])
    if char.isnumeric():  # also fractions and Roman numerals
        return num_parts * CHARS_PER_DIGIT
    if char in _SILENT_SYMBOLS:
        return 1
    is_symbol = char in _OTHER_SYMBOLS or unicodedata.category(char) in _SYMBOL_CATEGORIES
    return num_parts * CHARS_PER_SYMBOL if is_symbol else 1


def _letter_length(letter: str) -> int:
    if letter <= _LAST_LATIN_LETTER:
        return 1
    return CHARS_PER_FOREIGN_LETTER if letter <= "\uffff" else CHARS_PER_RARE_LETTER
