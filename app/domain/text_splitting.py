"""Text of any length to segments a model can hold; pure. No word is lost or repeated.

Where sentences end is language knowledge and comes in as a function; this module keeps the limits.
"""

import re
import unicodedata
from collections.abc import Callable, Iterable, Iterator
from itertools import accumulate
from typing import Final

from app.domain.segment import TextSegment, spoken_lengths

FindSentences = Callable[[str], Iterable[str]]
"""Cuts a paragraph into sentences; the pieces joined are the paragraph, white space aside."""

Measure = Callable[[str], list[int]]
"""The length of each character of a text: 1, or more where it takes longer to say."""

_LINE_END: Final = re.compile(r"\n\s*\n|\n(?!\s*[a-z])")
"""A line break ends a sentence, unless the next line goes on in lower case (hard-wrapped text)."""

_SENTENCE_END: Final = re.compile(
    r"""
      (?<![.!?\u2026]) (?P<mark>[.!?\u2026]++) ["'\u2019\u201d)\]]*+ \s++ (?=[^\s]) (?![a-z,;:])
    | \n\s*\n | \n (?=\S) (?![a-z])
    """,
    re.VERBOSE,
)
"""Where a sentence surely ends in a text that goes on: what follows must be there to be seen. Each
run of marks or spaces is read once (`++`), so that time grows with the length and not faster."""

_ABBREVIATION: Final = re.compile(
    r"(?:^|[\s(\"'\u2018\u201c])"
    r"(?:[A-Za-z]|(?:[A-Za-z]\.)+[A-Za-z]|Mrs?|Ms|Mx|Drs?|Profs?|Rev|Hon|St|Sr|Jr|Gen|Col|Capt"
    r"|Lt|Sgt|Gov|Sen|Rep|Mt|Ave|Blvd|vs|etc|approx|dept|est|fig|no|vol|pp?|cf|al)$",
    re.IGNORECASE,
)
"""What stands before a point that ends no sentence; a pause too many is worse than one too late."""

MAX_LIVE_CHARS: Final = 250
"""So many characters without the end of a sentence are cut at a clause: no listener waits longer
for the first word than a writer takes for so much."""

_CLAUSE_END: Final = re.compile(r"[,;:\u2014\uff0c\u3001\uff1b\u3002\uff01\uff1f](?=\s|[^\W\d])")
_ZERO_WIDTH_SPACE: Final = "\u200b"
_SPOKEN_SYMBOLS: Final = frozenset("&%@#\u00b0\u00a7\u00a9\u00ae\u2122")


def split_text(text: str, max_chars: int, find_sentences: FindSentences) -> list[TextSegment]:
    """Cut `text` into segments of at most `max_chars` spoken characters, in reading order.

    A digit or a symbol counts as the word it is read as (see `spoken_lengths`), so that segments
    take about equally long to say, whatever they are made of. Cuts at sentence ends; a longer
    sentence at a clause mark, else at white space, else (a word longer than the limit) inside the
    word. Runs of white space become one space; control and format characters go. Pieces with
    nothing to pronounce (punctuation, emoji) go too, so the list may be empty.
    """
    pieces = (
        part
        for paragraph in _LINE_END.split(clean_text(text))
        for sentence in find_sentences(paragraph)
        for part in fit(" ".join(sentence.split()), max_chars)
        if is_speakable(part)
    )
    return [TextSegment(index, piece) for index, piece in enumerate(pieces)]


def cut_whole_sentences(text: str) -> tuple[str, str]:
    """The beginning of a growing `text` that ends with a whole sentence, and the rest of it.

    Whether a mark ends a sentence may depend on what follows, so the last one waits for that. A
    sentence of more than MAX_LIVE_CHARS characters counts as whole at its last clause, else word.
    """
    ends = [end.end() for end in _SENTENCE_END.finditer(text) if not _is_abbreviated(text, end)]
    cut = ends[-1] if ends else 0
    if len(text) - cut > MAX_LIVE_CHARS:
        cut += _cut_position(text[cut:], len(text) - cut - 1)
    return text[:cut], text[cut:]


def _is_abbreviated(text: str, end: re.Match[str]) -> bool:
    before = text[max(0, end.start() - _MAX_ABBREVIATION_CHARS) : end.start()]
    return end["mark"] == "." and _ABBREVIATION.search(before) is not None


_MAX_ABBREVIATION_CHARS: Final = 16


def clean_text(text: str) -> str:
    """Replace control characters by spaces and drop invisible ones; line breaks stay."""
    return "".join(_clean_char(char) for char in text.replace("\r\n", "\n").replace("\r", "\n"))


def _clean_char(char: str) -> str:
    if char == "\n" or char.isprintable():
        return char
    if char.isspace() or char == _ZERO_WIDTH_SPACE or unicodedata.category(char) == "Cc":
        return " "
    return ""


def is_speakable(text: str) -> bool:
    """Whether there is anything to pronounce: a letter, a digit, or a symbol that has a name."""
    return any(
        char.isalnum() or char in _SPOKEN_SYMBOLS or unicodedata.category(char) in ("Sc", "Sm")
        for char in text
    )


def fit(text: str, max_length: int, measure: Measure = spoken_lengths) -> Iterator[str]:
    """Cut `text` into pieces of at most `max_length`; see `split_text` for where."""
    rest = text
    while len(fitting := _fitting_prefix(rest, max_length, measure)) < len(rest):
        cut = _cut_position(rest, len(fitting))
        yield rest[:cut].strip()
        rest = rest[cut:].strip()
    if rest:
        yield rest


def _fitting_prefix(text: str, max_length: int, measure: Measure) -> str:
    """As much of `text` as has at most `max_length`, but one character at least."""
    head = text[: max_length + 1]
    ends = accumulate(measure(head))
    return head[: max(1, sum(end <= max_length for end in ends))]


def _cut_position(text: str, max_chars: int) -> int:
    """Where to cut a text longer than `max_chars`: after a clause mark, else a space, else hard."""
    clause_ends = [match.end() for match in _CLAUSE_END.finditer(text, 0, max_chars)]
    if clause_ends:
        return clause_ends[-1]
    space = text.rfind(" ", 1, max_chars + 1)
    return space if space > 0 else max_chars
