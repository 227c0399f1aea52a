"""Numbers in words."""

from concurrent.futures import ThreadPoolExecutor

import pytest

from app.adapters.speech.soprano.text_number_words import (
    MAX_DIGITS,
    spell_cardinal,
    spell_ordinal,
)


@pytest.mark.parametrize(
    ("number", "words"),
    [
        (0, "zero"),
        (101, "one hundred one"),
        (1000, "one thousand"),
        (1001, "ten oh one"),
        (1100, "eleven hundred"),
        (1905, "nineteen oh five"),
        (1999, "nineteen ninety-nine"),
        (2000, "two thousand"),
        (2009, "two thousand nine"),
        (2010, "twenty ten"),
        (2100, "twenty-one hundred"),
        (2999, "twenty-nine ninety-nine"),
        (3000, "three thousand"),
        (12_345, "twelve thousand, three hundred forty-five"),
    ],
)
def test_a_number_is_spelled_and_one_like_a_year_as_a_year(number: int, words: str) -> None:
    assert spell_cardinal(number) == words


@pytest.mark.parametrize(
    ("figures", "words"),
    [("1st", "first"), ("12th", "twelfth"), ("42nd", "forty-second"), ("0th", "zeroth")],
)
def test_an_ordinal_is_spelled(figures: str, words: str) -> None:
    assert spell_ordinal(figures) == words


def test_the_longest_number_has_a_name() -> None:
    assert spell_cardinal(10**MAX_DIGITS - 1).startswith("nine hundred ninety-nine decillion")
    assert spell_ordinal("9" * MAX_DIGITS + "th").endswith("ninety-ninth")


def test_threads_do_not_mix_up_their_numbers() -> None:
    """The engine behind keeps the options of a call while it runs."""
    numbers = [*range(1900, 2000), *range(100, 200)] * 2
    with ThreadPoolExecutor(8) as pool:
        words = list(pool.map(spell_cardinal.__wrapped__, numbers))
    assert words == [spell_cardinal(number) for number in numbers]
