"""Dates, years and decades."""

import re
from typing import Final

from app.domain.text.mapped_text import Rule
from app.domain.text.number_words import below_hundred, ordinal, plural, year

_MONTHS: Final = (
    "January February March April May June July August September October November December"
).split()
_MONTH_OF: Final = {
    **{name.lower(): name for name in _MONTHS},
    **{name[:3].lower(): name for name in _MONTHS},
    "sept": "September",
}
_DAYS: Final = {
    "Mon": "Monday", "Tue": "Tuesday", "Tues": "Tuesday", "Wed": "Wednesday", "Thu": "Thursday",
    "Thur": "Thursday", "Thurs": "Thursday", "Fri": "Friday", "Sat": "Saturday", "Sun": "Sunday",
}  # fmt: skip

_MONTH: Final = (
    r"(?:[Jj]an(?:uary)?|JAN(?:UARY)?|[Ff]eb(?:ruary)?|FEB(?:RUARY)?|[Mm]ar(?:ch)?|MAR(?:CH)?"
    r"|[Aa]pr(?:il)?|APR(?:IL)?|[Mm]ay|MAY|[Jj]une?|JUNE?|[Jj]uly?|JULY?|[Aa]ug(?:ust)?|AUG(?:UST)?"
    r"|[Ss]ept?(?:ember)?|SEPT?(?:EMBER)?|[Oo]ct(?:ober)?|OCT(?:OBER)?|[Nn]ov(?:ember)?"
    r"|NOV(?:EMBER)?|[Dd]ec(?:ember)?|DEC(?:EMBER)?)\b\.?"
)
_YEAR: Final = r"(?:1\d{3}|20\d\d)"
_DAY: Final = r"(?:3[01]|[12]\d|0?[1-9])"
_NO_MORE: Final = r"(?![\w]|[.,:/%-]\d)"
_ALSO_WORDS: Final = frozenset({"may", "march", "mar"})


def _month(written: str) -> str:
    return _MONTH_OF[written.rstrip(".").lower()]


def _day(figures: str) -> str:
    return ordinal(figures.lstrip("0"))


def _read_year(figures: str | None) -> str:
    if not figures:
        return ""
    if len(figures) == 4:  # noqa: PLR2004
        return f" {year(figures)}"
    return f" oh {year(figures[1])}" if figures[0] == "0" else f" {below_hundred(int(figures))}"


def _read_month_day(match: re.Match[str]) -> str | None:
    month = match["month"].rstrip(".")
    if month in _ALSO_WORDS and not (match["ending"] or match["year"]):
        return None
    until = f" to {_day(match['until'])}" if match["until"] else ""
    return f"{_month(month)} {_day(match['day'])}{until}{_read_year(match['year'])}"


def _read_month_year(match: re.Match[str]) -> str:
    return f"{_month(match['month'])}{_read_year(match['year'])}"


def _read_day_month(match: re.Match[str]) -> str | None:
    month = match["month"].rstrip(".")
    if month in _ALSO_WORDS and not (match["ending"] or match["year"]):
        return None
    first = f"{_day(match['day'])}"
    if match["until"]:
        first = f"{first} to {_day(match['until'])}"
    # The point of "25 Sept." may also end the sentence.
    point = "." if match["month"].endswith(".") and _ends_sentence(match) else ""
    article = match["the"] or "the "
    return f"{article}{first} of {_month(month)}{_read_year(match['year'])}{point}"


def _ends_sentence(match: re.Match[str]) -> bool:
    return not match["year"] and match.string[match.end() : match.end() + 2].strip() == ""


def _read_iso(match: re.Match[str]) -> str:
    month = _MONTHS[int(match["month"]) - 1]
    time = f", {match['time']}" if match["time"] else ""
    return f"{month} {_day(match['day'])}{_read_year(match['year'])}{time}"


def _read_figures(match: re.Match[str]) -> str | None:
    first, second = int(match["first"]), int(match["second"])
    if first <= 12 and 1 <= second <= 31:  # noqa: PLR2004 - month, day
        return f"{_MONTHS[first - 1]} {_day(match['second'])}{_read_year(match['year'])}"
    if second <= 12 and first <= 31:  # noqa: PLR2004 - day, month
        return f"the {_day(match['first'])} of {_MONTHS[second - 1]}{_read_year(match['year'])}"
    return None


