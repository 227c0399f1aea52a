"""Whole numbers in English words, from their figures. Knows nothing of the text around a number.

inflect takes a second to import, so it is imported with the first number. Its engine keeps the
options of the call that is running, so threads take turns; what was spelled is remembered.
"""

from functools import cache, lru_cache
from threading import Lock
from typing import Any, Final

MAX_DIGITS: Final = 36
"""The longest number that has a name in inflect: hundreds of decillions. A longer one is read digit
by digit. Checked here, where a number is spelled, because every rule before may make it longer."""

DIGITS: Final = ("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine")

_MAX_REMEMBERED: Final = 4096

_lock: Final = Lock()


def spell_cardinal(figures: str) -> str:
    """From 1001 to 2999 a number is read as a year is."""
    if len(figures) > MAX_DIGITS:
        return _spell_digits(figures)
    return _spell_cardinal(int(figures))


def spell_ordinal(figures: str, ending: str) -> str:
    """`ending` is that of the number as it is written, such as "st" of "21st"."""
    if len(figures) > MAX_DIGITS:
        return f"{_spell_digits(figures[:-1])} {_spell_ordinal(figures[-1] + ending)}"
    return _spell_ordinal(figures + ending)


def _spell_digits(figures: str) -> str:
    return " ".join(DIGITS[int(figure)] for figure in figures)


@lru_cache(maxsize=_MAX_REMEMBERED)
def _spell_cardinal(number: int) -> str:
    if 1000 < number < 3000:  # noqa: PLR2004 - the bounds are what the rule is about
        return _spell_year(number)
    return _spell(number)


@lru_cache(maxsize=_MAX_REMEMBERED)
def _spell_ordinal(figures: str) -> str:
    return _spell(figures)


def _spell_year(year: int) -> str:
    hundreds, rest = divmod(year, 100)
    if hundreds == 20 and rest < 10:  # noqa: PLR2004 - the first decade is "two thousand" and so on
        return f"two thousand {_spell(rest)}" if rest else "two thousand"
    if rest == 0:
        return f"{_spell(hundreds)} hundred"
    return _spell(year, zero="oh", group=2).replace(",", "")


def _spell(number: int | str, **options: Any) -> str:
    with _lock:
        words: str = _engine().number_to_words(number, andword="", **options)
    return words


@cache
def _engine() -> Any:
    import inflect

    return inflect.engine()
