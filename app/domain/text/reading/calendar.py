"""Dates, years and decades."""

import re
from typing import Final

from app.domain.text.mapped_text import rule
from app.domain.text.number_words import MANY, below_hundred, ordinal, plural, year
from app.domain.text.reading.clock import time_of_day
from app.domain.text.reading.matching import (
    any_of,
    before,
    behind,
    not_after,
    touches_word,
    with_point,
    word_rule,
)

_MONTHS: Final = (
    "January", "February", "March", "April", "May", "June", "July", "August", "September",
    "October", "November", "December",
)  # fmt: skip
_MONTH_OF: Final = {
    **{name.lower(): name for name in _MONTHS},
    **{name[:3].lower(): name for name in _MONTHS},
    "sept": "September",
}
_DAYS: Final = {
    "Mon": "Monday", "Tue": "Tuesday", "Tues": "Tuesday", "Wed": "Wednesday", "Thu": "Thursday",
    "Thur": "Thursday", "Thurs": "Thursday", "Fri": "Friday", "Sat": "Saturday", "Sun": "Sunday",
}  # fmt: skip

_SPELLINGS: Final = {
    case(name) for name in _MONTH_OF for case in (str.capitalize, str.lower, str.upper)
}
_MONTH: Final = rf"{any_of(_SPELLINGS)}\b\.?"
MONTH_BEGINS: Final = any_of({spelling[:3] for spelling in _SPELLINGS})
_YEAR: Final = r"(?:1[0-9]{3}|20[0-9][0-9])"
_DAY: Final = r"(?:3[01]|[12][0-9]|0?[1-9])"
_NO_MORE: Final = r"(?![\w]|[.,:/%-]\d)"
_ALSO_WORDS: Final = frozenset({"may", "march", "mar"})

_ATTACK: Final = (9, 11)  # is called nine eleven

_DATE_BEFORE: Final = re.compile(
    r"\b(?i:[a-z]+day,?|on|due|until|till|before|after|since|dated?:?|starting|from|by|through"
    r"|as of|week of|EO[DBW]|COB)"
    r"(?: the)? \Z"
)
_THE: Final = re.compile(r"\b(?i:the|our|your|this|last|next) \Z")
_EVENT: Final = re.compile(
    r" (?:party|meeting|event|deadline|game|show|release|class|call|appointment|session|update"
    r"|edition|issue|order|flight|trip|dinner|concert|launch|match|invoice|payment|delivery)s?\b"
)
_MONTH_BEFORE: Final = re.compile(
    r"\b(?i:since|from|until|till|through|dated|to|by|in|of|expires:?|exp\.?:?) \Z"
)
_USUAL_DENOMINATORS: Final = frozenset({2, 3, 4, 5, 6, 8, 10})


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


def _is_no_month(match: re.Match[str]) -> bool:
    """Whether "may" is the verb (nothing says it is the month), or the end of "dismay"."""
    is_verb = match["month"] in _ALSO_WORDS and not (match["ending"] or match["year"])
    return is_verb or (match.start("month") == match.start() and touches_word(match))


def _read_month_day(match: re.Match[str]) -> str | None:
    is_none = touches_word(match) if match["only_year"] else _is_no_month(match)
    if is_none:
        return None
    month, day = _month(match["month"]), f" {_day(match['day'])}" if match["day"] else ""
    until = f" to {_day(match['until'])}" if match["until"] else ""
    return f"{month}{day}{until}{_read_year(match['only_year'] or match['year'])}"


def _read_day_month(match: re.Match[str]) -> str | None:
    if _is_no_month(match) or not 1 <= int(match["day"]) <= 31:  # noqa: PLR2004
        return None
    until = f" to {_day(match['until'])}" if match["until"] else ""
    has_article = match.string[max(0, match.start() - 4) : match.start()].lower().endswith("the ")
    article = "" if has_article else "the "
    words = f"{article}{_day(match['day'])}{until} of {_month(match['month'])}"
    if match["year"]:
        return words + _read_year(match["year"])
    is_name = match["month"].rstrip(".").capitalize() in _MONTHS
    if match[0].endswith(".") and is_name:  # which has no point of its own
        return f"{words}."
    return with_point(words, match, before_names=False)


def _read_iso(match: re.Match[str]) -> str:
    month = _MONTHS[int(match["month"]) - 1]
    time = time_of_day(match["hour"], match["minute"]) if match["hour"] else ""
    date = f"{month} {_day(match['day'])}{_read_year(match['year'])}"
    return f"{date}, {time}" if time else date


def _read_figures(match: re.Match[str]) -> str | None:
    first, second = int(match["first"]), int(match["second"])
    if 1 <= first <= 12 and 1 <= second <= 31:  # noqa: PLR2004 - month, day
        return f"{_MONTHS[first - 1]} {_day(match['second'])}{_read_year(match['year'])}"
    if 1 <= second <= 12 and 1 <= first <= 31:  # noqa: PLR2004 - day, month
        return f"the {_day(match['first'])} of {_MONTHS[second - 1]}{_read_year(match['year'])}"
    return None


