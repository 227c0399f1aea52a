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
    assert spell_cardinal(str(number)) == words
    assert spell_cardinal(f"00{number}") == words


@pytest.mark.parametrize(
    ("figures", "words"),
    [("1st", "first"), ("12th", "twelfth"), ("42nd", "forty-second"), ("0th", "zeroth")],
)
def test_an_ordinal_is_spelled(figures: str, words: str) -> None:
    assert spell_ordinal(figures[:-2], figures[-2:]) == words


def test_the_longest_number_has_a_name() -> None:
    assert spell_cardinal("9" * MAX_DIGITS).startswith("nine hundred ninety-nine decillion")
    assert spell_ordinal("9" * MAX_DIGITS, "th").endswith("ninety-ninth")


@pytest.mark.parametrize("num_digits", [MAX_DIGITS + 1, 10_000])
def test_a_longer_one_is_read_digit_by_digit(num_digits: int) -> None:
    figures = ("7" * num_digits)[:-1] + "1"
    assert spell_cardinal(figures).split() == ["seven"] * (num_digits - 1) + ["one"]
    assert spell_ordinal(figures, "st").split() == ["seven"] * (num_digits - 1) + ["first"]


def test_threads_do_not_mix_up_their_numbers() -> None:
    """The engine behind keeps the options of a call while it runs."""
    rests = [str(number) for number in range(10, 100)]
    figures = [f"{hundreds}{rest}" for rest in rests for hundreds in ("21", "131")]
    with ThreadPoolExecutor(8) as pool:
        words = list(pool.map(spell_cardinal, figures))
    spelled = [spell_cardinal(rest) for rest in rests]
    assert words[::2] == [f"twenty-one {rest}" for rest in spelled]
    assert words[1::2] == [f"thirteen thousand, one hundred {rest}" for rest in spelled]
