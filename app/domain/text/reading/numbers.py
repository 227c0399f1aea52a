"""What is left of figures: powers, fractions, ranges, ordinals, years, decimals, whole numbers.

When these rules are done, no figure is left.
"""

import re
from functools import lru_cache
from typing import Final

from app.domain.text.mapped_text import rule
from app.domain.text.number_words import (
    below_hundred,
    cardinal,
    decimal,
    digits,
    fraction,
    ordinal,
    plural,
    power,
    year,
)
from app.domain.text.reading import money
from app.domain.text.reading.characters import SMALL
from app.domain.text.reading.matching import (
    NUMBER,
    apart,
    before,
    behind,
    not_after,
    number,
    touches_word,
)

_SIGN_WORDS: Final = {
    "-": "minus ", "\u2212": "minus ", "\u2013": "minus ", "+": "plus ", "\u00b1": "plus or minus ",
}  # fmt: skip
_SMALL: Final = "[\u2080-\u2089\u2070\u00b9\u00b2\u00b3\u2074-\u2079]"
_LONGEST_COUNT: Final = 6  # more figures without commas are a code, unless the last three are zero

_PHRASES: Final = frozenset({("24", "7"), ("50", "50")})  # that are no ranges

_QUANTITY: Final = re.compile(
    r" (?:people|men|women|children|percent|million|billion|thousand"
    r"|(?!(?:was|is|has|this|his|its|as|us|series|always|perhaps|plus|minus|times|does|sales|things)\b)[a-z]{3,}s)\b"
)
_YEAR_BEFORE: Final = re.compile(
    r"(?i:\b(?:in|since|by|of|from|until|till|before|after|during|year|circa|late|early|mid|pre|post|and|to"
    r"|around|for|the|our|its|their|spring|summer|fall|autumn|winter|[qh][1-4]|fy))[ -]\Z"
)
_NAME_BEFORE: Final = re.compile(r"(?:^|\W)[A-Z][A-Za-z]+ \Z")
_USUAL_DENOMINATORS: Final = frozenset({
    "2", "3", "4", "5", "6", "7", "8", "10", "12", "16", "20", "32", "64", "100", "1000",
})  # fmt: skip
# Denominators whose plural is usual, of an inch or a note: "in 1/16s".
_NAMED_PARTS: Final = frozenset({"10", "12", "16", "20", "32", "64"})
_VOTE_BEFORE: Final = re.compile(
    r"\b(?:pass(?:ed|es)|vot(?:ed?|es|ing)|won|lost|beat|fail(?:ed|s)|approved|rejected|defeated)"
    r"(?: [a-z]+){0,3} \Z"
)
_MODEL_BEFORE: Final = re.compile(r"\b(?:Boeing|Airbus|Embraer|Cessna|Bombardier) [A-Z]?\Z")
_ODDS_BEFORE: Final = re.compile(r"\b[Oo]dds (?:of|at|are|were|is) \Z")
_FULL_MARKS: Final = frozenset({"5", "10", "100"})
_BEATS: Final = frozenset({"2", "4", "8", "16"})
_TIME_FOLLOWS: Final = re.compile(r" (?:time|meter|beat|rhythm|signature)\b")
_RATED: Final = re.compile(
    r"\b(?:rat(?:e[ds]?|ings?)|scor(?:e[ds]?|ing)|g[ia]ves?|solid|easy|strong|overall|satisfaction|review|index)"
    r":?(?: (?:it|this|that|them|him|her|of|is|was|at|as|an?|about))*:? \Z",
    re.IGNORECASE,
)
_RATES: Final = re.compile(r",? (?:would|recommend|stars?\b|rating|from critics)")


def _read_fraction(match: re.Match[str]) -> str:
    first, top, bottom = match.group("first", "top", "bottom")
    text, start = match.string, match.start()
    is_time = bottom in _BEATS and behind(_TIME_FOLLOWS, match)
    are_percents = len(first) == len(bottom) == 2 and int(first) + int(bottom) == 100  # noqa: PLR2004
    if not top and (is_time or are_percents):  # 4/4 time, 60/40
        return f"{cardinal(first)} {cardinal(bottom)}"
    if top or (bottom not in _FULL_MARKS and not text[start - 2 : start - 1].isalpha()):
        return _plain_fraction(match[0])
    words = text[max(0, start - 24) : start]
    if bottom in _FULL_MARKS and (_RATED.search(words) or behind(_RATES, match)):
        return f"{cardinal(first)} out of {cardinal(bottom)}"
    if _ODDS_BEFORE.search(words):
        return f"{cardinal(first)} to {cardinal(bottom)}"
    if bottom not in _USUAL_DENOMINATORS and _NAME_BEFORE.search(words):
        return f"{cardinal(first)} slash {cardinal(bottom)}"  # Windows 10/11
    return _plain_fraction(match[0])


