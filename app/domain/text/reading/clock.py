"""Times of the day and durations."""

import re
from typing import Final

from app.domain.text.mapped_text import rule
from app.domain.text.number_words import below_hundred, cardinal, counted, digits
from app.domain.text.reading.matching import apart, before, behind, not_after, spelled, with_point

_NOON: Final = 12
_MIDNIGHT: Final = 24
_MINUTE: Final = r"[0-5][0-9]"
_HOUR: Final = r"(?:[01]?[0-9]|2[0-4])"
_HALF: Final = r"(?P<half>[AaPp])(?:\.? ?[Mm]\b\.?|\.[Mm]\.(?=\w)|[Mm]\.)"
_ZONE: Final = r"(?: ?(?P<zone>(?i:[ECMP]\.?[SD]\.?T|GMT|UTC|CET|BST)\b\.?))?"

# What follows "3 p.m." within a sentence, though it has a capital.
_OF_TIME: Final = re.compile(
    r" (?:Eastern|Central|Mountain|Pacific|Atlantic|Greenwich|London|Paris|Tokyo|Zulu|[A-Z]{2,4}"
    r"|(?:Mon|Tues|Wednes|Thurs|Fri|Satur|Sun)days?"
    r"|Jan(?:uary)?|Feb(?:ruary)?|March|April|May|June|July|Aug(?:ust)?|Sept(?:ember)?|Oct(?:ober)?"
    r"|Nov(?:ember)?|Dec(?:ember)?|Christmas|Thanksgiving|Easter|[A-Z][a-z]+ time)\b"
)
# Before a time at the beginning of a sentence, which goes on.
_BEGINNING: Final = re.compile(
    r"(?:\A|[.!?\n]\s*)(?:(?:At|By|Around|About|Before|After|Until|From|On|In|Since|Just)"
    r"(?: (?:about|around|exactly|before|after))?|The|A|An|My|Our|His|Her|Their) \Z"
)
# Before "23:4", which is a chapter and a verse then, and no ratio.
_VERSES_OF: Final = frozenset({
    "Genesis", "Exodus", "Leviticus", "Numbers", "Deuteronomy", "Joshua", "Samuel", "Kings",
    "Chronicles", "Job", "Psalm", "Psalms", "Proverbs", "Ecclesiastes", "Isaiah", "Jeremiah",
    "Ezekiel", "Daniel", "Matthew", "Mark", "Luke", "John", "Acts", "Romans", "Corinthians",
    "Galatians", "Ephesians", "Philippians", "Colossians", "Timothy", "Hebrews", "James", "Peter",
    "Jude", "Revelation", "Surah", "Quran",
})  # fmt: skip


def time_of_day(hour: str, minute: str | None) -> str:
    """Such as "eight oh five"; a full hour is only its number."""
    rest = int(minute or 0)
    zero = "oh " if rest < 10 else ""  # noqa: PLR2004
    return below_hundred(int(hour)) + (f" {zero}{below_hundred(rest)}" if rest else "")


def _half_of_day(match: re.Match[str]) -> str:
    words = " " + spelled(f"{match['half'].upper()}M")
    if match["zone"]:
        words += " " + spelled(match["zone"].replace(".", "").upper())
    if match[0].endswith(("pm.", "am.", "PM.", "AM.", "Pm.", "Am.")):  # no abbreviation has it
        return f"{words}."
    # "At 9 p.m. John left", "The 7 p.m. Yankees game"
    goes_on = before(_BEGINNING, match, 16) or behind(_OF_TIME, match)
    return with_point(words, match, before_names=goes_on is not None)


def _read_half_day(match: re.Match[str]) -> str | None:
    if int(match["hour"]) > _MIDNIGHT:
        return None
    words = _duration(match) if match["second"] else time_of_day(match["hour"], match["minute"])
    return words + _half_of_day(match)


