"""Words that are not read as they are written: abbreviations, and words with capitals inside.

Takes ASCII text.
"""

import re
from typing import Final

_SHORT_FOR: Final = {
    "capt": "captain",
    "co": "company",
    "col": "colonel",
    "dr": "doctor",
    "drs": "doctors",
    "esq": "esquire",
    "ft": "fort",
    "gen": "general",
    "hon": "honorable",
    "jr": "junior",
    "lt": "lieutenant",
    "ltd": "limited",
    "maj": "major",
    "mr": "mister",
    "mrs": "misess",
    "ms": "miss",
    "rev": "reverend",
    "sgt": "sergeant",
    "st": "saint",
}
"""In any case, with a point that goes too. The model knows "misess" in this spelling."""

_WRITTEN_FOR: Final = {
    "API": "a p i",
    "APIs": "a p i's",
    "CLI": "c l i",
    "CLIs": "c l i's",
    "CPU": "c p u",
    "CPUs": "c p u's",
    "GPU": "g p u",
    "GPUs": "g p u's",
    "Hz": "hertz",
    "kHz": "kilohertz",
    "KB": "kilobyte",
    "KBs": "kilobytes",
    "MB": "megabyte",
    "MBs": "megabytes",
    "GB": "gigabyte",
    "GBs": "gigabytes",
    "TB": "terabyte",
    "TBs": "terabytes",
    "Mon": "monday",
    "Tues": "tuesday",
    "Wed": "wednesday",
    "Thurs": "thursday",
    "Fri": "friday",
    "Sat": "saturday",
    "Jan": "january",
    "Feb": "february",
    "Mar": "march",
    "Apr": "april",
    "Aug": "august",
    "Sept": "september",
    "Oct": "october",
    "Nov": "november",
    "Dec": "december",
    "Ave": "avenue",
    "and/or": "and or",
    "etc": "et cetera",
}
"""As whole words in exactly this case; a point after them stays."""

_WITH_POINT: Final = re.compile(rf"\b({'|'.join(_SHORT_FOR)})\.", re.IGNORECASE)
_WHOLE_WORD: Final = re.compile(rf"\b(?:{'|'.join(_WRITTEN_FOR)})\b")
_CAPITALIZED: Final = re.compile(r"\b[A-Z][A-Za-z]+\b")
_CAPITAL_AND_TAIL: Final = re.compile(r"[A-Z][a-z]*")


def expand_abbreviations(text: str) -> str:
    """Titles, units, months, weekdays and a few names of the trade in full."""
    text = _WITH_POINT.sub(lambda short: _SHORT_FOR[short[1].lower()], text)
    return _WHOLE_WORD.sub(lambda word: _WRITTEN_FOR[word[0]], text)


def split_mixed_case(text: str) -> str:
    """Spaces before the capitals inside a word that begins with one; "TVs" becomes "TV's"."""
    return _CAPITALIZED.sub(lambda word: _split_at_capitals(word[0]), text)


def _split_at_capitals(word: str) -> str:
    if word.isupper():
        return word
    if len(word) > 2 and word[-1] == "s" and word[:-1].isupper():  # noqa: PLR2004 - "As" is a word
        return f"{word[:-1]}'s"
    return " ".join(_CAPITAL_AND_TAIL.findall(word))