@lru_cache(maxsize=1 << 10)
def _plain_fraction(written: str) -> str:
    figures = written.rstrip("thrdnsTH").replace(" and ", " ")
    if written.endswith("s") and figures.startswith("1/"):
        if len(figures) > len("1/9") and figures[2:] not in _NAMED_PARTS:
            return f"{fraction(figures)} of a second"  # an exposure of 1/250s
        return fraction(f"2{figures[1:]}").removeprefix("two ")  # in 1/2s
    return fraction(figures)


def _read_power(match: re.Match[str]) -> str:
    words = f" {power(match[1].translate(SMALL))}"
    end = match.end()
    return f"{words} " if match.string[end : end + 1].isalnum() else words


def _read_range(match: re.Match[str]) -> str:
    low, high = match["low"], match["high"]
    first, second = decimal(low), decimal(high)
    if (low, high) in _PHRASES:
        return f"{first} {second}"
    if match["equals"] is not None or (match["gap"] and match["dash"] == "-"):
        return f"{first} minus {second}"
    lower, higher = float(low.replace(",", "")), float(high.replace(",", ""))
    words = match.string[max(0, match.start() - 32) : match.start()]
    is_score = lower < 200 and (higher > 0 or lower < 100)  # noqa: PLR2004
    is_range = lower < higher or is_score or _VOTE_BEFORE.search(words)
    is_model = _MODEL_BEFORE.search(words)
    return f"{first} to {second}" if is_range and not is_model else f"{first} {second}"


def _read_ordinal(match: re.Match[str]) -> str:
    figures, ending = match["figures"].replace(",", ""), match["ending"].lower()
    proper = {"1": "st", "2": "nd", "3": "rd"}.get(figures[-1], "th")
    if ending == ("th" if figures[-2:-1] == "1" else proper):
        return ordinal(figures)
    words = digits(figures) if len(set(figures)) == 1 and len(figures) > 2 else cardinal(figures)  # noqa: PLR2004
    return f"{words} {ending}"


def _read_decimal(match: re.Match[str]) -> str:
    return apart(match, decimal(match[0]))


def _read_whole(match: re.Match[str]) -> str:
    figures, end = match[0], match.end()
    if touches_word(match) or match.string[end : end + 1].isalpha():
        return apart(match, _serial(figures))
    is_long = len(figures) > _LONGEST_COUNT and not figures.endswith("000")
    if is_long or (figures[0] == "0" and len(figures) > 1):
        return digits(figures)
    if not _is_year(figures):
        return cardinal(figures)
    counts = behind(_QUANTITY, match) and not before(_YEAR_BEFORE, match, 8)
    return cardinal(figures) if counts else year(figures)


def _is_year(figures: str) -> bool:
    return len(figures) == 4 and "1010" <= figures <= "2099"  # noqa: PLR2004


def _serial(figures: str) -> str:
    """Figures that touch letters: B2A23C, 1080p, SHA256."""
    if figures.endswith("000") and figures[0] != "0":
        return cardinal(figures)
    if _is_year(figures):
        return year(figures)
    return digits(figures) if len(figures) > 3 or figures[0] == "0" else cardinal(figures)  # noqa: PLR2004


