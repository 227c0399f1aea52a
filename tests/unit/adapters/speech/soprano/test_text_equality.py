"""Plain prose is given to the model as the package gives it.

What differs on purpose is listed by kind; a kind that no longer differs fails, too.
"""

import random
import re
from itertools import islice

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from app.adapters.speech.soprano.text import MAX_JOINED_CHARS, split_for_soprano
from app.domain.text.front_end import segment_text
from tests.examples import examples
from tests.unit.adapters.speech.soprano.text_corpus import SIZE, generate
from tests.unit.adapters.speech.soprano.text_oracle import package_sentences

SEED = 20_261_128

PLAIN = re.compile(r"[A-Za-z\u00c0-\u024f ,.;:!?\"'\u2018\u2019\u201c\u201d()\u2013\u2014\u2026-]+")

ON_PURPOSE = {
    "a title that the package does not know": r"\bProf\.",
    "titles without a point": r"\b(?:Mr|Mrs|Ms|Dr)\b(?!\.)",
    "letters with points": r"\b[A-Za-z]\.(?:[A-Za-z]|$)|\w\.\w",
    "short forms in Latin, and vs.": r"\b(?:vs|etc)\b",
    "days, months and streets without a point": (
        r"\b(?:Mon|Tues|Wed|Thurs|Fri|Sat|Jan|Feb|Mar|Apr|Aug|Sept|Oct|Nov|Dec|Ave)\b"
    ),
    "streets with a point": r"\b(?:Blvd|Rd|Ln|Ct|Sq|Pl|Pkwy|Hwy|Ter|Cres|Rte|Expy)\b",
    "a saint without a name": r"\bSt\.(?! [A-Z])",
    "a doctor without a name": r"\bDr\.(?! [A-Z])",
    "a bracket at the beginning": r"(?:^|\n\n)\(",
    "Roman numerals": r"\b[IVXLCDM]{2,}\b",
    "letters that are named": r"\bPhD\b",
    "the point of a title that also ends a sentence": r"\b(?:Jr|Ltd|Co|Mr|Mrs|Sgt)\.(?!\s\w)",
    "a sentence that ends with a firm": r"\b(?:Ltd|Inc|Corp|Esq)\.(?= [A-Z])",
    "titles in words, which the model knows in another spelling": r"\b(?:missus|miz)\b",
    "a dash at the beginning": r"^[\u2013\u2014-]",
    "a letter between dashes": r"[\u2013\u2014-] \W*\w\W* [\u2013\u2014-]",
}


def ours(text: str) -> list[str]:
    return [segment.text for segment in segment_text(text, split_for_soprano)]


def plain_prose() -> list[str]:
    """SIZE different texts of words and marks, without what is read otherwise on purpose."""
    purposes = re.compile("|".join(ON_PURPOSE.values()))
    plain = (text for text in generate(SEED) if PLAIN.fullmatch(text) and not purposes.search(text))
    return list(islice(dict.fromkeys(islice(plain, 2 * SIZE)), SIZE))


def test_plain_prose_is_read_as_the_package_reads_it() -> None:
    texts = plain_prose()
    assert len(texts) == SIZE
    assert [text for text in texts if ours(text) != package_sentences(text)] == []


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("Ask Prof. Hill.", ["ask professor hill."]),
        ("Ask Mr Hill.", ["ask mister hill."]),
        ("Ask the missus.", ["ask the misess."]),
        ("In the U.S. Senate, i.e. here.", ["in the u s senate, that is here."]),
        ("It ended.Then we left.", ["it ended. then we left."]),
        ("Apples vs. pears", ["apples versus pears."]),
        ("He sat down. Sat down!", ["he sat down. sat down!"]),
        ("A wrapped\nline.", ["a wrapped line."]),
        ("Plan - b - failed.", ["plan, b, failed."]),
    ],
)
def test_what_differs_on_purpose_differs(text: str, expected: list[str]) -> None:
    assert ours(text) == expected
    assert package_sentences(text) != expected


def made_up_words() -> list[str]:
    """Of two syllables or more, so that no abbreviation is among them."""
    rng = random.Random(SEED)
    syllables = [first + second for first in "bcdfghjklmnpqrstvwxyz" for second in "aeiouy"]
    return ["".join(rng.choices(syllables, k=rng.randint(2, 6))) for _ in range(300)]


WORD = st.tuples(
    st.sampled_from([*made_up_words(), *map(str.capitalize, made_up_words()), "a", "I"]),
    st.sampled_from(["", "", "", "'s", "'t", "\u2019ll"]),
).map("".join)
PHRASE = st.lists(WORD, min_size=1, max_size=14).map(" ".join)
QUOTED = st.tuples(st.sampled_from(['"{}"', "\u201c{}\u201d", "({})"]), PHRASE).map(
    lambda quoted: quoted[0].format(quoted[1])
)
SENTENCE = st.tuples(
    st.lists(st.one_of(PHRASE, PHRASE, QUOTED), min_size=1, max_size=4),
    st.sampled_from([", ", "; ", ": ", " - ", " \u2014 ", " "]),
    st.sampled_from([".", ".", "!", "?", "...", "\u2026", '."', ""]),
).map(lambda sentence: sentence[1].join(sentence[0]) + sentence[2])
PROSE = st.tuples(
    st.lists(SENTENCE, min_size=1, max_size=8), st.sampled_from([" ", " ", "\n\n", "  "])
).map(lambda prose: prose[1].join(prose[0]))


@settings(max_examples=examples(200), deadline=None)
@given(PROSE)
def test_any_words_and_marks_are_read_as_the_package_reads_them(text: str) -> None:
    expected = package_sentences(text)
    assume(not re.search("|".join(ON_PURPOSE.values()), text))
    assume(all(len(sentence) <= MAX_JOINED_CHARS for sentence in expected))
    assert ours(text) == expected
