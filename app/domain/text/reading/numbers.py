"""What is left of figures: fractions, ranges, signs, ordinals, years, decimals, whole numbers.

When these rules are done, no figure is left.
"""

import re
from typing import Final

from app.domain.text.mapped_text import Rule
from app.domain.text.number_words import (
    below_hundred,
    cardinal,
    decimal,
    digits,
    fraction,
    ordinal,
    plural,
    year,
)
from app.domain.text.reading.measures import SIGN, sign_words
from app.domain.text.reading.spacing import apart

_SUPERSCRIPTS: Final = str.maketrans("\u2070\u00b9\u00b2\u00b3\u2074\u2075\u2076\u2077\u2078\u2079\u207b\u207a\u207f", "0123456789-+n")
_SUBSCRIPTS: Final = str.maketrans("\u2080\u2081\u2082\u2083\u2084\u2085\u2086\u2087\u2088\u2089", "0123456789")
_POWER_WORDS: Final = {"2": "squared", "3": "cubed"}
_NUMBER: Final = r"(?:\d{1,3}(?:,\d{3})++(?:\.\d++)?|\d++(?:\.\d++)?|\.\d++)"

_LONGEST_COUNT: Final = 6
"""More figures without commas are a code, unless the last three are zero."""

_QUANTITY: Final = re.compile(
    r" (?:people|men|women|children|percent|million|billion|thousand"
    r"|(?!(?:was|is|has|this|his|its|as|us|series|always|perhaps|plus|minus|times|does|sales|things)\b)[a-z]{3,}s)\b"
)
_YEAR_BEFORE: Final = re.compile(
    r"(?i:\b(?:in|since|by|of|from|until|till|before|after|during|year|circa|late|early|mid|and|to|around|for))[ -]$"
)


def _read_fraction(match: re.Match[str]) -> str:
    whole = f"{match['whole']} " if match["whole"] else ""
    return fraction(f"{whole}{match['top']}/{match['bottom']}")


def _read_power(match: re.Match[str]) -> str:
    power = (match["super"] or match["caret"]).translate(_SUPERSCRIPTS)
    if power in _POWER_WORDS:
        return f" {_POWER_WORDS[power]}"
    if power.lstrip("-").isdecimal():
        minus = "minus " if power[0] == "-" else ""
        figures = power.lstrip("-")
        words = cardinal(figures) if minus else ordinal(figures)
        return f" to the {minus}{words}"
    return f" to the {power}"


def _read_subscript(match: re.Match[str]) -> str:
    return f" {cardinal(match[0].translate(_SUBSCRIPTS))} "


def _read_range(match: re.Match[str]) -> str | None:
    low, high = match["low"], match["high"]
    first, second = _whole(low), _whole(high)
    if match["equals"] is not None:
        return f"{first} minus {second}"
    if match["gap"] and match["dash"] == "-":
        return f"{first} minus {second}"
    lower, higher = float(low.replace(",", "")), float(high.replace(",", ""))
    if lower < higher or (match["dash"] == "-" and 0 < higher and lower < 100):  # noqa: PLR2004
        return f"{first} to {second}"
    return f"{first} {second}"


def _whole(number: str) -> str:
    return decimal(number)


def _read_ordinal(match: re.Match[str]) -> str:
    figures, ending = match["figures"].replace(",", ""), match["ending"].lower()
    if ending == _ending(figures):
        return ordinal(figures)
    words = digits(figures) if len(set(figures)) == 1 and len(figures) > 2 else cardinal(figures)  # noqa: PLR2004
    return f"{words} {ending}"


def _ending(figures: str) -> str:
    if figures[-2:-1] == "1":
        return "th"
    return {"1": "st", "2": "nd", "3": "rd"}.get(figures[-1], "th")


def _read_signed(match: re.Match[str]) -> str:
    return f"{sign_words(match['sign'])}{match['number']}"


def _read_decimal(match: re.Match[str]) -> str:
    return apart(match, decimal(match[0]))


def _read_whole(match: re.Match[str]) -> str:
    figures = match[0]
    is_round = figures.endswith("000")
    if figures[0] == "0" and len(figures) > 1:
        return digits(figures)
    if len(figures) > _LONGEST_COUNT and not is_round:
        return digits(figures)
    if len(figures) == 4 and "1010" <= figures <= "2099" and not _is_quantity(match):  # noqa: PLR2004
        return year(figures)
    return cardinal(figures)


def _is_quantity(match: re.Match[str]) -> bool:
    before = match.string[max(0, match.start() - 8) : match.start()]
    return (
        _QUANTITY.match(match.string, match.end()) is not None
        and _YEAR_BEFORE.search(before) is None
    )


