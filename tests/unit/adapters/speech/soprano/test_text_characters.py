"""Characters beyond ASCII become what stood for them when the model was trained."""

import pytest

from app.adapters.speech.soprano.text import to_ascii


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("plain ASCII, 100%", "plain ASCII, 100%"),
        ("café Łódź Ångström straße", "cafe Lodz Angstrom strasse"),
        ("Æ Œ æ œ", "AE OE ae oe"),
        ("“a” ‘b’ …", "\"a\" 'b' ..."),
        ("a—b, a–b", "a - b, a-b"),
        ("£5, €5, ¥5", "PS5, EUR5, Y=5"),
        ("5 × 2 ± 1 ÷ 3", "5 x 2 +- 1 / 3"),
        ("20 °C, 20℃", "20 degC, 20degC"),
        ("1½ and ⅔.", "1 1/2 and  2/3 ."),
        ("x² → y™", "x2 - y(tm)"),
        ("Hi 😀👍🏽 🇫🇷!", "Hi  !"),
        ("∑ ∞ ⌘ ☀", "   "),
        ("你好。", "Ni Hao . "),
        ("Москва, Αθήνα", "Moskva, Athena"),
        ("\ud800\u0301\ufe0f", ""),
    ],
)
def test_a_text_is_spelled_in_ascii(text: str, expected: str) -> None:
    assert "".join(map(to_ascii, text)) == expected
