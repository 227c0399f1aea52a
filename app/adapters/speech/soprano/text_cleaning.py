"""The words of a text as Soprano was trained to read them: small letters and a few marks.

What each step makes of a text is what the package soprano-tts makes of it, because the model knows
only text that went through that. Knows nothing of sentences.
"""

import re
from typing import Final

from app.adapters.speech.soprano.text_characters import to_ascii
from app.adapters.speech.soprano.text_numbers import read_numbers
from app.adapters.speech.soprano.text_symbols import read_links_and_pauses, read_symbols
from app.adapters.speech.soprano.text_words import expand_abbreviations, split_mixed_case
from app.domain.text_splitting import clean_text

_SEPARATORS: Final = re.compile("[\u2028\u2029]")
"""Unicode's own line breaks."""

_UNKNOWN: Final = re.compile(r"[^a-z !$',.?-]")
_SPACES: Final = re.compile(r" +")
_SPACE_BEFORE_MARK: Final = re.compile(r" (?=[.?!,])")
_MARKS: Final = re.compile(r"[.,!?]+")
_ELLIPSIS: Final = re.compile(r"\.{3,}")
_LETTER_RUN: Final = re.compile(r"([a-z])\1{2,}")


def clean_for_soprano(text: str) -> str:
    """`text` in one line of letters a to z, spaces and the marks ``! $ ' , - . ?``."""
    text = clean_text(_SEPARATORS.sub("\n", text))
    text = _end_lines(to_ascii(text))
    text = read_links_and_pauses(read_numbers(text))
    text = split_mixed_case(expand_abbreviations(text))
    return _tidy(_UNKNOWN.sub("", read_symbols(text).lower()))


def _end_lines(text: str) -> str:
    """One line of all, each with a mark at its end, for a new line is read as a new sentence."""
    lines = (line.strip() for line in text.split("\n"))
    return " ".join(
        line if line.endswith((".", "!", "?")) else f"{line}." for line in lines if line
    )


def _tidy(text: str) -> str:
    """Single spaces, none before a mark; one mark for several; no letter more than twice."""
    text = _SPACE_BEFORE_MARK.sub("", _SPACES.sub(" ", text)).strip()
    text = _MARKS.sub(lambda marks: _strongest_marks(marks[0]), text)
    return _LETTER_RUN.sub(r"\1\1", text)


def _strongest_marks(marks: str) -> str:
    """Of a run of marks the strongest one; an ellipsis stays and parts the run in two."""
    parts = _ELLIPSIS.split(marks)
    return "...".join(next((mark for mark in "?!.," if mark in part), "") for part in parts)
