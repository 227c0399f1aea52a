"""Numbers that name something and count nothing: telephone numbers, codes, versions, hosts."""

import re
from typing import Final

from app.domain.text.mapped_text import Rule
from app.domain.text.number_words import cardinal, digits

_FREE_OF_CHARGE: Final = frozenset({"800", "900"})
_GROUP: Final = re.compile(r"\d+|[A-Za-z]+")


def _read_groups(match: re.Match[str]) -> str:
    plus = "plus " if match[0].startswith("+") else ""
    return plus + ", ".join(_read_group(group[0]) for group in _GROUP.finditer(match[0]))


def _read_group(group: str) -> str:
    if group in _FREE_OF_CHARGE:
        return cardinal(group)
    return digits(group) if group.isdecimal() else group.lower()


def _read_after_word(match: re.Match[str]) -> str:
    return match["word"] + " ".join(
        digits(part) if part.isdecimal() else part for part in re.findall(r"\d+|\D+", match["code"])
    )


def _read_digits(match: re.Match[str]) -> str:
    return digits(match[0])


def _read_ip(match: re.Match[str]) -> str:
    return " dot ".join(digits(part) for part in match[0].split("."))


def _read_version(match: re.Match[str]) -> str:
    letter = "v " if match["v"] else ""
    return letter + " point ".join(
        digits(part) if part[0] == "0" and len(part) > 1 else cardinal(part)
        for part in match["parts"].split(".")
    )


RULES: Final[tuple[Rule, ...]] = (
    # 1-800-FLOWERS
    (
        re.compile(r"(?<![\w-])(?:\+?1-)8\d\d-(?=[\dA-Z-]*[A-Z])[\dA-Z]+(?:-[\dA-Z]+){0,3}(?![\w-])"),
        _read_groups,
    ),
    # +1 (212) 555-0100, 212.555.0100, (212) 555-0100, with an extension
    (
        re.compile(
            r"(?<![\w.+])(?:\+?\d{1,3}[-. ]?)?(?:\(\d{3}\) ?|(?<![\d])\d{3}[-. ])\d{3}[-. ]\d{4}"
            r"(?:-\d{1,4})?(?![\w]|-\d)"
        ),
        _read_groups,
    ),
    (re.compile(r"(?<![\w.])\+\d{1,3}(?:[ .-]\d{1,4}){2,5}(?![\w]|[.-]\d)"), _read_groups),
    (re.compile(r"(?<![\w.])\+\d{7,15}(?![\w]|[.-]\d)"), _read_groups),
    # a social security number, a short number
    (re.compile(r"(?<![\w.-])\d{3}-\d{2}-\d{4}(?![\w]|-\d)"), _read_groups),
    (re.compile(r"(?<![\w.$\u20ac\u00a3-])\d{3}-\d{4}(?![\w%]|-\d|\.\d| ?=)"), _read_groups),
    (
        re.compile(
            r"(?P<word>\b(?i:call|dial|text|phone|pin|otp|passcode|zip|postcode|isbn|code|password"
            r"|ending in|card|account|ext|extension)(?i: code| number| no\.?| is|\.|:| #){0,3} )"
            r"(?P<code>[A-Za-z]{0,4}\d{3,12})(?![\w,]|[.:/-]\d|\.\w| ?%)(?! (?i:people|times|men|women|lines))"
        ),
        _read_after_word,
    ),
    (re.compile(r"(?<![\w.])\d{1,3}(?:\.\d{1,3}){3}(?![\w]|\.\d)"), _read_ip),
    (re.compile(r"(?<![\w.])(?P<v>[vV])?(?P<parts>\d{1,6}(?:\.\d{1,6}){2,5})(?![\w]|\.\d)"), _read_version),
    (
        re.compile(r"(?<![\w.])(?P<v>[vV])(?P<parts>\d{1,6}(?:\.\d{1,6})?)(?![\w]|\.\d)"),
        _read_version,
    ),
    # What begins with zero is a code, wherever it stands.
    (re.compile(r"(?<![\w.,:/])0\d+(?![\w]|[.:/,]\d)"), _read_digits),
)  # fmt: skip
