import pytest

from app.domain.errors import InvalidRequestError
from app.domain.segment import (
    CHARS_PER_CAPITAL,
    CHARS_PER_DIGIT,
    CHARS_PER_FOREIGN_LETTER,
    CHARS_PER_RARE_LETTER,
    CHARS_PER_SYMBOL,
    TextSegment,
    spoken_lengths,
)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("plain words, and a mark.", 24),
        ("A Title Case I", 14),
        ("café", 4),
        ("7", CHARS_PER_DIGIT),
        ("%", CHARS_PER_SYMBOL),
        ("+5", CHARS_PER_SYMBOL + CHARS_PER_DIGIT),
        ("a|b", 3),
        ("WWW", 3 * CHARS_PER_CAPITAL),
        ("щ", CHARS_PER_FOREIGN_LETTER),
        ("\N{ARABIC LIGATURE SALLALLAHOU ALAYHE WASALLAM}", 18 * CHARS_PER_FOREIGN_LETTER),
        ("\N{EGYPTIAN HIEROGLYPH A001}", CHARS_PER_RARE_LETTER),
        ("\N{MATHEMATICAL BOLD CAPITAL A}", 1),
        ("\N{CIRCLED NUMBER TWENTY}", 2 * CHARS_PER_DIGIT),
    ],
)
def test_a_figure_or_a_symbol_counts_as_the_word_it_is_read_as(text: str, expected: int) -> None:
    assert TextSegment(0, text).num_spoken_chars == expected
    assert len(spoken_lengths(text)) == len(text)


@pytest.mark.parametrize(("index", "text"), [(-1, "Hi."), (0, ""), (0, " \n")])
def test_a_segment_has_an_index_and_some_text(index: int, text: str) -> None:
    with pytest.raises(InvalidRequestError):
        TextSegment(index, text)
