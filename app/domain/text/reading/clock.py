"""Times of the day and durations."""

import re
from typing import Final

from app.domain.text.mapped_text import Rule
from app.domain.text.number_words import below_hundred, cardinal
from app.domain.text.reading.letters import spelled
from app.domain.text.reading.sentence_ends import ends_sentence
from app.domain.text.reading.spacing import apart

_NOON: Final = 12
_LAST_HOUR: Final = 24
_HALF: Final = r"(?P<half>[AaPp])(?:\.? ?[Mm]\b\.?|\.[Mm]\.(?=\w)|[Mm]\.)"
_ZONE: Final = r"(?: ?(?P<zone>(?i:[ECMP]\.?[SD]\.?T|GMT|UTC|CET|BST)\b\.?))?"


def _half_of_day(match: re.Match[str]) -> str:
    words = " " + spelled(f"{match['half'].upper()}M")
    if match["zone"]:
        words += " " + spelled(match["zone"].replace(".", "").upper())
    return words + ("." if match[0].endswith(".") and ends_sentence(match) else "")


def _hour_and_minutes(hour: int, minutes: int) -> str:
    if minutes == 0:
        return below_hundred(hour)
    if minutes < 10:  # noqa: PLR2004
        return f"{below_hundred(hour)} oh {below_hundred(minutes)}"
    return f"{below_hundred(hour)} {below_hundred(minutes)}"


def _read_half_day(match: re.Match[str]) -> str | None:
    hour = int(match["hour"])
    if not hour <= _LAST_HOUR:
        return None
    if match["second"]:
        words = _duration(hour, int(match["minute"]), int(match["second"]))
    else:
        words = _hour_and_minutes(hour, int(match["minute"] or 0))
    return words + _half_of_day(match)


def _read_half_day_range(match: re.Match[str]) -> str:
    first = _hour_and_minutes(int(match["hour1"]), int(match["minute1"] or 0))
    if match["half1"]:
        first += " " + spelled(f"{match['half1'].upper()}M")
    second = _hour_and_minutes(int(match["hour"]), int(match["minute"] or 0))
    return f"{first} to {second}{_half_of_day(match)}"


def _read_clock(match: re.Match[str]) -> str:
    hour, minute = int(match["hour"]), int(match["minute"])
    if match["second"]:
        return apart(match, _duration(hour, minute, int(match["second"])))
    if minute:
        return apart(match, _hour_and_minutes(hour, minute))
    if hour == 0 or hour == _LAST_HOUR:
        return "midnight"
    return f"{cardinal(match['hour'])} {chr(39).join(('o', 'clock')) if hour <= _NOON else 'hundred'}"


def _read_clock_range(match: re.Match[str]) -> str:
    first = _hour_and_minutes(int(match["hour1"]), int(match["minute1"]))
    second = _hour_and_minutes(int(match["hour"]), int(match["minute"]))
    return f"{first} to {second}"


def _duration(hours: int, minutes: int, seconds: int) -> str:
    return (
        f"{_count(hours, 'hour')} {_count(minutes, 'minute')} and {_count(seconds, 'second')}"
    )


def _count(number: int, noun: str) -> str:
    return f"{cardinal(str(number))} {noun}" + ("" if number == 1 else "s")


_MINUTE: Final = r"[0-5]\d"

RULES: Final[tuple[Rule, ...]] = (
    (
        re.compile(
            rf"(?<![\w.,:])(?P<hour1>\d{{1,2}})(?:[:.](?P<minute1>{_MINUTE}))?"
            r"(?: ?(?P<half1>[AaPp])\.?[Mm]\b\.?)? ?[-\u2013] ?"
            rf"(?P<hour>\d{{1,2}})(?:[:.](?P<minute>{_MINUTE}))?(?P<second>(?!))? ?{_HALF}{_ZONE}"
        ),
        _read_half_day_range,
    ),
    (
        re.compile(
            rf"(?<![\w.:])(?P<hour>\d{{1,2}})(?:[:.](?P<minute>{_MINUTE})(?::(?P<second>{_MINUTE}))?)?"
            rf" ?{_HALF}{_ZONE}"
        ),
        _read_half_day,
    ),
    (
        re.compile(
            rf"(?<![\w.:,])(?P<hour1>[01]?\d|2[0-4]):(?P<minute1>{_MINUTE}) ?[-\u2013] ?"
            rf"(?P<hour>[01]?\d|2[0-4]):(?P<minute>{_MINUTE})(?![:\d])"
        ),
        _read_clock_range,
    ),
    (
        re.compile(
            rf"(?<![\w.:,])(?P<hour>\d{{1,2}}):(?P<minute>{_MINUTE})(?::(?P<second>{_MINUTE}))?(?![\d:]|\.\d)"
        ),
        _read_clock,
    ),
    (  # the result of a match, the shape of a picture
        re.compile(r"(?<![\w.:,])(\d{1,3}):(\d{1,3})(?![\d:]|\.\d)"),
        lambda match: f"{cardinal(match[1])} to {cardinal(match[2])}",
    ),
)
