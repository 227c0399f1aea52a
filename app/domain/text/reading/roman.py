"""Roman numerals, where they are numerals: after a heading, a title or the name of a ruler."""

import re
from functools import lru_cache
from typing import Final

from app.domain.text.mapped_text import rule
from app.domain.text.number_words import cardinal, ordinal, year
from app.domain.text.reading.matching import behind

_VALUES: Final = {"I": 1, "V": 5, "X": 10, "L": 50, "C": 100, "D": 500, "M": 1000}
_LAST_YEAR: Final = 2099
_VALID: Final = re.compile(r"M{0,3}(?:CM|CD|D?C{0,3})(?:XC|XL|L?X{0,3})(?:IX|IV|V?I{0,3})")

_HEADING_WORDS: Final = (
    "Chapter|Part|Section|Act|Scene|Volume|Book|Appendix|Article|Figure|Table|Phase|Stage|Title"
    "|Canto|Level|Grade|Category|Class|Type|Tier|Division|Corps|Episode|Season|Lesson|Unit"
    "|Module|Round|Step|Exhibit|Schedule|Annex|Mark|Vatican|Apollo|War|Bowl|WrestleMania|GTA|FF"
    "|COD|TES|Auto|Fantasy|Kombat|Rocky|Civilization"
)
_HEADINGS: Final = frozenset(_HEADING_WORDS.split("|"))
_RULER_NAMES: Final = (
    "Abdul|Abdullah|Adrian|Ahmed|Albert|Alexander|Alexandra|Alexios|Alfonso|Amenhotep|Andrew"
    "|Anne|Artaxerxes|Baldwin|Bayezid|Beatrix|Benedict|Boniface|Carl|Carlos|Casimir|Catherine"
    "|Charles|Christian|Clement|Cleopatra|Constantine|Darius|David|Edmund|Edward|Elizabeth"
    "|Emanuel|Emmanuel|Eric|Eugene|Felipe|Ferdinand|Francis|Franz|Frederick|Friedrich|George"
    "|Gregory|Gustav|Haakon|Harald|Harold|Henri|Henry|Honorius|Hussein|Innocent|Isabella|Ivan"
    "|James|John|Joseph|Juan|Julius|Justin|Justinian|Kamehameha|Kenneth|Ladislaus|Leo|Leopold"
    "|Louis|Ludwig|Manuel|Margaret|Maria|Mary|Maximilian|Mehmed|Michael|Murad|Mustafa|Napoleon"
    "|Nicholas|Norodom|Olaf|Olav|Oscar|Osman|Otto|Paul|Pedro|Peter|Philip|Pius|Ptolemy|Rama"
    "|Rameses|Ramesses|Ramses|Richard|Robert|Rudolf|Sam|Selim|Seti|Sigismund|Sixtus|Stanislaus"
    "|Stephen|Suleiman|Theodosius|Thomas|Thutmose|Umberto|Urban|Vajiralongkorn|Victor|Victoria"
    "|Vittorio|Walter|Wilhelm|Willem|William|Xerxes"
)
_RULERS: Final = frozenset(_RULER_NAMES.split("|"))
_RULERS_WITH_ONE: Final = frozenset({"Elizabeth", "Napoleon"})
_CROWNS: Final = frozenset({"King", "Queen", "Pope", "Emperor", "Tsar", "Sultan", "Pharaoh"})
_COUNTED_FROM_ONE: Final = frozenset({"War", "Bowl", "WrestleMania", "Vatican", "Schedule"})
# Numerals that are more often words or letters; never read after any capitalized word.
_USUAL_WORDS: Final = "MIX|DIM|MILL|CIVIL|CD|DC|MC|MD|DM|CC|MM|LI|CV|DI|MI|DIV|LCD|XL|XXL"
_WORDS: Final = frozenset(_USUAL_WORDS.split("|"))


@lru_cache(maxsize=1 << 10)
def value(numeral: str) -> int | None:
    """What a numeral stands for, or None if it is none."""
    if not numeral or not _VALID.fullmatch(numeral):
        return None
    values = [_VALUES[letter] for letter in numeral]
    return sum(
        -one if one < other else one for one, other in zip(values, [*values[1:], 0], strict=True)
    )


_WORDS_BEFORE: Final = re.compile(r"(?:\b(?P<crown>[A-Z][a-z]+) )?\b(?P<word>[A-Za-z]+),?\Z")
_RULER_NUMERAL: Final = re.compile(r"[IVX]{1,7}")
_PRONOUN: Final = re.compile(r"'(?:m|d|v|ll)| [a-z]+ (?:you|him|her|it|them)\b")
_ONE_ENDS: Final = re.compile(r"[.,:;)\n]|$| ?[-\u2013\u2014]| (?:of|and|to|or|is|was)\b")


def _read(match: re.Match[str]) -> str | None:
    """By the word before it: after a heading a number, after a ruler an ordinal."""
    text, end, number = match.string, match.start(), value(match[1])
    start_of_words = text.rfind(" ", 0, max(0, text.rfind(" ", 0, end))) + 1
    before = _WORDS_BEFORE.search(text, start_of_words, end)
    if number is None or not before:
        return None
    if before["word"] in _RULERS and _RULER_NUMERAL.fullmatch(match[1]):
        # any numeral but I, which must be that of a king and no pronoun
        is_ruler = before["crown"] in _CROWNS or before["word"] in _RULERS_WITH_ONE
        is_pronoun = match[1] == "I" and (not is_ruler or behind(_PRONOUN, match))
        return None if is_pronoun else f" the {ordinal(str(number))}"
    return f" {cardinal(str(number))}" if _is_number(match, before["word"]) else None


def _is_number(match: re.Match[str], word: str) -> bool:
    numeral = match[1]
    if word in _COUNTED_FROM_ONE:
        return numeral in "IVX" or len(numeral) > 1
    if word in _HEADINGS or word.title() in _HEADINGS:
        if numeral == "I":
            return behind(_ONE_ENDS, match) is not None
        return numeral in "VX" or len(numeral) > 1
    is_name = word[0].isupper() and word[1:].islower()
    is_numeral = len(numeral) > 1 and _RULER_NUMERAL.fullmatch(numeral) is not None
    return is_name and is_numeral and numeral not in _WORDS


CENTURIES: Final = rule(
    r"[IVX](?<!\w.)[IVX]{0,5}(?= (?:(?:and|or|to) [IVX]{1,6} )?[Cc]entur(?:y|ies)\b)",
    lambda match: ordinal(str(number)) if (number := value(match[0])) else None,
)


def _read_page(match: re.Match[str]) -> str | None:
    numbers = [value(numeral.upper()) for numeral in re.split("[-\u2013]", match[0])]
    return " to ".join(cardinal(str(one)) for one in numbers) if all(numbers) else None


# page xii, pages iii-vii
PAGES: Final = rule(
    r"[ivxl](?:(?<=[Pp]age .)|(?<=[Pp]ages .)|(?<=[Cc]hapter .)(?!\b))[ivxl]{0,6}"
    r"(?:[-\u2013][ivxl]{1,7})?\b(?!['-])",
    _read_page,
)
# MCMXCIX
YEARS: Final = rule(
    r"M(?<!\w.)[MDCLXVI]{3,}\b",
    lambda match: year(str(number)) if 0 < (number := value(match[0]) or 0) <= _LAST_YEAR else None,
)
RULES: Final = rule(r" ([IVXLCDM]{1,9})\b(?!'(?!s\b)|\.\w)", _read)
