"""Signs become words, pauses or nothing."""

import pytest

from app.adapters.speech.soprano.text_symbols import read_links_and_pauses, read_symbols


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("http://a.b", "h t t p s colon slash slash a dot b"),
        ("this - that", "this, that"),
        ("well-known", "well-known"),
        ("e.g. this", "e dot g. this"),
        ("a (b) c", "a , b, c"),
        ("a (b).", "a , b."),
        ("a (b [c] d", "a , b , c, d"),
        ("a (b", "a (b"),
        (") a (", ") a ("),
        ("(", "("),
        ("(s)he", ", s, e"),
    ],
)
def test_links_dashes_and_brackets(text: str, expected: str) -> None:
    assert read_links_and_pauses(text) == expected


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("a@b", "a at b"),
        ("a<=b", "a less than or equal to b"),
        ("a=>b", "a equals  greater than b"),
        ("a: b; c", "a. b, c"),
        ("a_b*c", "a b c"),
        ("~a/b\\c", " about a slash b backslash c"),
    ],
)
def test_signs_have_names(text: str, expected: str) -> None:
    assert read_symbols(text) == expected