def _read_half_day_range(match: re.Match[str]) -> str:
    half = " " + spelled(f"{match['half1'].upper()}M") if match["half1"] else ""
    first = time_of_day(match["hour1"], match["minute1"]) + half
    return f"{first} to {time_of_day(match['hour'], match['minute'])}{_half_of_day(match)}"


def _read_clock(match: re.Match[str]) -> str:
    hour = int(match["hour"])
    if match["second"]:
        return apart(match, _duration(match))
    if int(match["minute"]):
        return apart(match, time_of_day(match["hour"], match["minute"]))
    if hour in (0, _MIDNIGHT):
        return apart(match, "midnight")
    full_hour = "o'clock" if hour <= _NOON else "hundred"
    return apart(match, f"{cardinal(match['hour'])} {full_hour}")


def _read_clock_range(match: re.Match[str]) -> str | None:
    if int(match["hour1"]) > _MIDNIGHT:
        return None
    hundred = " hundred" if int(match["hour"]) > _NOON and not int(match["minute"] or 0) else ""
    first = time_of_day(match["hour1"], match["minute1"])
    return f"{first} to {time_of_day(match['hour'], match['minute'])}{hundred}"


def _read_military(match: re.Match[str]) -> str | None:
    """Such as "eighteen hundred hours", "zero six thirty hours"."""
    hour, minute = match["hour"], match["minute"]
    if hour[0] != "0" and minute != "00":
        return None
    hours = digits(hour) if hour[0] == "0" else cardinal(hour)
    words = f"{hours} {'hundred' if minute == '00' else below_hundred(int(minute))}"
    return f"{words} hours" if match["hours"] else words


def _counts(match: re.Match[str]) -> list[str]:
    """Such as "two hours"; what is not said is left out."""
    units = [unit for unit in ("hour", "minute", "second") if match[unit]]
    return [counted(match[unit], unit, f"{unit}s") for unit in units]


def _duration(match: re.Match[str]) -> str:
    *counts, seconds = _counts(match)
    return f"{' '.join(counts)} and {seconds}"


def _read_verses(match: re.Match[str]) -> str | None:
    before = match.string[max(0, match.start() - 20) : match.start()].rpartition("\n")[2]
    if before.rstrip().rpartition(" ")[2] not in _VERSES_OF:
        return None
    last = f" to {cardinal(match[3])}" if match[3] else ""
    return apart(match, f"{cardinal(match[1])} {cardinal(match[2])}{last}")