def _read_decade(match: re.Match[str]) -> str:
    figures = match["figures"]
    words = year(figures) if len(figures) == 4 else below_hundred(int(figures))  # noqa: PLR2004
    return plural(words)


def _read_years(match: re.Match[str]) -> str:
    return f"{year(match[1])} to{_read_year(match[2])}"


RULES: Final[tuple[Rule, ...]] = (
    (
        re.compile(
            r"(?<![\w.-])(?P<year>[12]\d{3})(?P<sign>[-/])(?P<month>0?[1-9]|1[0-2])(?P=sign)"
            rf"(?P<day>{_DAY})(?:[T ](?=\d\d:)(?P<time>\d\d:\d\d)(?::\d\d(?:\.\d{{1,9}})?)?(?:Z\b)?)?"
            r"(?![\w]|[./-]\d)"
        ),
        _read_iso,
    ),
    (
        re.compile(
            r"(?<![\w./-])(?P<first>\d{1,2})(?P<sign>[-/.])(?P<second>\d{1,2})(?P=sign)"
            r"(?P<year>[12]\d{3}|\d\d)(?![\w]|[./-]\d)"
        ),
        _read_figures,
    ),
    (
        re.compile(
            rf"\b(?P<month>{_MONTH})(?: |-(?=\d))(?P<day>{_DAY})(?P<ending>st|nd|rd|th)?"
            rf"(?:[-\u2013](?P<until>{_DAY})(?:st|nd|rd|th)?)?"
            rf"(?:,? (?P<year>{_YEAR})(?!\w|,\d)|(?![\w%\u20ac]|[:./-]\d|,\d\d))"
        ),
        _read_month_day,
    ),
    (
        re.compile(
            rf"(?<![\w.,/:$-])(?P<the>the )?(?P<day>{_DAY})(?P<ending>st|nd|rd|th)?"
            rf"(?:[-\u2013](?P<until>{_DAY})(?:st|nd|rd|th)?)?"
            rf"(?: (?:of )?|-)(?P<month>{_MONTH})(?:,?[ -](?P<year>{_YEAR})(?!\w|,\d)|(?![\w]))"
        ),
        _read_day_month,
    ),
    (re.compile(rf"\b(?P<month>{_MONTH}),? (?P<year>{_YEAR}){_NO_MORE}"), _read_month_year),
    (re.compile(r"(?<=0s)[-\u2013](?='?\d{1,3}0s\b)"), " to "),
    (re.compile(r"(?<![\w.,])'?(?P<figures>[12]\d\d0|[2-9]0)'?s\b"), _read_decade),
    (
        re.compile(rf"(?<![\w.,$\u20ac\u00a3-])({_YEAR}) ?[-\u2013] ?({_YEAR}){_NO_MORE}(?! ?(?:[kcm]?[mg]|lbs?|ft|mi|\u00b0)\b| ?=)"),
        _read_years,
    ),
    (re.compile(rf"(?<![\w.,$-])({_YEAR})[-\u2013](\d\d){_NO_MORE}"), _read_years),
    (
        re.compile(
            rf"\b(?:{'|'.join(day for day in _DAYS if day not in ('Sun', 'Sat'))})\.(?=,? |[,;:)]|$)"
            r"|\bSat\.(?=,? [\da-z]|[,;:)]|$)"
            r"|(?:(?<=\bon )|(?<=\band )|(?<=[-\u2013])|(?<=, ))Sun\.(?=[ ,;:)]|$)"
        ),
        lambda match: _DAYS[match[0][:-1]] + _kept_point(match),
    ),
    (
        re.compile(rf"\b(?:{'|'.join(name[:3] for name in _MONTHS if len(name) > 4)}|Sept)\.(?=,? |[,;:)]|$)"),
        lambda match: _month(match[0]) + _kept_point(match),
    ),
)  # fmt: skip


def _kept_point(match: re.Match[str]) -> str:
    """The point of an abbreviation at the end of the text is also that of the sentence."""
    rest = match.string[match.end() : match.end() + 2]
    return "." if not rest.strip() or (rest[0] == " " and rest[1:].isupper()) else ""
