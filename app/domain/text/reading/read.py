"""What is spoken for what is written: paragraphs of English text, figures and signs in words.

The order of the rules is part of how it reads: an address keeps its figures from the rules for
numbers, a date its slashes from the rule for fractions. When all are done, no figure is left.
"""

import re
from collections.abc import Sequence
from typing import Final

from app.domain.text.mapped_text import MappedText, Rule, rule
from app.domain.text.reading import (
    abbreviations,
    calendar,
    characters,
    clock,
    identifiers,
    measures,
    money,
    numbers,
    roman,
)

# A pattern of what a text must have for any of the rules to match, and the rules. It is looked for
# in the text with 0 for every figure, - for every dash: a pattern that begins with one character is
# found in a tenth of the time of one that begins with a set of them.
Step = tuple[str, *tuple[Rule, ...]]
_TO_ZERO: Final = bytes.maketrans(b"123456789", b"000000000")
_MAX_ROUNDS: Final = 8
_TIDY: Final = (
    rule("  +", " "),
    rule(r" (?=[.,;:!?)\]}](?!\w))(?!\.\.\.)", ""),
    rule(r"[(\[{] ", lambda match: match[0][0]),
)
_NUMBER_SIGN: Final = rule(r"#(?<![\w&].)(?=[0-9]|[A-Z]{1,3}-?[0-9])", "number ")

_ANY: Final = ""
_SMALL_FIGURES: Final = "\u00b9\u00b2\u00b3\u2070\u2074-\u2079\u207a\u207b\u207f\u2080-\u2089"