# 9am-5pm, 12-1 p.m.
HALF_RANGES: Final = rule(
    rf"(?P<hour1>[0-9]{not_after('.,:')}[0-9]?)(?:[:.](?P<minute1>{_MINUTE}))?"
    r"(?: ?(?P<half1>[AaPp])\.?[Mm]\b\.?)? ?[-\u2013] ?"
    rf"(?P<hour>[0-9]{{1,2}})(?:[:.](?P<minute>{_MINUTE}))? ?{_HALF}{_ZONE}",
    _read_half_day_range,
)
# 7 pm, 6:05 a.m.
HALVES: Final = rule(
    rf"(?P<hour>[0-9]{not_after('.:')}[0-9]?)"
    rf"(?:[:.](?P<minute>{_MINUTE})(?::(?P<second>{_MINUTE}))?)? ?{_HALF}{_ZONE}",
    _read_half_day,
)
DURATIONS: Final = (
    # 6h 30m, 2h30
    rule(
        rf"(?P<hour>[0-9]{not_after('.:,')}[0-9]?) ?h(?:rs?)? ?(?P<minute>[0-5]?[0-9])"
        r"(?: ?m(?:ins?)?\b(?: ?(?P<second>[0-5]?[0-9]) ?s(?:ecs?)?\b)?|(?![\w]|[.,:/-][0-9]))",
        lambda match: " ".join(_counts(match)),
    ),
    # 5m 20s
    rule(
        rf"(?P<minute>[0-9]{not_after('.:,')}[0-9]?) ?m(?P<hour>(?!))? ?"
        r"(?P<second>[0-5]?[0-9]) ?s\b",
        lambda match: " ".join(_counts(match)),
    ),
)
# at :05 and :35
PAST_THE_HOUR: Final = rule(
    r":(?<=\s.)([0-5][0-9])(?![\w:]|[.,]\d)",
    lambda match: digits("00") if match[1] == "00" else time_of_day("1", match[1])[4:],
)
# 1600 hours, at 0900
MILITARY: Final = rule(
    rf"(?P<hour>[0-2]{not_after('.:,')}[0-9])(?P<minute>{_MINUTE})"
    r"(?:(?P<hours> ?h(?:ou)?rs\b)"
    r"|(?:(?<=\b[Aa]t 0...)|(?<=\b[Bb]y 0...)|(?<=\b[Ff]rom 0...)|(?<=\b[Uu]ntil 0...))"
    r"(?<=0[1-9][0-5][05])"
    r"(?![\w%-]|[.,:/]\d| [A-Z]))",
    _read_military,
)
# GMT-5, UTC+05:30
ZONES: Final = rule(
    rf"(?P<sign>[-+\u2212](?:(?<=GMT.)|(?<=UTC.)))(?P<hour>{_HOUR})(?::?(?P<minute>{_MINUTE}))?"
    r"(?![\w:]|\.\d)",
    lambda match: (
        (" plus " if match["sign"] == "+" else " minus ")
        + time_of_day(match["hour"], match["minute"])
    ),
)
WITH_COLON: Final = (
    # John 3:16-18
    rule(
        rf"([0-9]{not_after('.,:')}[0-9]{{0,2}}):([1-9][0-9]{{0,2}})"
        r"(?:[-\u2013]([0-9]{1,3}))?(?![\d:]|\.\d)",
        _read_verses,
    ),
    # 3:59.4, 1:02:03.5
    rule(
        rf"(?:(?P<hour>[0-9]{not_after('.:,')}[0-9]?):(?=[0-9]+:))?"
        rf"(?P<minute>[0-9]{not_after('.,')}[0-9]?):(?P<second>{_MINUTE}\.[0-9]{{1,3}})"
        r"(?![\w:]|[.][0-9])",
        _duration,
    ),
    # 9:00-17:00
    rule(
        rf"(?P<hour1>[0-9]{not_after('.:,')}[0-9]?):(?P<minute1>{_MINUTE})"
        rf" ?[-\u2013] ?(?P<hour>{_HOUR}):(?P<minute>{_MINUTE})(?![:\d])",
        _read_clock_range,
    ),
    # 2:30-3, 10-11:15
    rule(
        rf"(?P<hour1>[0-9]{not_after('.:,$')}[0-9]?):(?P<minute1>{_MINUTE})"
        rf" ?[-\u2013] ?(?P<hour>{_HOUR})(?P<minute>(?!))?(?![\w:%]|[.,/-]\d)",
        _read_clock_range,
    ),
    rule(
        rf"(?P<hour1>[0-9]{not_after('.:,$')}[0-9]?)(?P<minute1>(?!))? ?[-\u2013] ?"
        rf"(?P<hour>{_HOUR}):(?P<minute>{_MINUTE})(?![\w:]|[.,]\d)",
        _read_clock_range,
    ),
    # 14:35, 1:30:15
    rule(
        rf"(?P<hour>[0-9]{not_after('.:,')}[0-9]?):(?P<minute>{_MINUTE})"
        rf"(?::(?P<second>{_MINUTE}))?(?![\d:]|\.\d)",
        _read_clock,
    ),
    # the result of a match, the shape of a picture
    rule(
        rf"([0-9]{not_after('.:,')}[0-9]{{0,2}}):([0-9]{{1,5}})"
        r"(?![\d:]|\.\d|[-\u2013][0-9]{1,3}(?![\d:]|\.\d))",
        lambda match: apart(match, f"{cardinal(match[1])} to {cardinal(match[2])}"),
    ),
)
