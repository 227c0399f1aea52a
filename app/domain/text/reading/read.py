"""What is spoken for what is written: one paragraph of English text, its figures and signs in words.

The order of the rules is part of how it reads: an address keeps its figures from the rules for
numbers, a date its slashes from the rule for fractions. When all are done, no figure is left.
"""

import re
from typing import Final

from app.domain.text.mapped_text import MappedText, Rule
from app.domain.text.reading import (
    abbreviations,
    addresses,
    calendar,
    characters,
    clock,
    identifiers,
    measures,
    money,
    numbers,
    roman,
    symbols,
)

_TIDY: Final[tuple[Rule, ...]] = (
    (re.compile(r"\s+"), " "),
    (re.compile(r" (?=[.,;:!?)\]}])(?! ?\.\.\.)"), ""),
    (re.compile(r"(?<=[(\[{]) "), ""),
)

RULES: Final[tuple[Rule, ...]] = (
    *characters.RULES,
    *addresses.RULES,
    *clock.RULES,
    *calendar.RULES,
    *identifiers.RULES,
    *money.RULES,
    *measures.RULES,
    *abbreviations.RULES,
    *roman.RULES,
    (re.compile(r"(?<![\w&])#(?=\d)"), "number "),
    *numbers.RULES,
    *symbols.RULES,
    *_TIDY,
)


def clean(paragraph: MappedText) -> MappedText:
    """`paragraph` as it is, without what has no width: control characters, marks of direction."""
    return paragraph.apply(characters.CLEANING).strip()


def read(paragraph: MappedText) -> MappedText:
    """`paragraph` as it is spoken: words, marks, quotes and brackets."""
    return paragraph.apply(RULES).strip()