def _serial(figures: str) -> str:
    if len(figures) >= 4 or figures[0] == "0":  # noqa: PLR2004
        if len(figures) == 4 and figures[0] in "12" and figures[1] != "0" or figures.startswith("20") and len(figures) == 4:  # noqa: PLR2004
            return year(figures)
        return cardinal(figures) if figures.endswith("000") else digits(figures)
    return cardinal(figures)


def _read_plural(match: re.Match[str]) -> str:
    return plural(below_hundred(int(match[1])) if len(match[1]) < 3 else cardinal(match[1]))  # noqa: PLR2004


RULES: Final[tuple[Rule, ...]] = (
    # powers and indices
    (
        re.compile(
            "(?<=[\\w)])(?:(?P<super>[\u207b\u207a]?[\u2070\u00b9\u00b2\u00b3\u2074-\u2079\u207f]{1,6})|\\^(?P<caret>-?\\d{1,4}|[a-z])(?![\\w]))"
        ),
        _read_power,
    ),
    (re.compile("[\u2080-\u2089]+"), _read_subscript),
    (re.compile("[\u2070\u00b9\u00b2\u00b3\u2074-\u2079]+"), lambda match: f" {cardinal(match[0].translate(_SUPERSCRIPTS))} "),
    # 2x8, 3 x 4
    (
        re.compile(rf"(?<![\w.])({_NUMBER}) ?[x\u00d7] ?(?={_NUMBER}(?!\w))(?=[^=]{{0,24}}=)"),
        lambda match: f"{match[1]} times ",
    ),
    (re.compile(rf"(?<![\w.])({_NUMBER}) ?[x\u00d7] ?(?={_NUMBER}(?!\w))"), lambda match: f"{match[1]} by "),
    # 1/2, 2 1/4
    (
        re.compile(
            r"(?<![\w.,/:-])(?:(?P<whole>\d{1,3})(?: |-| and ))?(?P<top>\d{1,3})/(?P<bottom>[1-9]\d{0,3})"
            r"(?:ths?|TH|rds?|nds?|s)?(?![\w/]|\.\d|-\d)"
        ),
        _read_fraction,
    ),
    (re.compile(r"(?<![\w/])(\d{1,3})/(\d{1,3})/(\d{1,3})(?![\w/])"), lambda match: " ".join(match.groups())),
    (re.compile(r"(?<=\d)/(?=\d{5})"), " "),
    (re.compile(r"(?<=\d)/(?=\d)"), " slash "),
    (re.compile(r"(?<=\d) ?\* ?(?=\d)"), " times "),
    (re.compile(r"(?<=\d)/f\b"), " per F"),
    # ranges
    (
        re.compile(
            rf"(?<![\w.,:/-])(?P<low>{_NUMBER})(?P<gap> ?)(?P<dash>[-\u2013])(?(gap) ?)(?P<high>{_NUMBER})"
            r"(?![\w/]|-\d|-[A-Za-z]{1,2}\b|[.:]\d|,\d)(?P<equals>(?= ?=))?"
        ),
        _read_range,
    ),
    # ordinals
    (
        re.compile(r"(?<![\w.])(?<!\d,)(?P<figures>\d{1,3}(?:,\d{3})+|\d+)(?P<ending>(?i:st|nd|rd|th))\b"),
        _read_ordinal,
    ),
    (re.compile(r"(?<![\w.,])(\d{2,3})'?s\b"), _read_plural),
    # signs
    (re.compile(rf"(?<![\d]){SIGN}(?P<number>(?<=[-+\u2212\u00b1]){_NUMBER})"), _read_signed),
    (re.compile(r"\u2212"), " minus "),
    # decimals and thousands
    (re.compile(r"(?<![\d.])\d{1,3}(?:,\d{3})+(?:\.\d+)?(?!\d)"), _read_decimal),
    (re.compile(r"(?<![\d.])\d+\.\d+(?![.\d])"), _read_decimal),
    (re.compile(r"(?<![\w.])\.\d+"), _read_decimal),
    # figures beside letters: a serial number, B2A23C
    (re.compile(r"(?<!\d)\d{5,}(?=-[A-Za-z])(?!\d*000-)"), lambda match: digits(match[0])),
    (re.compile(r"(?<=[A-Za-z])-(?=\d)|(?<=\d)-(?=[A-Za-z])"), " "),
    (re.compile(r"(?<=[^\W\d_])\d+(?=[^\W\d_])"), lambda match: f" {_serial(match[0])} "),
    (re.compile(r"(?<=[^\W\d_])\d+"), lambda match: f" {_serial(match[0])}"),
    (re.compile(r"(?<!\d)\d+(?=[^\W\d_])"), lambda match: f"{_serial(match[0])} "),
    (re.compile(r"(?<!\d)\d+'(?=s{2,})"), lambda match: f"{_serial(match[0][:-1])} "),
    # whole numbers
    (re.compile(r"\d+"), _read_whole),
)  # fmt: skip
