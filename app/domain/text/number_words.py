"""Numbers in English words (American: no "and"), from their figures. Any number of figures."""

from functools import lru_cache
from typing import Final

# A longer number is read figure by figure: up to here there are names (decillions).
MAX_NAMED_FIGURES: Final = 36
_ONES: Final = (
    "zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten", "eleven",
    "twelve", "thirteen", "fourteen", "fifteen", "sixteen", "seventeen", "eighteen", "nineteen",
)  # fmt: skip
_TENS: Final = (
    "-", "-", "twenty", "thirty", "forty", "fifty", "sixty", "seventy", "eighty", "ninety",
)  # fmt: skip
_SCALES: Final = (
    "", "thousand", "million", "billion", "trillion", "quadrillion", "quintillion", "sextillion",
    "septillion", "octillion", "nonillion", "decillion",
)  # fmt: skip
_IRREGULAR_ORDINALS: Final = {
    "one": "first", "two": "second", "three": "third", "five": "fifth", "eight": "eighth",
    "nine": "ninth", "twelve": "twelfth",
}  # fmt: skip
_FRACTION_NAMES: Final = {
    "1": ("over one", "over one"), "2": ("half", "halves"), "4": ("quarter", "quarters"),
}  # fmt: skip
# Round numbers of which there are many: "hundreds of people".
MANY: Final = {
    "10": "tens", "100": "hundreds", "1000": "thousands", "10000": "tens of thousands",
    "100000": "hundreds of thousands", "1000000": "millions",
}  # fmt: skip
_POWER_NAMES: Final = {"2": "squared", "3": "cubed"}


@lru_cache(maxsize=1 << 10)
def digits(figures: str) -> str:
    """Figure by figure: "zero four five one"."""
    return " ".join(_ONES[int(figure)] for figure in figures)


@lru_cache(maxsize=1 << 10)
def cardinal(figures: str) -> str:
    """Such as "one thousand two"; commas are skipped, a number that is too long is spelled."""
    figures = figures.replace(",", "")
    if len(figures) > MAX_NAMED_FIGURES:
        return digits(figures)
    number = int(figures)
    if number == 0:
        return "zero"
    groups: list[str] = []
    for scale in _SCALES:
        number, group = divmod(number, 1000)
        if group:
            hundreds, rest = divmod(group, 100)
            words = [_ONES[hundreds], "hundred"] if hundreds else []
            if rest:
                words.append(below_hundred(rest))
            groups.append(" ".join([*words, scale]).rstrip())
        if not number:
            break
    return " ".join(reversed(groups))


def below_hundred(number: int) -> str:
    """Such as "forty-two"."""
    if number < len(_ONES):
        return _ONES[number]
    tens, ones = divmod(number, 10)
    return f"{_TENS[tens]}-{_ONES[ones]}" if ones else _TENS[tens]


@lru_cache(maxsize=1 << 10)
def ordinal(figures: str) -> str:
    """Such as "twenty-first"."""
    words = cardinal(figures)
    start = max(words.rfind(" "), words.rfind("-")) + 1
    last = words[start:]
    regular = f"{last[:-1]}ieth" if last.endswith("y") else f"{last}th"
    return words[:start] + _IRREGULAR_ORDINALS.get(last, regular)


def plural(words: str) -> str:
    """The plural of a number in words: "nineteen eighty" becomes "nineteen eighties"."""
    if words.endswith("y"):
        return f"{words[:-1]}ies"
    return f"{words}es" if words.endswith("x") else f"{words}s"


@lru_cache(maxsize=1 << 10)
def year(figures: str) -> str:
    """As a year of up to four figures is read: "nineteen oh five", "two thousand nine"."""
    number = int(figures)
    hundreds, rest = divmod(number, 100)
    if number < 1010 or (hundreds % 10 == 0 and rest < 10) or number > 9999:  # noqa: PLR2004
        return cardinal(figures)
    if not rest:
        return f"{below_hundred(hundreds)} hundred"
    if rest < 10:  # noqa: PLR2004
        return f"{below_hundred(hundreds)} oh {_ONES[rest]}"
    return f"{below_hundred(hundreds)} {below_hundred(rest)}"


@lru_cache(maxsize=1 << 10)
def decimal(number: str) -> str:
    """Figures with commas, a point, a sign before them: "minus two point zero five"."""
    sign = "minus " if number[0] in "-\u2212" else ""
    whole, point, rest = number.lstrip("-+\u2212").partition(".")
    words = [cardinal(whole)] if whole else []
    return sign + " ".join([*words, "point", digits(rest)] if point else words)


@lru_cache(maxsize=1 << 10)
def fraction(written: str) -> str:
    """Such as "two and three quarters" for "2 3/4"; a hyphen may stand for the space."""
    whole, _, parts = written.replace("-", " ").rpartition(" ")
    top, _, bottom = parts.partition("/")
    named = _FRACTION_NAMES.get(bottom) or (ordinal(bottom), plural(ordinal(bottom)))
    words = f"{cardinal(top)} {named[0 if top == '1' else 1]}"
    return f"{cardinal(whole)} and {words}" if whole else words


def is_one(number: str) -> bool:
    """Whether the noun after it is singular: 1 and -1, not 1.0."""
    return number.lstrip("-+\u22120") == "1"


def counted(number: str, one: str, many: str) -> str:
    """Such as "one foot", "two point five feet"."""
    return f"{decimal(number)} {one if is_one(number) else many}"


def power(exponent: str) -> str:
    """Such as "squared", "to the eighth", "to the minus three", "to the n"."""
    if exponent in _POWER_NAMES:
        return _POWER_NAMES[exponent]
    figures = exponent.lstrip("-+\u2212")
    if not figures.isdecimal():
        return f"to the {exponent}"
    if figures != exponent:
        return f"to the {'plus' if exponent[0] == '+' else 'minus'} {cardinal(figures)}"
    return f"to the {ordinal(figures)}"
