"""Signs between the words, as Soprano was trained to read them: a pause, a word, or nothing.

Takes ASCII text without figures.
"""

import re
from typing import Final

from app.adapters.speech.soprano.text_rules import Rule, apply_rules

_NAMES: Final = {
    "@": " at ",
    "&": " and ",
    "%": " percent ",
    ":": ".",
    ";": ",",
    "+": " plus ",
    "\\": " backslash ",
    "~": " about ",
    "<=": " less than or equal to ",
    ">=": " greater than or equal to ",
    "<": " less than ",
    ">": " greater than ",
    "=": " equals ",
    "/": " slash ",
    "_": " ",
    "*": " ",
}
_NAMED: Final = re.compile(r"[<>]=|[@&%:;+\\~<>=/_*]")

_OPENING: Final = re.compile(r"[(\[{]")
_CLOSING: Final = re.compile(r"[)\]}](?P<next>[^$.!?,])?")

_LINKS_AND_DASHES: Final[tuple[Rule, ...]] = (
    (re.compile(r"https?://"), "h t t p s colon slash slash "),
    (re.compile(r"(.) - (.)"), r"\1, \2"),
    (re.compile(r"([A-Za-z])\.([A-Za-z])"), r"\1 dot \2"),
)


def read_links_and_pauses(text: str) -> str:
    """Links and dotted names in words; dashes and brackets as commas."""
    return _read_brackets(apply_rules(text, _LINKS_AND_DASHES))


def _read_brackets(text: str) -> str:
    """Commas for all brackets between the first that opens and the last that closes.

    The character after a bracket that closes is taken along, as it was in the training text, unless
    it is a mark; mostly it is a space.
    """
    opening = _OPENING.search(text)
    closing = max(text.rfind(bracket) for bracket in ")]}")
    if opening is None or closing < opening.start():
        return text
    end = closing + 2
    inside = _OPENING.sub(", ", text[opening.start() : end])
    inside = _CLOSING.sub(lambda bracket: ", " if bracket["next"] else "", inside)
    return text[: opening.start()] + inside + text[end:]


def read_symbols(text: str) -> str:
    """All other signs that have a name in words."""
    return _NAMED.sub(lambda sign: _NAMES[sign[0]], text)
