"""What is written with figures, in words."""

import re

import pytest
from hypothesis import assume, example, given, settings
from hypothesis import strategies as st

from app.adapters.speech.soprano.text_number_words import DIGITS, MAX_DIGITS
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
        ("$0001.02", "one dollar, two cents"),
        ("$" + "9" * 37, " ".join(["nine"] * 37) + " dollars"),
        ("3.14", "three point one four"),
        ("2*3 and 4 + 5", "two times three and four plus five"),
        ("1/2, 1/2/3", "one over two, one over two over three"),
        ("10-12, -5", "ten minus twelve, minus five"),
        ("the 21st", "the twenty-first"),
        ("a1b2", "a one b two"),
        ("1" * 37, " ".join(["one"] * 37)),
        ("2" * 36 + "1st", " ".join(["two"] * 36) + " first"),
        ("5" * 37 + "K", " ".join(["five"] * 37) + " thousand"),
        ("5" * 37 + ".5", " ".join(["five"] * 37) + " point five"),
    ],
)
def test_figures_become_words(text: str, expected: str) -> None:
    assert " ".join(read_numbers(text).split()) == expected


def test_of_two_dates_a_space_apart_the_second_is_a_division() -> None:
    """The first takes the space along that the second needs to be seen as a date."""
    assert read_numbers("1/2/03 4/5/06") == ("one dash two dash three four over five over six")


NUMBER_WORD = re.compile(
    "zero|oh|one|first|two|second|thr|thir|fo|fi|six|seven|eigh|nin|ten|eleven|twel|twen"
)
"""The beginning of every word that a figure may become."""

RUN = st.one_of(st.text("0123456789", min_size=1, max_size=5), st.text("01", min_size=30))
JOINT = st.sampled_from([*",.:/-$#*+ ()aKm", "st", "nd", "rd", "th"])
FIGURES = st.lists(st.one_of(RUN, JOINT), max_size=40).map("".join)
MORE_THAN_INT_READS = ("0" * 34 + "00:") * 200


@settings(max_examples=1000, deadline=None)
@given(FIGURES)
@example("100000:" + "0" * 34)
@example("2" + "0" * 27 + ":" + "0" * 12)
@example("$" + MORE_THAN_INT_READS + "00")
@example(MORE_THAN_INT_READS + "00th")
def test_whatever_the_figures_are_words_stand_in_their_place(text: str) -> None:
    assume(any(char.isdigit() for char in text))
    words = read_numbers(text)
    assert not re.search(r"\d", words)
    assert NUMBER_WORD.search(words)


NUMBERS = st.one_of(
    *(
        st.from_regex(re.compile(pattern, re.ASCII), fullmatch=True)
        for pattern in (
            r"#?\d{1,40}",
            r"\d{1,40}(?:st|nd|rd|th|K|M|B|T)",
            r"\d{1,3}(?:,\d{3}){1,14}",
            r"\d{1,2}/\d{1,2}/(?:\d\d){1,2}",
            r"\d{1,40}:\d{2,40}",
            r"\d{1,2}:\d\d:\d\d",
            r"\$\d{1,40}(?:\.\d\d?)?",
            r"\d{1,40}\.\d{1,5}",
            r"\d{1,40} ?[*/+-] ?\d{1,40}",
            r"\(\d{3}\) \d{3}-\d{4}",
        )
    )
)


@settings(max_examples=1000, deadline=None)
@given(st.lists(NUMBERS, min_size=2, max_size=6))
def test_each_number_of_a_text_is_read_as_it_is_alone(numbers: list[str]) -> None:
    words = read_numbers(" and ".join(numbers)).split()
    assert words == " and ".join(map(read_numbers, numbers)).split()


@given(st.text("0123456789", min_size=MAX_DIGITS + 1, max_size=500))
def test_a_number_without_a_name_loses_no_digit(figures: str) -> None:
    assert read_numbers(figures).split() == [DIGITS[int(figure)] for figure in figures]
