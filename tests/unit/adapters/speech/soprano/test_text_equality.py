"""The package's reading of a text and ours, compared on texts of every kind.

What differs is listed here with its reason; a new difference fails, and so does one that is gone.
"""

import unicodedata

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from app.adapters.speech.soprano.text import split_for_soprano
from app.adapters.speech.soprano.text_sentences import MAX_JOINED_CHARS
from tests.unit.adapters.speech.soprano.text_corpus import SIZE, WRITTEN, corpus
from tests.unit.adapters.speech.soprano.text_oracle import package_sentences, sentences_or_error

MAX_DIFFERENCES = 0.005
"""Part of the sentences of the corpus which may be read differently."""

DIFFERENCES = {
    "Col 1\tCol 2\tCol 3": "a tab is a space; the package drops it and glues the words",
    "The banana is /bəˈnænə/ in most dictionaries.": "the package reads a schwa as the word at",
    "My blood type is 🅰 and this is 🆕.": "letters in squares are letters, without brackets",
    "Ещё я люблю чай.": "Cyrillic by the newer table of anyascii",
    "こっちはふじさんです。": "kana by the newer table of anyascii",
    "The password is " + "8675309" * 6 + ", he said.": "the package raises NumOutOfRangeError",
    "It costs $,50 with a typing error.": "the package raises ValueError",
    "No. Yes. No. Yes. That is quite enough of that, thank you. "
    + "Yes. No. Maybe. " * 30: "short sentences join up to 400 characters, not without end",
}


def ours(text: str) -> list[str]:
    return [segment.text for segment in split_for_soprano(text)]


def test_the_corpus_has_its_size_and_a_part_written_by_hand() -> None:
    assert len(set(corpus())) == SIZE
    assert sum(map(len, WRITTEN.values())) >= 150


def test_the_corpus_is_read_as_the_package_reads_it_but_for_the_listed_sentences() -> None:
    different = {text for text in corpus() if ours(text) != sentences_or_error(text)}
    assert different == set(DIFFERENCES)
    assert len(different) <= MAX_DIFFERENCES * SIZE


LETTERS = "abcdefghijklmnopqrstuvwxyz" * 3 + "ABCDEFGHIJKLMNOPQRSTUVWXYZ"
WORD = st.tuples(
    st.text(LETTERS, min_size=1, max_size=14), st.sampled_from(["", "", "", "'s", "'t", "’ll"])
).map("".join)
PHRASE = st.lists(WORD, min_size=1, max_size=14).map(" ".join)
QUOTED = st.tuples(st.sampled_from(['"{}"', "'{}'", "“{}”", "‘{}’", "({})"]), PHRASE).map(
    lambda quoted: quoted[0].format(quoted[1])
)
SENTENCE = st.tuples(
    st.lists(st.one_of(PHRASE, PHRASE, QUOTED), min_size=1, max_size=4),
    st.sampled_from([", ", "; ", ": ", " - ", " — ", " "]),
    st.sampled_from([".", ".", "!", "?", "...", "…", '."', ""]),
).map(lambda sentence: sentence[1].join(sentence[0]) + sentence[2])
PROSE = st.tuples(
    st.lists(SENTENCE, min_size=1, max_size=8), st.sampled_from([" ", " ", "\n", "\n\n", "  "])
).map(lambda prose: prose[1].join(prose[0]))


@settings(max_examples=200, deadline=None)
@given(PROSE)
def test_plain_prose_is_read_as_the_package_reads_it(text: str) -> None:
    expected = package_sentences(text)
    assume(all(len(sentence) <= MAX_JOINED_CHARS for sentence in expected))
    assert ours(text) == expected


MARKS_AND_FIGURES = st.text(
    "aAbB sSdDkKmM0123456789.,:;!?'\"-+*/\\<>=~@#$%^&()[]{}_|`\n—’½£€°", max_size=80
)


