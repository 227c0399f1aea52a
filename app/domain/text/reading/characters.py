"""Characters that are only another way to write some other: one spelling of each for the rules.

Figures of all scripts become 0 to 9, spaces of all widths a space, quotes and hyphens those of
ASCII; what has no sound (emoji, ornaments) becomes a space. Letters stay as they are. At last,
signs that are left between the words are named.
"""

import re
import unicodedata
from fractions import Fraction
from functools import lru_cache
from typing import Final

from app.domain.text.mapped_text import rule
from app.domain.text.reading.matching import JOINT, apart, touches_word

_SPELLINGS: Final[dict[str, str | None]] = {
    "\u2018": "'", "\u2019": "'", "\u02bc": "'", "\u2032": "'", "\u201b": "'", "\u2033": '"',
    "\u2010": "-", "\u2011": "-", "\ufe63": "-", "\uff0d": "-", "\u2012": "\u2013",
    "\u2015": "\u2014", "\u2e3a": "\u2014", "\u2103": "\u00b0C", "\u2109": "\u00b0F",
    "\u212b": "\u00c5", "\u2126": "\u03a9", "\u00ba": "\u00b0", "\u00b5": "\u03bc",
    "\u2116": "No.", "\u2122": "", "\u00ae": "", "\u2120": "", "\u2044": "/", "\u2215": "/",
    "\u2217": "*", "\u22c5": "\u00d7", "\u2219": "\u00d7", "\u2a7d": "\u2264", "\u2a7e": "\u2265",
    "\u2022": ",", "\u00b7": ",", "\u2023": ",", "\u25e6": ",", "\u2043": ",", "\ufe0f": "",
}  # fmt: skip

# Small figures to figures: they are left as they are here, and read by the rules for numbers.
SMALL: Final = str.maketrans(
    "\u2070\u00b9\u00b2\u00b3\u2074\u2075\u2076\u2077\u2078\u2079\u207b\u207a\u207f"
    "\u2080\u2081\u2082\u2083\u2084\u2085\u2086\u2087\u2088\u2089",
    "0123456789-+n0123456789",
)
# Symbols with a name (see _SIGN_NAMES), and the ellipsis.
_NAMED: Final = (
    "\u2212\u00b0\u00a7\u00b6\u00a9\u2030\u221e\u221a\u2192\u2248\u2260\u2264\u2265\u00d7\u00f7"
    "\u00b1\u2211\u03c0\u2026"
)

_SPELLINGS.update(dict.fromkeys([*_NAMED, *map(chr, SMALL)]))
_FRACTION_SLASH: Final = "\u2044"
_ZERO_WIDTH_SPACE: Final = "\u200b"


def _clean(char: str) -> str | None:
    """What a character becomes in any text: control characters a space, invisible ones nothing."""
    if char.isprintable():
        return None
    if char.isspace() or char == _ZERO_WIDTH_SPACE or unicodedata.category(char) == "Cc":
        return " "
    return ""


@lru_cache(maxsize=1 << 13)
def _spell(char: str) -> str | None:
    if char in _SPELLINGS:
        return _SPELLINGS[char]
    if not char.isprintable():
        return _clean(char)
    category = unicodedata.category(char)
    compatible = unicodedata.normalize("NFKC", char)
    if char.isnumeric():
        return _spell_number(char, compatible)
    is_kept = category[0] in "LMP" or category == "Sc"
    if compatible.isascii() and (is_kept or compatible.strip()):
        return compatible
    if category == "Sm":  # of mathematics
        return f" {unicodedata.name(char, '').lower().removesuffix(' sign')} "
    return None if is_kept else " "


def _spell_number(char: str, compatible: str) -> str:
    """A fraction, a Roman numeral, a circled figure, a figure or numeral of another script."""
    if char.isdecimal():
        return str(unicodedata.digit(char))
    if _FRACTION_SLASH in compatible:
        return compatible.replace(_FRACTION_SLASH, "/")
    if compatible.isascii():
        return compatible if compatible.isalpha() else f" {compatible.strip('().')} "
    number = Fraction(unicodedata.numeric(char)).limit_denominator(1_000)
    return f" {number} "


@lru_cache(maxsize=1 << 13)
def _spell_between(before: str, char: str, after: str) -> str | None:
    if char == JOINT:  # between letters it joins
        return None if before.isalpha() and after.isalpha() else ""
    spelling = _spell(char)
    if not spelling or "/" not in spelling or len(spelling) == 1:
        return spelling
    # a fraction
    gap_before = " " if before and not before.isspace() else ""
    gap_after = " " if after.isalpha() or after.isdecimal() else ""
    return gap_before + spelling + gap_after


def _respell(match: re.Match[str]) -> str | None:
    text, start = match.string, match.start()
    before = text[start - 1] if start else ""
    return _spell_between(before, match[0], text[start + 1 : start + 2])


