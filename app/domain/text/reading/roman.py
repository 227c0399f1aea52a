"""Roman numerals, where they are numerals: after a heading, a title or the name of a ruler."""

import re
from typing import Final

from app.domain.text.mapped_text import Rule
from app.domain.text.number_words import cardinal, ordinal

_VALUES: Final = {"I": 1, "V": 5, "X": 10, "L": 50, "C": 100, "D": 500, "M": 1000}
_VALID: Final = re.compile(r"M{0,3}(?:CM|CD|D?C{0,3})(?:XC|XL|L?X{0,3})(?:IX|IV|V?I{0,3})")
_NUMERAL: Final = r"(?P<numeral>[IVXLCDM]{1,9})"

_HEADINGS: Final = (
    "Chapter|Part|Section|Act|Scene|Volume|Book|Appendix|Article|Figure|Table|Phase|Stage|Title|Canto"
    "|Level|Grade|Category|Class|Type|Tier|Division|Corps|Episode|Season|Lesson|Unit|Module|Round"
    "|Step|Exhibit|Schedule|Annex|Mark|Vatican|Apollo|Henry Part"
)
_ALWAYS_COUNTED: Final = "World War|Super Bowl|WrestleMania|Star Wars Episode|Vatican|Schedule"
_RULERS: Final = (
    "Abdul|Adrian|Albert|Alexander|Alexandra|Alexios|Alfonso|Amenhotep|Andrew|Anne|Artaxerxes|Baldwin|Beatrix"
    "|Benedict|Boniface|Carl|Carlos|Catherine|Charles|Christian|Clement|Cleopatra|Constantine|Darius|David"
    "|Edmund|Edward|Elizabeth|Eric|Eugene|Felipe|Ferdinand|Francis|Franz|Frederick|Friedrich|George|Gregory"
    "|Gustav|Haakon|Harald|Harold|Henri|Henry|Honorius|Innocent|Isabella|Ivan|James|John|Joseph|Juan|Julius"
    "|Justin|Justinian|Kamehameha|Kenneth|Ladislaus|Leo|Leopold|Louis|Ludwig|Malcolm|Manuel|Margaret|Maria|Mary"
    "|Maximilian|Mehmed|Michael|Murad|Mustafa|Napoleon|Nicholas|Olaf|Olav|Oscar|Otto|Paul|Pedro|Peter|Philip"
    "|Pius|Ptolemy|Ramesses|Ramses|Rameses|Richard|Robert|Rudolf|Selim|Seti|Sigismund|Sixtus|Stephen|Suleiman"
    "|Theodosius|Thutmose|Umberto|Urban|Victor|Victoria|Vittorio|Wilhelm|Willem|William|Xerxes|Emmanuel|Emanuel|Sam|Thomas|Walter|Hussein|Abdullah|Rama|Vajiralongkorn|Norodom|Ahmed|Osman|Bayezid|Casimir|Stanislaus"
)
_WORDS: Final = frozenset({"MIX", "DIM", "MILL", "CIVIL", "CD", "DC", "MC", "MD", "DM", "CC", "MM", "LI", "CV", "DI", "MI", "DIV", "LCD", "XL", "XXL"})
"""Numerals that are more often words or letters; never read after any capitalized word."""


def value(numeral: str) -> int | None:
    """What a numeral stands for, or None if it is none."""
    if not numeral or not _VALID.fullmatch(numeral):
        return None
    values = [_VALUES[letter] for letter in numeral]
    return sum(
        -one if one < other else one
        for one, other in zip(values, [*values[1:], 0], strict=True)
    )


def _read_counted(match: re.Match[str]) -> str | None:
    number = value(match["numeral"])
    if number is None:
        return None
    return f"{match['before']} {cardinal(str(number))}"


def _read_ruler(match: re.Match[str]) -> str | None:
    number = value(match["numeral"])
    if number is None or (len(match["numeral"]) == 1 and match["numeral"] not in "IVX"):
        return None
    return f"{match['before']} the {ordinal(str(number))}"


def _read_after_name(match: re.Match[str]) -> str | None:
    if match["numeral"] in _WORDS:
        return None
    return _read_counted(match)


RULES: Final[tuple[Rule, ...]] = (
    (re.compile(rf"\b(?P<before>{_ALWAYS_COUNTED}) {_NUMERAL}\b(?!')"), _read_counted),
    (
        re.compile(rf"\b(?P<before>(?i:{_HEADINGS})) (?P<numeral>[IVXLCDM]{{2,9}}|[VX])\b(?!'|\.\w)"),
        _read_counted,
    ),
    (
        re.compile(rf"\b(?P<before>{_HEADINGS}|{_HEADINGS.upper()}) (?P<numeral>I)(?=[.,:;)]|$| ?[-\u2013\u2014]| (?:of|and|to|or|is|was)\b)"),
        _read_counted,
    ),
    (
        re.compile(rf"\b(?P<before>{_RULERS}) (?P<numeral>[IVX]{{2,7}}|[VX])\b(?![.]?\w)"),
        _read_ruler,
    ),
    (
        re.compile(rf"\b(?P<before>(?:King|Queen|Pope|Emperor|Tsar|Sultan|Pharaoh) (?:{_RULERS})|Elizabeth|Napoleon) (?P<numeral>I)\b(?!'m|'d|'v|'ll| [a-z]+ (?:you|him|her|it|them)\b)"),
        _read_ruler,
    ),
    (
        re.compile(r"\b(?P<before>[A-Z][a-z]+) (?P<numeral>[IVX]{2,6})\b(?!'|\.\w)"),
        _read_after_name,
    ),
)  # fmt: skip