@settings(max_examples=1000, deadline=None)
@given(MARKS_AND_FIGURES)
def test_any_heap_of_marks_and_figures_is_read_as_the_package_reads_it(text: str) -> None:
    expected = sentences_or_error(text)
    assume(isinstance(expected, list))
    result = ours(text)
    # Where there is nothing to pronounce, the package sends what is left of the marks.
    assert result == expected or not result


BLOCKS = {
    "Latin-1 Supplement": ("\xa0", "\xff"),
    "Latin Extended-A": ("\u0100", "\u017f"),
    "Latin Extended-B": ("\u0180", "\u024f"),
    "Greek": ("\u0370", "\u03ff"),
    "Latin Extended Additional": ("\u1e00", "\u1eff"),
    "General Punctuation": ("\u2000", "\u206f"),
    "Superscripts and Subscripts": ("\u2070", "\u209f"),
    "Currency Symbols": ("\u20a0", "\u20cf"),
    "Letterlike Symbols": ("\u2100", "\u214f"),
    "Number Forms": ("\u2150", "\u218f"),
    "Arrows": ("\u2190", "\u21ff"),
    "Mathematical Operators": ("\u2200", "\u22ff"),
    "Miscellaneous Technical": ("\u2300", "\u23ff"),
    "Enclosed Alphanumerics": ("\u2460", "\u24ff"),
    "Box Drawing": ("\u2500", "\u257f"),
    "Block Elements": ("\u2580", "\u259f"),
    "Geometric Shapes": ("\u25a0", "\u25ff"),
    "Miscellaneous Symbols": ("\u2600", "\u26ff"),
    "Dingbats": ("\u2700", "\u27bf"),
    "Symbols and Arrows": ("\u2900", "\u2bff"),
    "Ligatures": ("\ufb00", "\ufb06"),
    "Halfwidth and Fullwidth Latin": ("\uff01", "\uff5e"),
    "Mathematical Latin": ("\U0001d400", "\U0001d6a3"),
    "Emoji": ("\U0001f300", "\U0001f66f"),
    "More emoji": ("\U0001f680", "\U0001faff"),
}

CHARACTER_DIFFERENCES = {
    "Letters of African, Asian and phonetic alphabets": "ƍƎƏƕƢƣƦƩƱƷƸƹƻǀǁǂǃǝǮǶȢɁɂɅɊẚẛẜẝẟẞỺỻỼỽỾỿ",
    "Greek letters beyond today's alphabet": "ͰͱͲͳͶͷͺͻͼͽͿ΄΅ϏϒϓϔϘϙϠϡϦϧϪϫϬϭϲϴϵ϶ϷϸϹϺϻϼϽϾϿ",
    "Marks of editors": "⁅⁆⁋⁌⁍⁏⁐⁑⁒⁔⁕⁖⁘⁙⁚⁛⁜⁝⁞",
    "Letters the package drops or spells with signs": (
        "ₔ⃀℀℁℄ℇ℈℆ℏ℔℘℞℟℣℥℧℩ℵℶℷℸ℺ℼℽℾℿ⅀⅁⅂⅃⅄⅊⅋⅌ⅎ⅏⅟ↀↁↃↄↅↆↇↈ↊↋"
    ),
    "Bars at an edge": "▔▕",
}


@pytest.mark.parametrize("block", BLOCKS)
def test_the_characters_of_english_texts_are_read_as_the_package_reads_them(block: str) -> None:
    first, last = map(ord, BLOCKS[block])
    different = {char for char in map(chr, range(first, last + 1)) if is_different(char)}
    listed = {char for chars in CHARACTER_DIFFERENCES.values() for char in chars}
    assert different == {char for char in listed if first <= ord(char) <= last}


def is_different(char: str) -> bool:
    """Whether it is read differently inside a word, beside a figure or alone."""
    if unicodedata.category(char) in ("Cn", "Co"):
        return False
    texts = (f"This ab{char}cd is 5{char}5, Ab{char}.", f"{char}Cd and ab {char} cd 5{char}.")
    return any(ours(text) != package_sentences(text) for text in texts)
