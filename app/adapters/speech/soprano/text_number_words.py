"""Whole numbers in English words. Knows nothing of the text around a number.

inflect takes a second to import, so it is imported with the first number. Its engine keeps the
options of the call that is running, so threads take turns; what was spelled is remembered.
"""

from functools import cache, lru_cache
from threading import Lock
from typing import Any, Final

MAX_DIGITS: Final = 36
"""The longest number that has a name in inflect: hundreds of decillions."""

_MAX_REMEMBERED: Final = 4096

_lock: Final = Lock()


@lru_cache(maxsize=_MAX_REMEMBERED)
def spell_cardinal(number: int) -> str:
    """`number` of at most MAX_DIGITS digits; from 1001 to 2999 it is read as a year is."""
    if 1000 < number < 3000:  # noqa: PLR2004 - the bounds are what the rule is about
        return _spell_year(number)
    return _spell(number)


@lru_cache(maxsize=_MAX_REMEMBERED)
def spell_ordinal(figures: str) -> str:
    """`figures` is a number of at most MAX_DIGITS digits with its ending, such as "21st"."""
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
