"""The steps together give one line that the model knows every character of."""

import pytest

from app.adapters.speech.soprano.text_cleaning import clean_for_soprano


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("  Hello,   World ", "hello, world."),
        ("one\ntwo!\r\n\r\nthree,", "one. two! three."),
        ("one\u2028two", "one. two."),
        ("what?! no..! and.... so,,", "what? no! and... so."),
        ("a , b .", "a, b."),
        ('"Quoted," he said', "quoted, he said."),
        ("Sooooo", "soo."),
        ("100% of AT&T", "one hundred percent of at and t."),
        ("a\tb\x00c", "a b c."),
        ("", ""),
        ("\u221e", ""),
    ],
)
def test_a_text_is_cleaned(text: str, expected: str) -> None:
    assert clean_for_soprano(text) == expected