SIGNS: Final = rule(
    rf"[-\u2212+\u00b1\u2013](?:(?<=[-\u2212])(?<![\w)\]'\"^%\u00b0{money.SIGNS}].)|(?<=\+)(?<![\w)+].)|(?<=\u00b1)"
    r"|(?<=\u2013)(?<![\w\u2013)%\u00b0].)(?=[0-9.]{1,8} ?[%\u00b0]))"
    rf"(?=\.?[0-9]|[{money.SIGNS}] ?\.?[0-9])",
    lambda match: _SIGN_WORDS[match[0]],
)
# as a product with a power of ten, which the next rules read
SCIENTIFIC: Final = rule(
    rf"(?P<first>[0-9]{not_after('.,:/-')}[0-9]?(?:\.[0-9]++)?)[eE]"
    r"(?P<exponent>[-+]?[0-9]{1,3})(?![\w]|[.,:-]\w)",
    lambda match: f"{match['first']} \u00d7 10^{int(match['exponent'])}",
)
POWERS: Final = (
    # 235U
    rule(
        "([\u2070\u00b9\u00b2\u00b3\u2074-\u2079](?<![\\w).].)[\u2070\u00b9\u00b2\u00b3\u2074-\u2079]{0,2})(?=[A-Z])",
        lambda match: f"{cardinal(match[1].translate(SMALL))} ",
    ),
    # Ca2+, Cl-
    rule(
        "(?<=[A-Za-z])([\u00b2\u00b3\u2074]?)([\u207a\u207b])(?![\u2070\u00b9\u00b2\u00b3\u2074-\u2079])",
        lambda match: (
            (f" {cardinal(match[1].translate(SMALL))}" if match[1] else "")
            + (" plus" if match[2] == "\u207a" else " minus")
        ),
    ),
    rule(
        "([\u207b\u207a\u2070\u00b9\u00b2\u00b3\u2074-\u2079\u207f](?<=[\\w)].)[\u2070\u00b9\u00b2\u00b3\u2074-\u2079]{0,6})",
        _read_power,
    ),
    rule(r"\^(?<=[\w)].)[{(]?(-?[0-9]{1,4}|[a-z])(?!\w)[})]?", _read_power),
    # 2**8, as it is programmed
    rule(r"\*\*(?:(?<=[0-9)]..)|(?<=[0-9)] ..)) ?(-?[0-9]{1,4}|[a-z])(?![\w*])", _read_power),
    rule(
        f"{_SMALL}{_SMALL}*",
        lambda match: f" {cardinal(match[0].translate(SMALL))} ",
    ),
)
SLASHES: Final = (
    # 1/2, 2 1/4
    rule(
        rf"(?P<first>[0-9]{not_after('.,/:-')}[0-9]{{0,2}})"
        r"(?:(?: |-| and )(?P<top>[0-9]{1,3}))?"
        r"/(?P<bottom>[1-9][0-9]{0,3})(?:ths?|TH|rds?|nds?|s)?(?![\w/]|\.\d|-\d)",
        _read_fraction,
    ),
    # 31/31/100, 25/235212
    rule(
        r"/(?:(?<=[0-9].)(?=[0-9]{1,3}/[0-9]|[0-9]{5})|(?<=/[0-9].)(?=[0-9])|(?<=/[0-9]{2}.)(?=[0-9]))",
        " ",
    ),
    rule(r" / (?<=[0-9] / )(?=[0-9.]+ =)", " divided by "),
    # 9.5/10
    rule(r"/(?<=[0-9]\.[0-9].)(?=(?:5|100?)\b)", " out of "),
    rule(r"/(?<=[0-9].)(?=[0-9])", " slash "),
    rule(r"/(?<=[0-9].)f\b", " per F"),
)
PRODUCTS: Final = (
    rule(r"\*(?:(?<=[0-9].)|(?<=[0-9] .))(?= ?[0-9])", " times "),
    # a product with f(n - 1)
    rule(r" \* (?=[a-z]{0,8}\([a-z] - [0-9]{1,2}\))", " times "),
)
RANGES: Final = (
    # ranges, sums
    rule(
        rf"(?P<low>{number(not_after('.,:/-'))})(?P<gap> ?)(?P<dash>[-\u2013])(?(gap) ?)"
        rf"(?P<high>{NUMBER})"
        r"(?![\w/]|-\d|-[A-Za-z]{1,2}\b|[.:]\d|,\d)(?P<equals>(?= ?=))?",
        _read_range,
    ),
    rule(r"[-\u2013](?<=[0-9].)(?<![A-Za-z][0-9].)(?=[0-9.]{1,6}[kKMB]\b)", " to "),
)
# ordinals
ORDINALS: Final = rule(
    rf"(?P<figures>[0-9]{not_after('.')}(?<![0-9],.)(?:[0-9]{{0,2}}(?:,[0-9]{{3}})++|[0-9]*+))"
    r"(?P<ending>(?i:st|nd|rd|th))\b",
    _read_ordinal,
)
PLURALS: Final = rule(
    rf"([0-9]{not_after('.,')}[0-9]{{1,2}})'?s\b",
    lambda match: plural(cardinal(match[1]) if match[1][2:] else below_hundred(int(match[1]))),
)
MINUS: Final = rule(
    r" ?\u2212",
    lambda match: (
        " minus" if match.string[match.end() : match.end() + 1] in " \u2212" else " minus "
    ),
)
THOUSANDS: Final = rule(
    r"[1-9](?<![0-9.].)[0-9]{0,2}(?:,[0-9]{3})+(?:\.[0-9]+)?(?![0-9])", _read_decimal
)
DECIMALS: Final = (
    rule(r"[0-9](?<![0-9.].)[0-9]*+\.[0-9]++(?!\.?[0-9])", _read_decimal),
    rule(rf"\.{not_after('.')}[0-9]+", _read_decimal),
)
LONG_BESIDE_LETTERS: Final = rule(
    r"[0-9](?<![0-9].)[0-9]{4,}+(?=-[A-Za-z])(?<!000)", lambda match: digits(match[0])
)
QUARTERS: Final = rule(r"[-\u2013](?<=\bQ[1-4].)(?=Q[1-4]\b)", " to ")
BESIDE_LETTERS: Final = (
    rule(r"e-(?<=[0-9]..)(?=[0-9])", " e minus "),
    # n-1
    rule(r"-(?<=[ijkmnxyt]-)(?<![\w.].-)(?=[0-9]{1,2}\b)", " minus "),
    rule(r" - (?<=\([a-z] - )(?=[0-9]{1,2}\))", " minus "),
    rule(r"-(?<=T-)(?<!\w.-)(?=[0-9]+ (?:day|hour|minute|second)s?\b)", " minus "),
    rule(r"-(?:(?<=[A-Za-z].)(?=[0-9])|(?<=[0-9].)(?=[A-Za-z]))", " "),
)
STRETCHED: Final = rule(
    r"[0-9](?<![0-9].)[0-9]*+'(?=ss)", lambda match: f"{cardinal(match[0][:-1])} "
)
WHOLE: Final = rule(r"[0-9](?<![0-9].)[0-9]*+", _read_whole)
