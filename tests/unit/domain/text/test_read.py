"""What is spoken for what is written."""

import re
from pathlib import Path

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from app.domain.text.mapped_text import MappedText
from app.domain.text.markup import Pause, read_markup
from app.domain.text.reading.matching import (
    JOINT,
)
from app.domain.text.reading.read import read
from tests.examples import table

CASES = Path(__file__).parent / "cases"
"""Of each topic: what is written, a tab, what is said. Alternatives stand behind `|`.

A line without a tab is said as it is written, one that begins with `# ` and has no tab is a
comment; `\\n`, `\\t` and `\\uXXXX` are escapes.
"""

PIECES = (
    "1", "12", "1,000", "3.5", "0451", "1/2", "\u00bd", "\u00b2", "\u2460", "\u5341", "$", "\u20ac",
    "%", "-", "\u2013", "\u2212", "+", "x", "\u00d7", ":", ".", ",", "/", "#", "@", "&", "'", '"',
    "(", ")", "[", "]", "<", ">", "*", "_", "`", "~", "|", "\\", "\n", " ", "  ", "=", "^",
    "\u00a7",
    "a", "I", "IV", "A", "v", "kg", "km/h", "\u00b0C", "ft", "am", "p.m.", "Jan", "May", "Sat",
    "th",
    "s", "K", "M", "bn", "USD", "St.", "Dr.", "No.", "no.", "fig.", "c.", "e.g.", "U.S.", "P.S.",
    "C++", "http://", "www.", "a.com", "<b>", "<sup>", "</sup>", "&amp;", "<think>", "King",
    "Chapter", "the", "in", "to", "COVID", "...", "\u2026", "!", "?", "\u200b", "\u0301", JOINT,
    "\U0001f642", "\u65e5",
)  # fmt: skip
"""What the rules look for, and what may stand in their way."""

TEXTS = st.one_of(
    st.text(max_size=60),
    st.lists(st.sampled_from(PIECES), max_size=14).map("".join),
    st.lists(st.sampled_from(PIECES), max_size=14).map(" ".join),
)


def spoken(written: str) -> str:
    return " ".join(part.text for part in parts_of(written))


def parts_of(written: str) -> list[MappedText]:
    return read(paragraphs_of(written))


def paragraphs_of(written: str) -> list[MappedText]:
    return [part for part in read_markup(written) if isinstance(part, MappedText)]


def words_of(text: str) -> list[str]:
    """The words, without case, marks, hyphens and "and"."""
    text = re.sub(rf"['\u2019{JOINT}]", "", text.lower())
    return [word for word in re.findall(r"[^\W_]+", text) if word != "and"]


def cases() -> list[tuple[str, str]]:
    lines = [
        line
        for path in sorted(CASES.glob("*.tsv"))
        for line in path.read_text("utf-8").splitlines()
        if line and ("\t" in line or not line.startswith("# "))
    ]
    pairs = [line.partition("\t") for line in lines]
    return [(unescaped(written), said if tab else written) for written, tab, said in pairs]


def unescaped(text: str) -> str:
    text = re.sub(r"\\u([0-9a-f]{4})", lambda code: chr(int(code[1], 16)), text)
    return text.replace("\\n", "\n").replace("\\t", "\t")


@table(("written", "said"), cases())
def test_what_is_written_is_said_as_people_say_it(written: str, said: str) -> None:
    assert words_of(spoken(written)) in [words_of(one) for one in said.split("|")]


@pytest.mark.parametrize(
    ("written", "letters"),
    [
        ("The U.S. team", "US"),
        ("At 5 p.m. sharp", "PM"),
        ("An API", "API"),
        ("AAA batteries", "AAA"),
        ("a Ph.D.", "PHD"),
    ],
)
def test_letters_that_are_named_one_by_one_are_joined(written: str, letters: str) -> None:
    assert JOINT.join(letters).lower() in spoken(written).lower()


