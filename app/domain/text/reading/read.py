"""What is spoken for what is written: a paragraph of English text, figures and signs in words.

The order of the rules is part of how it reads: an address keeps its figures from the rules for
numbers, a date its slashes from the rule for fractions. When all are done, no figure is left.
"""

import re
from typing import Final

from app.domain.text.mapped_text import MappedText, Rule
from app.domain.text.reading import (
    abbreviations,
    addresses,
    calendar,
    characters,
    clock,
    identifiers,
    measures,
    money,
    numbers,
    roman,
    symbols,
)

Step = tuple[re.Pattern[str], tuple[Rule, ...]]
"""What a text must have for any of the rules to match, and the rules.

The first pattern begins with a character or a set of them, so that it is found quickly.
"""

_MAX_ROUNDS: Final = 8
_TIDY: Final[tuple[Rule, ...]] = (
    (re.compile(r" \s+"), " "),
    (re.compile(r" (?=[.,;:!?)\]}](?!\w))(?!\.\.\.)"), ""),
    (re.compile(r"[(\[{] "), lambda match: match[0][0]),
)

_ANYTHING: Final = re.compile("")
_NAMES: Final[tuple[Step, ...]] = (
    (re.compile(r"[^\x21-\x7e](?:(?<! )|(?<=[0-9] )[0-9])"), characters.RULES),
    (re.compile(":(?=[^ ])"), addresses.URLS),
    (re.compile("@"), addresses.MAIL),
    (re.compile(r"\.[a-z]{2}"), addresses.HOSTS),
    (re.compile(r"[MTWFS][a-z]{2,4}[.,\u2013 -]"), calendar.WEEKDAYS),
    (re.compile(r"\. ?(?:[+(]?[0-9]|[A-Z]{1,4}-?[0-9]|[IVXLC]+\b)"), abbreviations.FIGURES_FOLLOW),
    (re.compile(r"[-\u2013] ?[ADFJMNOS]"), calendar.MONTH_RANGES),
)
_CODES_AND_DATES: Final[tuple[Step, ...]] = (
    (re.compile(r"[-\u2013] ?[0-9]"), clock.HALF_RANGES),
    (re.compile(r"[0-9] ?[AaPp]\.?[ Mm]"), clock.HALVES),
    (re.compile(r"[0-9] ?[hm]"), clock.DURATIONS),
    (re.compile("[0-9]:[0-9]"), clock.WITH_COLON),
    (re.compile(r"[0-9][-/.][0-9]"), calendar.NUMERIC_DATES),
    (_ANYTHING, calendar.RULES),
    (re.compile("[0-9](?:[0-9]{3}|(?<=0)'?s)"), calendar.YEARS),
    (re.compile(r"[0-9][-. ][0-9]{4}"), identifiers.TELEPHONE_NUMBERS),
    (re.compile(r"[0-9vV](?:[0-9]{2}|[.-][0-9]|(?<=[0vV])[0-9])"), identifiers.RULES),
)
_WORDS: Final[tuple[Step, ...]] = (
    (re.compile(r"[A-Za-z]{3}\."), calendar.MONTHS),
    (
        re.compile(r"[./&+#(vePHkKMGT'](?:(?<=[./&+#(])|s|tc|hD|[cdl]|[kMG]?Hz|B|b|W)"),
        abbreviations.FIXED,
    ),
    (re.compile("[A-Z][A-Za-z]"), abbreviations.CAPITALIZED),
    (re.compile(r"[.)A-Zw](?:(?<=[.)])[A-Za-z]|(?<=[A-Z])\.|ww)"), abbreviations.INITIALS),
    (re.compile("[A-Z](?<!\\w.)[A-Z]{2}"), abbreviations.REPEATED),
    (re.compile(" [IVXLCDM]"), roman.RULES),
)
_AMOUNTS: Final[tuple[Step, ...]] = (
    (re.compile(rf"[-\u2212\u2013+\u00b1][0-9.{money.SIGNS}]"), measures.SIGNS),
    (re.compile(r"[x\u00d7] ?[0-9.]"), measures.PRODUCTS),
    (money.SIGN, money.RULES),
    (money.SIGN_WITHOUT_FIGURE, money.SIGN_BEHIND),
    (re.compile("\u00a2"), money.CENTS),
    (re.compile("[0-9]'"), measures.QUOTED_LENGTHS),
    (re.compile('[0-9]"'), measures.INCHES),
    (re.compile("%"), measures.PERCENTS),
    (re.compile("f(?:ee|oo)?t"), measures.FEET),
    (re.compile(r"[0-9\u00b0](?:(?<=\u00b0)|[-.]? ?[A-Za-z/\u00b0\u03bc\u03a9])"), measures.RULES),
    (re.compile("/[A-Za-z]"), measures.RATES),
    (re.compile("#[0-9]"), ((re.compile(r"#(?<![\w&].)(?=[0-9])"), "number "),)),
    (re.compile("[\u207a\u207b\u2070-\u2089\u00b9\u00b2\u00b3^]"), numbers.POWERS),
    (re.compile("/"), numbers.SLASHES),
    (
        re.compile(
            r"[-.,0-9\u2212]"
            r"(?:(?<=[0-9])(?: ?[-\u2013*]|'?[sntrSNTR])|(?<=\u2212)|[0-9](?<![0-9]{2}))"
        ),
        numbers.COMPOUND,
    ),
    (re.compile("'ss"), numbers.STRETCHED),
    (re.compile("[0-9]"), numbers.WHOLE),
)
_SYMBOLS: Final[tuple[Step, ...]] = (
    (
        re.compile(
            r"[#$%&*+/<=>@\\^_`|~.,;:!?\u0080-\u205f\u2061-\U0010ffff-]"
            r"(?:(?<![.,;:!?-])|(?<!-)\w|(?<=-)-|(?<= -) )"
        ),
        symbols.RULES,
    ),
    (re.compile(r" (?:[\s.,;:!?)\]}]|(?<=[(\[{] ))"), _TIDY),
)
_FIGURE: Final = re.compile("[0-9\u2070-\u2089\u00b9\u00b2\u00b3^\u2212\u00b0]")

STAGES: Final[tuple[tuple[re.Pattern[str], tuple[Step, ...]], ...]] = (
    (_ANYTHING, _NAMES),
    (_FIGURE, _CODES_AND_DATES),
    (_ANYTHING, _WORDS),
    (_FIGURE, _AMOUNTS),
    (_ANYTHING, _SYMBOLS),
)
"""The steps in their order; those for figures are left out where there is none."""


def clean(paragraph: MappedText) -> MappedText:
    """`paragraph` as it is, without what has no width: control characters, marks of direction."""
    return paragraph.apply(characters.CLEANING).strip()


def read(paragraph: MappedText) -> MappedText:
    """`paragraph` as it is spoken: words, marks, quotes and brackets.

    It is read until nothing changes: a sign that is a word now, or a word that has come apart
    from its figure ("3Dr."), may make an abbreviation of what stands beside it.
    """
    for _ in range(_MAX_ROUNDS):
        before = paragraph.text
        paragraph = _read_once(paragraph)
        if paragraph.text == before:
            break
    return paragraph


def _read_once(mapped: MappedText) -> MappedText:
    for needed, steps in STAGES:
        if not needed.search(mapped.text):
            continue
        for needs, rules in steps:
            if needs.search(mapped.text):
                mapped = mapped.apply(rules)
    return mapped.strip()
