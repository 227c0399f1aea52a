"""The last resort for a text that no rule could read: its letters and digits, one by one.

Uses none of the rules, for one of them has failed.
"""

from collections.abc import Iterator
from typing import Final

from anyascii import anyascii

from app.adapters.speech.soprano.text_number_words import DIGITS

MAX_SPELLED: Final = 40
"""Letters and digits of one sentence: at most 280 characters with the spaces and commas."""


def spell_out(text: str) -> list[str]:
    """Sentences that name each letter and digit, with a pause after each word of `text`."""
    names = [name for word in text.split() for name in _names(word)]
    groups = (names[i : i + MAX_SPELLED] for i in range(0, len(names), MAX_SPELLED))
    return [" ".join(group).rstrip(",") + "." for group in groups]


def _names(word: str) -> Iterator[str]:
    names = [
        DIGITS[int(char)] if char.isdigit() else char.lower()
        for char in anyascii(word)
        if char.isalnum()
    ]
    yield from names[:-1]
    yield from (f"{name}," for name in names[-1:])
