"""Numbers, and what is written with figures, as Soprano was trained to read them.

The order of the rules is part of how it reads: a date is found before the slashes in it divide,
money before its point is a decimal one. Takes ASCII text; when it is done, no figure is left.
"""

import re
from typing import Final

from app.adapters.speech.soprano.text_number_words import spell_cardinal, spell_ordinal
from app.adapters.speech.soprano.text_rules import Rule, apply_rules

_SCALES: Final = {"k": "thousand", "m": "million", "b": "billion", "t": "trillion"}
_LAST_HOUR_ON_A_CLOCK: Final = 12


def read_numbers(text: str) -> str:
    """`text` with words in the place of all figures."""
    return apply_rules(text, _RULES)


def _read_scale(match: re.Match[str]) -> str:
    return f"{match['number']} {_SCALES[match['scale'].lower()]}"


def _join_thousands(match: re.Match[str]) -> str:
    return match[0].replace(",", "")


def _read_phone(match: re.Match[str]) -> str:
    return ", ".join(" ".join(group) for group in match.groups())


def _read_clock(match: re.Match[str]) -> str:
    hours, minutes, seconds = match["hours"], match["minutes"], match["seconds"]
    if seconds is None:
        return _read_hours_and_minutes(hours, minutes)
    if int(hours):
        return f"{hours} {_read_middle(minutes)} {_read_last(seconds, on_the_dot='')}"
    if int(minutes):
        return f"{minutes} {_read_last(seconds, on_the_dot='oh oh')}"
    return seconds


def _read_hours_and_minutes(hours: str, minutes: str) -> str:
    if int(minutes):
        return f"{hours} {_read_last(minutes, on_the_dot='')}"
    if int(hours) > _LAST_HOUR_ON_A_CLOCK:
        return f"{hours} minutes"
    return f"{hours} o'clock" if int(hours) else "0"


def _read_middle(minutes: str) -> str:
    """Minutes between hours and seconds.

    In the training text, minutes from ten on stood in braces and quotes here. The braces become
    pauses later, the quotes stay; both are kept because the model knows them.
    """
    if minutes.startswith("0"):
        return _read_last(minutes, on_the_dot="oh oh")
    return f"{{'{minutes}'}}"


def _read_last(figures: str, on_the_dot: str) -> str:
    if not int(figures):
        return on_the_dot
    return f"oh {figures}" if figures.startswith("0") else figures


def _read_dollars(match: re.Match[str]) -> str:
    # A comma that is still there separates no thousands.
    parts = match["amount"].replace(",", "").split(".")
    if len(parts) > 2:  # noqa: PLR2004 - dollars and cents
        return f"{match['amount']} dollars"
    dollars, cents = (part.lstrip("0") for part in (*parts, "")[:2])
    coins = [_count(dollars, "dollar"), _count(cents, "cent")]
    return ", ".join(coin for coin in coins if coin) or "zero dollars"


def _count(figures: str, coin: str) -> str:
    if not figures:
        return ""
    return f"{figures} {coin}" if figures == "1" else f"{figures} {coin}s"


def _read_decimal(match: re.Match[str]) -> str:
    whole, *parts = match[0].split(".")
    return " point ".join([whole, *(" ".join(part) for part in parts)])


_RULES: Final[tuple[Rule, ...]] = (
    (re.compile(r"#(?=\d)"), "number "),
    (re.compile(r"\b(?P<number>\d+)(?P<scale>[KMBT])\b", re.IGNORECASE), _read_scale),
    (re.compile(r"\d[\d,]+\d"), _join_thousands),
    # A date takes the characters around it along, so of two dates only a space apart one is found.
    (
        re.compile(r"(^|[^/])(\d{1,2})[/-](\d{1,2})[/-](\d{4}|\d{2})([^/]|$)"),
        r"\1\2 dash \3 dash \4\5",
    ),
    (re.compile(r"\(?(\d{3})\)?[-. ](\d{3})[-. ]?(\d{4})"), _read_phone),
    (re.compile(r"(?P<hours>\d{1,2}):(?P<minutes>\d\d)(?::(?P<seconds>\d\d))?"), _read_clock),
    (re.compile(r"\$(?P<amount>[\d.,]*\d)"), _read_dollars),
    (re.compile(r"(?<!\d)\d+(?:\.\d+)+"), _read_decimal),
    (re.compile(r"(\d ?)\*( ?\d)"), r"\1 times \2"),
    (re.compile(r"(\d ?)/( ?\d)"), r"\1 over \2"),
    (re.compile(r"(\d ?)\+( ?\d)"), r"\1 plus \2"),
    (re.compile(r"(\d? ?)-( ?\d)"), r"\1 minus \2"),
    # What is left of a chain: each division above took the figure that the next one needs.
    (re.compile(r"(?<=\d)/(?=\d)"), " over "),
    (
        re.compile(r"(?<!\d)(\d+)(st|nd|rd|th)"),
        lambda match: spell_ordinal(match[1], match[2]),
    ),
    (re.compile(r"(?<=\d)(?=[A-Za-z])|(?<=[A-Za-z])(?=\d)"), " "),
    (re.compile(r"\d+"), lambda match: spell_cardinal(match[0])),
)
