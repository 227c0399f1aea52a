"""Numbers with units: singular and plural, powers, rates, ranges, feet and inches."""

import re
from typing import Final

from app.domain.text.mapped_text import Rule
from app.domain.text.number_words import cardinal, decimal, fraction, is_one
from app.domain.text.reading.sentence_ends import ends_sentence
from app.domain.text.reading.units import (
    LENGTHS,
    ONLY_APART,
    ONLY_TOUCHING,
    PER_NAMES,
    POWERS,
    UNITS,
)

NUMBER: Final = r"(?:\d{1,3}(?:,\d{3})++(?:\.\d++)?|\d++(?:\.\d++)?|\.\d++)"
_SCALE: Final = r"(?: (?:hundred|thousand|million|billion|trillion))?"
_UNIT: Final = "|".join(re.escape(unit) for unit in sorted(UNITS, key=len, reverse=True))
_POWER: Final = rf"(?P<length>{'|'.join(LENGTHS)})(?P<power>[\u00b2\u00b3]|\^?[23])"
_PER: Final = rf"(?:(?: ?/ ?| per )(?P<per>{'|'.join(sorted(map(re.escape, PER_NAMES), key=len, reverse=True))})(?P<per_power>[\u00b2\u00b3])?)?"
_END: Final = r"(?![\w\u00b0]|'[a-z])"
SIGN: Final = r"(?P<sign>(?:(?<![\w)\]'\"])|(?<=[?!.,;:]))[-\u2212]|(?<![\w)+])\+|\u00b1)?"
_LENGTH_NAMES: Final = {"in": ("inch", "inches")}
_SIGN_WORDS: Final = {"-": "minus ", "\u2212": "minus ", "+": "plus ", "\u00b1": "plus or minus ", None: ""}


def sign_words(sign: str | None) -> str:
    """ "minus ", "plus ", or nothing."""
    return _SIGN_WORDS[sign or None]


def _name(match: re.Match[str], *, is_single: bool) -> str:
    index = 0 if is_single else 1
    if match["length"]:
        names = UNITS.get(match["length"]) or _LENGTH_NAMES[match["length"]]
        name = f"{POWERS[match['power']]} {names[index]}"
    else:
        name = UNITS[match["unit"]][index]
    if match["per"]:
        name += f" per {PER_NAMES[match['per']]}"
        if match["per_power"]:
            name += " squared" if match["per_power"] == "\u00b2" else " cubed"
    return name


def _point(match: re.Match[str]) -> str:
    return "." if match[0].endswith(".") and ends_sentence(match) else ""


def _read(match: re.Match[str]) -> str | None:
    number, unit = match["number"], match["unit"]
    if unit in ONLY_TOUCHING and match["gap"]:
        return None
    if unit in ONLY_APART and not match["gap"] and "." not in (number or "") and not match["per"]:
        return None
    if match["fraction"]:
        is_single = " " not in match["fraction"]
        words = f"{fraction(match['fraction'])} {_name(match, is_single=is_single)}"
    else:
        is_single = is_one(number) and not match["scale"] and not match["low"]
        words = f"{decimal(number)}{match['scale']} {_name(match, is_single=is_single)}"
    if match["low"]:
        words = f"{decimal(match['low'])} to {words}"
    elif match["by"]:
        words = f"{decimal(match['by'])} by {words}"
    return f"{sign_words(match['sign'])}{words}{_point(match)}"


def _read_feet(match: re.Match[str]) -> str:
    feet, inches = match["feet"], match["inches"]
    words = f"{cardinal(feet)} {'foot' if is_one(feet) else 'feet'}"
    return f"{words} {decimal(inches)} {'inch' if is_one(inches) else 'inches'}" if inches else words


def _read_inches(match: re.Match[str]) -> str | None:
    if match.string.count('"', 0, match.start()) % 2:
        return None  # it closes a quotation
    return f"{decimal(match[1])} {'inch' if is_one(match[1]) else 'inches'}"


def _read_percent(match: re.Match[str]) -> str:
    low = f"{decimal(match['low'])} to " if match["low"] else ""
    return f"{sign_words(match['sign'])}{low}{decimal(match['number'])} percent"


def _read_per(match: re.Match[str]) -> str:
    return f"{decimal(match[1])} per {PER_NAMES[match[2]]}"


RULES: Final[tuple[Rule, ...]] = (
    (
        re.compile(r"(?<![\w.,])(?P<feet>\d{1,3})' ?(?P<inches>\d{1,2}(?:\.\d)?)(?:\"|''|(?![\w'.]))"),
        _read_feet,
    ),
    (re.compile(rf"(?<![\w.,'])({NUMBER})\"(?= ?[a-z,.;x)]|$)"), _read_inches),
    (
        re.compile(
            rf"(?<![\w.,$]){SIGN}(?:(?P<low>{NUMBER})%? ?(?:[-\u2013\u2014]| to ) ?)?(?P<number>{NUMBER}) ?%"
        ),
        _read_percent,
    ),
    (
        re.compile(
            rf"(?<![\w.$/])(?<!\d,){SIGN}"
            rf"(?:(?P<low>{NUMBER})(?: ?\u00b0[CF]?)? ?[-\u2013] ?|(?P<by>{NUMBER}) ?[x\u00d7] ?)?"
            rf"(?:(?P<fraction>(?:\d{{1,3}}[ -])?\d{{1,2}}/[1-9]\d?)|(?P<number>{NUMBER})(?P<scale>{_SCALE}))(?P<gap> ?|-)"
            rf"(?:{_POWER}|(?P<unit>{_UNIT})){_PER}{_END}"
        ),
        _read,
    ),
    (re.compile(rf"(?<![\w.,/])({NUMBER})/({'|'.join(sorted(PER_NAMES, key=len, reverse=True))})\b(?!/)"), _read_per),
    (re.compile(r"\u00b0(?P<scale>[CF])\b"), lambda match: {"C": "degrees Celsius", "F": "degrees Fahrenheit"}[match[1]]),
)  # fmt: skip