_CHARACTERS: Final[tuple[Step, ...]] = (
    ("\u00b7", characters.UNITS_TIMES_UNITS),
    (_ANY, characters.RULES),
)
_NAMES: Final[tuple[Step, ...]] = (
    (r":\S", *identifiers.URLS),
    ("@", identifiers.MAIL),
    (r"\.(?:[a-z]{2}|(?<=www\.))", *identifiers.HOSTS),
    ("-(?<![A-Za-z0-9]-)[A-Za-z]", *identifiers.OPTIONS),
    ("Mon|Tue|Wed|Thu|Fri|S(?:at|un)", *calendar.WEEKDAYS),
    ("0 [CTPJSK]", abbreviations.NUMBERED_BOOKS),
    (r"\. ?0(?:0{0,2}:0|(?<=Ps\.0)|(?<=Ps\. 0))", abbreviations.BOOKS),
    (r"\.(?<=[A-Za-z].) ?(?:[+(]?0|[A-Z]{1,4}-?0|[IVXLC]+\b)", abbreviations.FIGURES_FOLLOW),
    ("- ?[ADFJMNOS]", calendar.MONTH_RANGES),
)
_CODES_AND_DATES: Final[tuple[Step, ...]] = (
    ("\u00b0 ?0", measures.ANGLES),
    ("#0", _NUMBER_SIGN),
    ("0[eE][-+]?0", numbers.SCIENTIFIC),
    ("-[0-9A-Fa-f]{4}-[0-9A-Fa-f]{4}-", identifiers.UNIQUE_IDS),
    ("0x[0-9A-Fa-f]", identifiers.HEXADECIMAL),
    (r"0[ -]000|0\) ?000", identifiers.NUMBERS_FROM_ZERO),
    (r"0[ .']000|0,00,0", *characters.THOUSANDS),
    ("GMT[-+\u2212]0|UTC[-+\u2212]0", clock.ZONES),
    ("- ?00?(?:[:.]00)? ?[apAP]", clock.HALF_RANGES),
    ("0 ?[apAP]", clock.HALVES),
    ("0000(?: ?h|(?<=[tmyl] 0000))", clock.MILITARY),
    (r":0(?<=\s..)", clock.PAST_THE_HOUR),
    ("0 ?[hm]", *clock.DURATIONS),
    ("0m", measures.MINUTES),
    (":[0-9A-Fa-f]{2}:", identifiers.HARDWARE_ADDRESSES),
    ("0:0", *clock.WITH_COLON),
    ("0000[-/]0", calendar.ISO_DATES),
    (r"0[-/.]00?[-/.]0", calendar.NUMERIC_DATES),
    ("0/0", *calendar.SHORT_DATES),
    (calendar.MONTH_BEGINS, *calendar.RULES),
    ("00s", measures.SECONDS),
    ("0s", money.PLURALS),
    ("0'?s", *calendar.DECADES),
    ("0000 ?- ?0", *calendar.YEARS),
    ("00(?<=[A-Z]{2}..)", identifiers.BANK_ACCOUNTS),
    ("000[-. ]0000", identifiers.TELEPHONE_NUMBERS),
    ("-00-0000", identifiers.SOCIAL_SECURITY_NUMBERS),
    ("000-0000", identifiers.LOCAL_NUMBERS),
    ("number 0{1,4}-", identifiers.CASES),
    ("0000[ -]0000", identifiers.CARD_NUMBERS),
    ("-000-", identifiers.NAMED_NUMBERS),
    (r"\+0", identifiers.INTERNATIONAL_NUMBERS),
    ("ISBN 0", identifiers.BOOK_NUMBERS),
    ("000(?<=[A-Za-z ]...)", identifiers.CODES),
    (" 00000(?<=[A-Z] .....)", identifiers.ZIP_CODES),
    (r"\.0+\.0+\.0", identifiers.NETWORK_ADDRESSES),
    (r"\.0(?:(?<=[a-zP] 0..)|(?<=[a-zP] 00..))", identifiers.SOFTWARE),
    (r"0(?:\.0+\.0|(?<=[vV]0))", identifiers.VERSIONS),
    ("000", identifiers.EMERGENCY),
    ("00", *identifiers.FROM_ZERO),
)
_WORDS: Final[tuple[Step, ...]] = (
    (calendar.POINTED_MONTH, calendar.MONTHS),
    (abbreviations.FIXED_NEEDS, *abbreviations.FIXED),
    ("-(?<= [A-DF]-)", abbreviations.GRADES),
    ("per [A-Za-z]", abbreviations.RATES),
    ("/[A-Z]{3}", money.PAIRS),
    ("[kKMGTH](?:[BbHW]|m/h|(?<=H)z)", abbreviations.UNITS_ALONE),
    ("0 [NSEW]", *abbreviations.SIDES),
    ("0(?:st|nd|rd|th) [SAP]", abbreviations.SIDES_OF_STREETS),
    ("inds? [NSEW]", abbreviations.WINDS),
    ("Hwy 0", abbreviations.HIGHWAYS),
    ("[A-Z]", *abbreviations.CAPITALIZED),
    (r"\.[A-Za-z](?<=[A-Za-z]\..)", abbreviations.INITIALS),
    (r"\. ?[A-Z]", abbreviations.INITIALS_OF_NAMES),
    ("www", abbreviations.BARE_WWW),
    (r"\(", abbreviations.OPTIONAL_LETTERS),
    ("entur", roman.CENTURIES),
    ("a(?:ges?|pter) [ivxl]", roman.PAGES),
    ("M[MDCLXVI]{3}", roman.YEARS),
    (" [IVXLCDM]", roman.RULES),
)
_AMOUNTS: Final[tuple[Step, ...]] = (
    ("0,000", measures.LONE_ZEROS),
    ("0,00? ?[a-z%\u20ac\u00b0]", measures.DECIMAL_COMMAS),
    ("0[kM] ?- ?0", measures.SCALE_RANGES),
    ("0 ?[mMbB](?:n\\b| [a-z]|(?<=[MB])(?!\\w))", *measures.SCALES),
    ("0[kK]", *measures.THOUSANDS),
    (rf"[-\u2212+\u00b1][0.{money.SIGNS}]", numbers.SIGNS),
    (r"[x\u00d7](?: ?[0.]|(?<=0.)[ /]|(?<=0 .) )", *measures.PRODUCTS),
    (rf"\((?<=[{money.SIGNS}].)", money.LOSSES),
    (money.SIGN, money.RULES),
    (money.SIGN_BEHIND, money.BEHIND),
    (r" pp\b", money.PER_PERSON),
    ("\u00a2", money.CENTS),
    ("\u00b0 ?[NSEW]", measures.SIDES),
    ("0'", measures.QUOTED_FEET),
    ("0'(?:[ .,;)\\n]|$)", measures.ONLY_FEET),
    ("feet by 0", measures.FEET_BY_FEET),
    ('0"', measures.INCHES),
    ("00/00", measures.PRESSURES),
    ("0/00? ?%", measures.PARTS_OF_PERCENTS),
    ("%", measures.PERCENTS),
    ("0 ?f(?:ee|oo)?t", measures.FEET),
    (rf"[0\u00b0{_SMALL_FIGURES}][-.]? ?[A-Za-z\u00b0\u03bc\u03a9]", measures.RULES),
    ("\u00b0[CF]", *measures.DEGREES),
    ("/[A-Za-z\u03bc]", *measures.RATES),
    ("#(?:0|[A-Z]{1,3}-?0)", _NUMBER_SIGN),
    (rf"[\^{_SMALL_FIGURES}]|\*\*", *numbers.POWERS),
    ("0 ?/", *numbers.SLASHES),
    (r"\*", *numbers.PRODUCTS),
    ("0 ?-", *numbers.RANGES),
    ("0[sntrSNTR]", numbers.ORDINALS),
    ("0'?s", numbers.PLURALS),
    ("\u2212", numbers.MINUS),
    ("0,000", numbers.THOUSANDS),
    (r"\.0", *numbers.DECIMALS),
    ("00000-", numbers.LONG_BESIDE_LETTERS),
    ("Q0-Q", numbers.QUARTERS),
    ("-", *numbers.BESIDE_LETTERS),
    ("0'ss", numbers.STRETCHED),
    ("0", numbers.WHOLE),
)
_SYMBOLS: Final[tuple[Step, ...]] = (
    (characters.SYMBOL, *characters.SYMBOLS),
    ("[.!?,;:][A-Za-z.]", *characters.MARKS),
    (r" (?:[ .,;:!?)\]}]|(?<=[(\[{] ))", *_TIDY),
)
_FIGURES: Final = rf"[0\^\u2212\u00b0{_SMALL_FIGURES}]"