@pytest.mark.parametrize(
    ("written", "said"),
    [
        ("It ended.Then we left.", "It ended. Then we left."),
        ("Milk, eggs, etc. We left.", "Milk, eggs, et cetera. We left."),
        ("He left at 5 p.m. We stayed.", f"He left at five P{JOINT}M. We stayed."),
        ("I met Dr. Smith.", "I met doctor Smith."),
        ("Turn onto Elm St. Then stop.", "Turn onto Elm Street. Then stop."),
        ("It is 12 kg.", "It is twelve kilograms."),
        ("Wait ... what?", "Wait ... what?"),
        ("He said, \u201cGo!\u201d", "He said, \u201cGo!\u201d"),
        ("A  B\u00a0C", "A B C"),
        ("( 5 )", "(five)"),
    ],
)
def test_the_marks_of_a_sentence_stay(written: str, said: str) -> None:
    assert spoken(written) == said


@pytest.mark.parametrize(
    ("written", "parts"),
    [
        ("# Plan\nBuy milk.", ["Plan", "Buy milk."]),
        ("- Milk\n- Eggs", ["Milk", "Eggs"]),
        ("1. Milk\n2. Eggs", ["one, Milk", "two, Eggs"]),
        ("| A | B |\n|---|---|\n| 1 | 2 |", ["A, B", "one, two"]),
        ("One\n\nTwo", ["One", "Two"]),
        ("Hello<br>world", ["Hello", "world"]),
        (
            "The letter was sent to\nJohn in May and re-\nturned to him in\n1990 by post.",
            ["The letter was sent to John in May and returned to him in nineteen ninety by post."],
        ),
        ("a self-\nmade man", ["a self-made man"]),
        ("<!-- a -->One", ["One"]),
    ],
)
def test_items_headings_rows_and_paragraphs_are_parts_of_their_own(
    written: str, parts: list[str]
) -> None:
    assert [part.text for part in parts_of(written)] == parts


@pytest.mark.parametrize(
    ("written", "durations_s"),
    [
        ('Wait<break time="500ms"/>now', [0.5]),
        ('<break time="2s"/>', [2.0]),
        ("a [pause:1.5s] b [pause:250ms]", [1.5, 0.25]),
        ('<break time="99s"/>', [10.0]),
        ('<break strength="weak"/><break/>', [0.25, 0.5]),
        ("no [pause] here", []),
    ],
)
def test_pauses_that_are_asked_for_are_found(written: str, durations_s: list[float]) -> None:
    found = [part.duration_s for part in read_markup(written) if isinstance(part, Pause)]
    assert found == durations_s


@given(TEXTS)
@example('3.5 1/2 kg of 1,000 1/2"')
@example('5..2" wide, 1.2." long, $.0')
def test_no_figure_is_left(text: str) -> None:
    assert not any(char.isdigit() or char.isnumeric() for char in spoken(text))


@pytest.mark.parametrize(
    ("written", "said"),
    [
        ("1vs2", "one versus two"),
        ("3Dr. Lee", "three doctor Lee"),
        ("\u00a7I", "section one"),
        ("/etc/hosts", "slash etc slash hosts"),
    ],
)
def test_what_a_figure_or_sign_stood_beside_is_read_too(written: str, said: str) -> None:
    assert spoken(written) == said


@given(TEXTS)
@example("A\x7fwww.0")
def test_what_was_read_is_read_as_it_is(text: str) -> None:
    for part in parts_of(text):
        (again,) = read([MappedText.of(part.text)])
        assert again.text == part.text


@given(st.lists(TEXTS, max_size=5))
def test_a_paragraph_is_read_alike_whatever_stands_beside_it(texts: list[str]) -> None:
    paragraphs = [part for text in texts for part in paragraphs_of(text)]
    together = read(paragraphs)
    alone = [words for paragraph in paragraphs for words in read([paragraph])]
    assert [part.text for part in together] == [part.text for part in alone]


@given(TEXTS)
def test_what_is_spoken_comes_from_the_text_in_its_order(text: str) -> None:
    end = 0
    for part in parts_of(text):
        spans = [part[index : index + 1].span() for index in range(len(part.packed))]
        assert len(spans) == len(part.text)
        starts, ends = [start for start, _ in spans], [end for _, end in spans]
        assert starts == sorted(starts)
        assert ends == sorted(ends)
        assert all(0 <= start <= stop <= len(text) for start, stop in spans)
        if spans:
            assert end <= starts[0]
            end = ends[-1]