def _read_without_year(match: re.Match[str]) -> str | None:
    """Such as "by 9/30" and "Thursday, 10/12", where it cannot be a fraction."""
    month, day = int(match["first"]), int(match["second"])
    words = match.string[max(0, match.start() - 16) : match.start()]
    word = _DATE_BEFORE.search(words) or (behind(_EVENT, match) and _THE.search(words))
    if not word or not (1 <= month <= 12 and 1 <= day <= 31) or (month, day) == _ATTACK:  # noqa: PLR2004
        return None
    if "day" not in word[0] and month < day and day in _USUAL_DENOMINATORS:
        return None
    return f"{_MONTHS[month - 1]} {_day(match['second'])}"


def _read_month_of_year(match: re.Match[str]) -> str | None:
    if not 1 <= int(match["month"]) <= 12 or not before(_MONTH_BEFORE, match, 10):  # noqa: PLR2004
        return None
    return f"{_MONTHS[int(match['month']) - 1]}{_read_year(match['year'])}"


def _read_months(match: re.Match[str]) -> str | None:
    """Such as "Jan-Mar" and the first half of "Aug 5-Sep 2"."""
    if not match["month"][0].isupper():
        return None
    until = _month(match["until"]) if match["until"] else ""
    return f"{_month(match['month'])} {match['day'] or ''} to {until}".replace("  ", " ")


# Before a month at the beginning of a sentence, which goes on: "In Sept. Apple announced".
_PREPOSITION: Final = re.compile(r"(?:\A|[.!?\n]\s*)(?:In|Since|By|Until|Last|Early in|Late in) \Z")
_MONTH_FOLLOWS: Final = re.compile(
    rf" (?:{'|'.join(_MONTHS)}|Jan|Feb|Mar|Apr|Jun|Jul|Aug|Sept?|Oct|Nov|Dec|Morning|Afternoon"
    r"|Evening|Night)\b"
)


def _read_weekday(match: re.Match[str]) -> str:
    is_before_month = behind(_MONTH_FOLLOWS, match) is not None
    return with_point(_DAYS[match["day"]], match, before_names=is_before_month)


def _read_list_of_weekdays(match: re.Match[str]) -> str:
    words = _ANY_DAY.sub(lambda day: _DAYS[day[1]], match[0].replace("/", " "))
    return with_point(words, match)


def _read_years(match: re.Match[str]) -> str:
    if len(match[2]) == 2 and "05" < match[2] <= match[1][2:]:  # noqa: PLR2004 - Motion 2024-17
        return f"{year(match[1])}{_read_year(match[2])}"
    return f"{year(match[1])} to{_read_year(match[2])}"


# With a point, and no words.
POINTED_MONTHS: Final = {name[:3] for name in _MONTHS if name != "May"} | {"Sept"}
_BEHIND: Final = "|".join(rf"(?<={name}\.)" for name in sorted(POINTED_MONTHS))
POINTED_MONTH: Final = rf"\.(?:{_BEHIND})"

_DAY_NAME: Final = any_of(_DAYS)
_ANY_DAY: Final = re.compile(rf"({_DAY_NAME})\b\.?")
_DATE_FOLLOWS: Final = rf"(?:[0-9]|{_MONTH} [0-9])"
_HOUR_FOLLOWS: Final = (
    r" [0-9]{1,2}(?::[0-9]{2})? ?(?:[ap]\.?m|[-\u2013] ?[0-9]{1,2}(?![\w]| [a-z]))"
)