# The steps in their order, and what a text must have for any of them.
STAGES: Final = tuple(
    (
        re.compile(needed).search,
        [(re.compile(needs).search, rules) for needs, *rules in steps],
    )
    for needed, steps in (
        (_ANY, _CHARACTERS),
        (_ANY, _NAMES),
        (_FIGURES, _CODES_AND_DATES),
        (_ANY, _WORDS),
        (_FIGURES, _AMOUNTS),
        (_ANY, _SYMBOLS),
    )
)
# All that can find more in what the first round has written, words and symbols: it has no figures.
_LATER_STAGES: Final = STAGES[3::2]


def clean(paragraph: MappedText) -> MappedText:
    """`paragraph` as it is, without what has no width: control characters, marks of direction."""
    return paragraph.sub(*characters.CLEANING).strip()


def read(paragraphs: Sequence[MappedText]) -> list[MappedText]:
    """Each paragraph as it is spoken: words, marks, quotes and brackets; maybe nothing.

    All are read together, a line each: a rule looks at a paragraph of two characters as long as at
    one of forty. They are read until nothing changes: a sign that is a word now, or a word that has
    come apart from its figure ("3Dr."), may make an abbreviation of what stands beside it.
    """
    lines = MappedText.join(paragraphs, "\n")
    stages = STAGES
    for _ in range(_MAX_ROUNDS):
        text, zeros = lines.text, _zeros(lines.text)
        before = text
        for needs_any, steps in stages:
            for needs, rules in steps if needs_any(zeros) else ():
                if needs(zeros):
                    lines = lines.apply(rules)
                    if lines.text is not text:
                        text, zeros = lines.text, _zeros(lines.text)
        stages = _LATER_STAGES
        if text == before:
            break
    return lines.split("\n") if paragraphs else []


def _zeros(text: str) -> str:
    """`text` with 0 for every figure and - for every dash."""
    try:  # a third of the time, where it is possible
        return text.encode("latin-1").translate(_TO_ZERO).decode("latin-1")
    except UnicodeEncodeError:
        encoded = text.encode("utf-8", "surrogatepass").translate(_TO_ZERO)
    return encoded.decode("utf-8", "surrogatepass").replace("\u2013", "-")
