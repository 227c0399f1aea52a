"""English words in the form that Soprano knows: small letters and the marks ``! $ ' , - . ?``.

What each step makes of words is what the package soprano-tts makes of them, because the model knows
only text that went through that. Reads no figures; those that come are named one by one.
"""

import re
from typing import Final

from app.adapters.speech.soprano.text_characters import to_ascii
from app.domain.text.mapped_text import MappedText, Rule
from app.domain.text.number_words import cardinal
from app.domain.text.reading.matching import (
    JOINT,
)

_AS_THE_MODEL_KNOWS_IT: Final = {"missus": "misess", "miz": "miss"}
"""Words that the package spells in a way of its own."""

_CAPITALIZED: Final = re.compile(r"\b[A-Z][A-Za-z]+\b")
_CAPITAL_AND_TAIL: Final = re.compile(r"[A-Z][a-z]*")
_NAMES: Final = {
    "@": " at ", "&": " and ", "%": " percent ", "+": " plus ", "\\": " backslash ",
    "~": " about ", "<": " less than ", ">": " greater than ", "=": " equals ", "/": " slash ",
    "#": " hash ", ":": ".", ";": ",", "_": " ", "*": " ",
}  # fmt: skip
"""Signs that are still there, in a text that was not to be read."""

_ELLIPSIS: Final = re.compile(r"\.{3,}")
_LEADING_PAUSE: Final = re.compile(r"^[ ,]+")
_ENDS_WITH_MARK: Final = re.compile(r"[.!?]\Z")
_END: Final = re.compile(r"\Z")


def _split_at_capitals(match: re.Match[str]) -> str | None:
    """Spaces before the capitals inside a word that begins with one; "TVs" becomes "TV's"."""
    word = match[0]
    if word.isupper():
        return None
    if len(word) > 2 and word[-1] == "s" and word[:-1].isupper():  # noqa: PLR2004 - "As" is a word
        return f"{word[:-1]}'s"
    words = _CAPITAL_AND_TAIL.findall(word)
    return " ".join(words) if len(words) > 1 else None


def _strongest_marks(match: re.Match[str]) -> str | None:
    """Of a run of marks the strongest one; an ellipsis stays and parts the run in two."""
    if len(match[0]) == 1:
        return None
    parts = _ELLIPSIS.split(match[0])
    return "...".join(next((mark for mark in "?!.," if mark in part), "") for part in parts)


_BEFORE_BRACKETS: Final[tuple[Rule, ...]] = (
    (re.compile(JOINT), " "),
    (
        re.compile(rf"\b(?:{'|'.join(_AS_THE_MODEL_KNOWS_IT)})\b"),
        lambda word: _AS_THE_MODEL_KNOWS_IT[word[0]],
    ),
    (re.compile(r"[^\x00-\x7f]"), lambda char: to_ascii(char[0])),
    (re.compile(r"(?<=[^\n]) - (?=[^\n])"), ", "),
    (re.compile(r"\d+"), lambda figures: f" {cardinal(figures[0])} "),
)
_AFTER_BRACKETS: Final[tuple[Rule, ...]] = (
    (_CAPITALIZED, _split_at_capitals),
    (re.compile(r"[@&%:;+\\~<>=/_*#]"), lambda sign: _NAMES[sign[0]]),
    (re.compile(r"[A-Z]+"), lambda letters: letters[0].lower()),
    (re.compile(r"\s"), " "),
    (re.compile(r"[^a-z !$',.?-]"), ""),
    (re.compile(r" {2,}"), " "),
    (re.compile(r" (?=[.?!,])"), ""),
    (re.compile(r"[.,!?]+"), _strongest_marks),
    (re.compile(r"([a-z])\1{2,}"), lambda run: run[1] * 2),
)

_OPENING: Final = re.compile(r"[(\[{]")
_CLOSING: Final = re.compile(r"[)\]}](?P<next>[^$.!?,])?")


def in_soprano_form(paragraph: MappedText) -> MappedText:
    """`paragraph` in one line of letters a to z, spaces and the marks ``! $ ' , - . ?``."""
    text = paragraph.apply(_BEFORE_BRACKETS).strip()
    if not _ENDS_WITH_MARK.search(text.text):
        text = text.sub(_END, ".")
    return _read_brackets(text).apply(_AFTER_BRACKETS).sub(_LEADING_PAUSE, "").strip()


def _read_brackets(text: MappedText) -> MappedText:
    """Commas for all brackets between the first that opens and the last that closes.

    The character after a bracket that closes is taken along, as it was in the training text, unless
    it is a mark; mostly it is a space.
    """
    opening = _OPENING.search(text.text)
    closing = max(text.text.rfind(bracket) for bracket in ")]}")
    if opening is None or closing < opening.start():
        return text
    inside = text[opening.start() : closing + 2].sub(_OPENING, ", ")
    inside = inside.sub(_CLOSING, lambda bracket: ", " if bracket["next"] else "")
    return MappedText.join([text[: opening.start()], inside, text[closing + 2 :]])