# kW\u00b7h
UNITS_TIMES_UNITS: Final = rule(
    r"\u00b7(?<=[A-Za-z].)(?=[A-Za-z])",
    lambda match: "" if match.string[match.end()] in "hm" else " ",
)
CLEANING: Final = rule(r"[^\x20-\x7e]", lambda match: _clean(match[0]))
RULES: Final = rule(r"[^\n\x20-\x7e]", _respell)
THOUSANDS: Final = (
    # thousands with spaces between
    rule(
        r"[1-9](?<![\w.,:/+-].)(?<![0-9] .)[0-9]{0,2}(?: [0-9]{3})+(?![\w]|[,:/-]\d| \d)",
        lambda match: match[0].replace(" ", ","),
    ),
    # 1'250'000, as the Swiss write it
    rule(
        r"[1-9](?<![\w.,:/'-].)[0-9]{0,2}(?:'[0-9]{3})+(?![\w']|[,:/-]\d)",
        lambda match: match[0].replace("'", ","),
    ),
    # 1,00,000, as it is written in India
    rule(
        r"[1-9](?<![\w.,:/-].)[0-9]?(?:,[0-9]{2})+,[0-9]{3}(?![\w]|[,:/-]\d)",
        lambda match: f"{int(match[0].replace(',', '')):,}",
    ),
    # 2.500.000
    rule(
        r"[1-9](?<![\w.,:/-].)[0-9]{0,2}(?:\.[0-9]{3})*\.[0-9]{3}\.000(?![\w]|[.,:/-]\d)",
        lambda match: match[0].replace(".", ","),
    ),
)

_SIGN_NAMES: Final = {
    "&": "and", "%": "percent", "+": "plus", "=": "equals", "<": "less than", ">": "greater than",
    "@": "at", "/": "slash", "\\": "backslash", "#": "hash", "$": "dollar", "\u20ac": "euro",
    "\u00a3": "pound", "\u00a5": "yen", "\u20a9": "won", "\u20b9": "rupee", "\u20bf": "bitcoin",
    "\u00a2": "cents", "\u00b0": "degrees", "\u00a7": "section", "\u00b6": "paragraph",
    "\u00a9": "copyright", "\u2030": "per mille", "\u221e": "infinity", "\u221a": "square root of",
    "\u2192": "to", "\u2248": "approximately", "\u2260": "is not equal to",
    "\u2264": "less than or equal to", "\u2265": "greater than or equal to", "\u00d7": "times",
    "\u00f7": "divided by", "\u00b1": "plus or minus", "\u2211": "sum of", "\u20bd": "rubles",
    "\u20ba": "lira", "\u20aa": "shekels", "\u20ab": "dong", "\u20b4": "hryvnia", "\u0e3f": "baht",
}  # fmt: skip
_SILENT: Final = "*~^|`_\u00ac\u00a1\u00bf"
_GREEK: Final = {
    letter: unicodedata.name(letter).rpartition(" ")[2].lower().replace("lamda", "lambda")
    for letter in "\u03b1\u03b2\u03b3\u03b4\u0394\u03b5\u03b6\u03b7\u03b8\u03ba\u03bb\u03bc\u03bd"
    "\u03be\u03c0\u03c1\u03c3\u03a3\u03c4\u03c6\u03a6\u03c7\u03c8\u03c9\u03a9\u0393"
}
_OPERATORS: Final = {
    "<=": "less than or equal to", ">=": "greater than or equal to", "!=": "is not equal to",
    "==": "equals", "=>": "to", "->": "to", "-->": "to", "<-": "", "--": "\u2013",
    "&&": "and", "||": "or",
}  # fmt: skip


def _apart(match: re.Match[str], words: str) -> str:
    """`words` with a space to what stands before, and to a word that follows."""
    text, start, end = match.string, match.start(), match.end()
    before = " " if start and not text[start - 1].isspace() else ""
    after = text[end : end + 1]
    return before + words + (" " if after.isalnum() or (after and after in "([{'\"") else "")


SYMBOL: Final = (
    rf"[{re.escape(''.join([*_SIGN_NAMES, *_GREEK, _SILENT]))}!-]"
    r"(?:(?<![!-])|(?<=-)[->]|(?<=!)=|(?<= -) )"
)
SYMBOLS: Final = (
    rule(r"#(?=\w)", lambda match: " " if touches_word(match) else "hashtag "),
    rule("\u00a9(?<=opyright .) ?", ""),
    rule("\u00a7\u00a7", "sections "),
    rule(r"~(?<![\w)].) ?(?=\w)", "about "),
    rule(r"\+\+(?<=[A-Za-z]..)", lambda match: apart(match, "plus plus")),
    rule(rf"[{''.join(_GREEK)}](?<![^\W\d_].)(?![^\W\d_])", lambda match: _GREEK[match[0]]),
    rule(r" - (?<=[\w)] - )(?=[\w(])", " \u2013 "),
    rule(r"\*(?<=\b\w.)(?=\w\b)", " times "),
    rule(
        "|".join(re.escape(sign) for sign in sorted(_OPERATORS, key=len, reverse=True)),
        lambda match: _apart(match, _OPERATORS[match[0]]),
    ),
    rule(
        rf"[{re.escape(''.join(_SIGN_NAMES))}]", lambda match: _apart(match, _SIGN_NAMES[match[0]])
    ),
    rule(f"[{_SILENT}]", " "),
)
MARKS: Final = (
    rule(r"\.\.(?=\w)", ".. "),
    # a file, a host, a method: "main.py", ".config"
    rule(
        r"\.(?:(?<![\w.].)(?=[a-z])|(?<=[A-Za-z].)(?=[a-z]|NET\b))",
        lambda match: " dot " if touches_word(match) else "dot ",
    ),
    rule(r"[.!?,;:](?<=[a-z].)(?=[A-Za-z])", lambda match: f"{match[0]} "),
)
