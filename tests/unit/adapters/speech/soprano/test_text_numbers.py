"""What is written with figures, in words."""

import pytest

from app.adapters.speech.soprano.text_numbers import read_numbers


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("#7 of 1,234", "number seven of twelve thirty-four"),
        ("5K, 2m, 3B", "five thousand, two million, three billion"),
        ("on 3/14/2024", "on three dash fourteen dash twenty twenty-four"),
        ("555-123-4567", "five five five, one two three, four five six seven"),
        ("at 7:05", "at seven oh five"),
        ("at 9:00", "at nine o'clock"),
        ("13:00", "thirteen minutes"),
        ("0:00", "zero"),
        ("1:00:00", "one oh oh"),
        ("1:05:09", "one oh five oh nine"),
        ("1:30:15", "one {'thirty'} fifteen"),
        ("00:02:00", "two oh oh"),
        ("00:00:07", "seven"),
        ("$2.47", "two dollars, forty-seven cents"),
        ("$1", "one dollar"),
        ("$0.01", "one cent"),
        ("$0.00", "zero dollars"),
        ("$1.2.3", "one point two point three dollars"),
        ("$,50", "fifty dollars"),
        ("3.14", "three point one four"),
        ("2*3 and 4 + 5", "two times three and four plus five"),
        ("1/2, 1/2/3", "one over two, one over two over three"),
        ("10-12, -5", "ten minus twelve, minus five"),
        ("the 21st", "the twenty-first"),
        ("a1b2", "a one b two"),
        ("1" * 37, " ".join(["one"] * 37)),
    ],
)
def test_figures_become_words(text: str, expected: str) -> None:
    assert " ".join(read_numbers(text).split()) == expected


def test_of_two_dates_a_space_apart_the_second_is_a_division() -> None:
    """The first takes the space along that the second needs to be seen as a date."""
    assert read_numbers("1/2/03 4/5/06") == ("one dash two dash three four over five over six")