MONTHS: Final = word_rule(
    rf"{any_of(POINTED_MONTHS)}\.(?=,? |[,;:)\n]|$)",
    lambda match: with_point(
        _month(match[0]), match, before_names=before(_PREPOSITION, match, 16) is not None
    ),
)
WEEKDAYS: Final = (
    # Mon, Wed and Fri.
    word_rule(
        rf"{_DAY_NAME}\b\.?(?:(?:, ?(?:and |or )?| and | or | & |/){_DAY_NAME}\b\.?)+",
        _read_list_of_weekdays,
    ),
    # Mon-Fri
    word_rule(
        rf"(?P<first>{_DAY_NAME})\.? ?[-\u2013] ?(?P<last>{_DAY_NAME})\b(?:\.(?! ?[A-Z]|\n|$))?",
        lambda match: f"{_DAYS[match['first']]} to {_DAYS[match['last']]}",
    ),
    # "Mon.", "Thu, 10/12", "Tue 9am"
    word_rule(
        r"(?P<day>Mon|Tues?|Wed|Thu(?:rs?)?|Fri)"
        rf"(?:\.(?=,? |[,;:)\n]|$)|(?=,? {_DATE_FOLLOWS}))",
        _read_weekday,
    ),
    # these are words, too: "Sat down"
    word_rule(
        r"(?P<day>Sat)(?:\.(?=,? [\da-z]|[,;:)\n]|$)"
        rf"|(?=, {_DATE_FOLLOWS}|{_HOUR_FOLLOWS}))",
        _read_weekday,
    ),
    word_rule(
        r"(?P<day>Sun)(?:(?:(?<=\bon Sun)|(?<=\band Sun)|(?<=[-\u2013]Sun)|(?<=, Sun))"
        r"\.(?=[ ,;:)\n]|$)|\.(?=,? (?:and|or|to|through) [MTWF])"
        rf"|(?=, {_DATE_FOLLOWS}|{_HOUR_FOLLOWS}))",
        _read_weekday,
    ),
)
# 2024-03-15, 2023-11-05T08:15:00Z
ISO_DATES: Final = rule(
    rf"(?P<year>[12]{not_after('.-')}[0-9]{{3}})(?P<sign>[-/])(?P<month>0?[1-9]|1[0-2])(?P=sign)"
    rf"(?P<day>{_DAY})(?:[T ](?P<hour>[01][0-9]|2[0-4]):(?P<minute>[0-5][0-9])"
    r"(?::[0-9]{2}(?:\.[0-9]{1,9})?)?(?:Z\b|[+-][0-9]{2}:[0-9]{2})?)?(?![\w]|[./-]\d)",
    _read_iso,
)
# 3/14/2015, 31.12.2023
NUMERIC_DATES: Final = rule(
    rf"(?P<first>[0-9]{not_after('./-')}[0-9]?)(?P<sign>[-/.])(?P<second>[0-9]{{1,2}})(?P=sign)"
    r"(?P<year>[12][0-9]{3}|[0-9][0-9])(?![\w]|[./-]\d)",
    _read_figures,
)
SHORT_DATES: Final = (
    rule(
        r"(?P<first>[0-9](?<=[A-Za-z,:] .)[0-9]?)/(?P<second>[0-9]{1,2})"
        r"(?![\w/]|[.,-]\d| (?:of|cups?|tsp|tbsp)\b)",
        _read_without_year,
    ),
    rule(rf"(?P<month>[0-9](?<= .)[0-9]?)/(?P<year>{_YEAR})(?![\w/]|[.,-]\d)", _read_month_of_year),
)
# Jan-Mar, Aug 5-Sep 2
MONTH_RANGES: Final = word_rule(
    rf"(?P<month>{_MONTH})(?P<day> {_DAY})? ?[-\u2013] ?"
    rf"(?:(?P<until>{_MONTH})(?! [0-9]{{1,2}}\b)|(?={_MONTH} [0-9]))",
    _read_months,
)
RULES: Final = (
    # July 4, 1776; June 3-5; Jan-15; August 1991
    rule(
        rf"(?P<month>{_MONTH})(?:(?: |-(?=\d))(?P<day>{_DAY})(?P<ending>st|nd|rd|th)?"
        rf"(?:[-\u2013](?P<until>{_DAY})(?:st|nd|rd|th)?)?"
        rf"(?:,? (?P<year>{_YEAR})(?!\w|,\d)|(?![\w%\u20ac]|[:./-]\d|,\d\d))"
        rf"|,? '?(?P<only_year>{_YEAR}|(?<=')[0-9]{{2}}){_NO_MORE})",
        _read_month_day,
    ),
    # 4 July 1776, 4th of July
    rule(
        rf"(?P<day>[0-9]{not_after('.,/:$-')}[0-9]?)(?P<ending>st|nd|rd|th)?"
        rf"(?:[-\u2013](?P<until>{_DAY})(?:st|nd|rd|th)?)?"
        rf"(?: (?:of )?|-)(?P<month>{_MONTH})(?:,?[ -](?P<year>{_YEAR})(?!\w|,\d)|(?![\w]))",
        _read_day_month,
    ),
)
DECADES: Final = (
    rule(r"[-\u2013](?<=0s.)(?='?\d{1,3}0s\b)", " to "),
    rule(r"'(?<!\w')(?=[1-9]0s\b)", ""),
    # 100s of people; no decade begins with the year 100
    rule(
        rf"1{not_after('.,:/$€£-')}[0,]{{2,8}}'?s\b",
        lambda match: MANY.get(match[0].rstrip("'s").replace(",", "")),
    ),
    # 1980s, 80s
    rule(
        rf"([1-9]{not_after('.,')}(?:(?<=[12])[0-9]{{2}}0|0))'?s\b",
        lambda match: plural(year(match[1]) if match[1][2:] else below_hundred(int(match[1]))),
    ),
)
YEARS: Final = (
    rule(
        rf"([12]{not_after('.,$€£-')}[0-9]{{3}}) ?[-\u2013] ?({_YEAR}){_NO_MORE}"
        r"(?! ?(?:[kcm]?[mg]|lbs?|ft|mi|\u00b0)\b| ?=)",
        _read_years,
    ),
    rule(rf"([12]{not_after('.,$-')}[0-9]{{3}})[-\u2013]([0-9]{{2}}){_NO_MORE}", _read_years),
)
