"""Texts in pieces: sentences, parts that a voice can hold, the whole sentences of a growing text.

No word is lost or repeated.
"""

import re
import unicodedata
from collections.abc import Iterator
from itertools import pairwise
from typing import Final

from app.domain.text.mapped_text import MappedText
from app.domain.text.markup import begins_item, goes_on
from app.domain.text.reading.abbreviations import BEFORE_FIGURES, SHORT_BOOKS
from app.domain.text.reading.calendar import POINTED_MONTHS
from app.domain.text.reading.matching import any_of

# In a text that was read, every point ends a sentence: abbreviations have none any more.
_SENTENCE_END: Final = re.compile(r"(?<![.!?\u2026])[.!?\u2026]++[\"'\u2019\u201d)\]]*+(?=\s)")
# Where a sentence may end in a text that goes on: what follows must be there to be seen. Each run
# of marks or spaces is read once (`++`), so that time grows with the length and not faster.
_LIVE_END: Final = re.compile(
    r"""
      (?<![.!?\u2026]) (?P<mark>[.!?\u2026]++) ["'\u2019\u201d)\]*_~`]*+ \s++ (?=[^\s]) (?![a-z,;:])
    | (?<=\S) (?P<line>[^\S\n]*+ \n \s*+) (?=\S)
    """,
    re.VERBOSE,
)
# What stands before a point that ends no sentence; a pause too many is worse than one too late.
_ABBREVIATION: Final = re.compile(
    r"(?:^|[\s(\"'\u2018\u201c])"
    r"(?:[A-Za-z]|(?:[A-Za-z]\.)+[A-Za-z]|Mrs?|Ms|Mx|Drs?|Profs?|Rev|Hon|St|Sr|Jr|Gen|Col|Capt"
    r"|Lt|Sgt|Gov|Sen|Rep|Mt|Ave|Blvd|vs|etc|approx|dept|est|fig|no|vol|pp?|cf|al)$"
    r"|(?:^|\n)[ \t]*\d{1,3}$",
    re.IGNORECASE,
)
# So many characters without the end of a sentence are cut at a clause: no listener waits longer for
# the first word than a writer takes for so much.
MAX_LIVE_CHARS: Final = 250
_MAX_ABBREVIATION_CHARS: Final = 16
# The same where figures follow: "Jan. 5", "Sec. 4".
_BEFORE_FIGURES: Final = re.compile(
    rf"(?:^|[\s(])(?:{any_of([*POINTED_MONTHS, *SHORT_BOOKS])}|(?i:{any_of(BEFORE_FIGURES)}))$"
)
# From an opening tag to a closing one, or the end of the text.
_UNSPOKEN: Final = re.compile(
    r"(?is)<(?:think|thinking|script|style)\b[^>]*>"
    r".*?(?:</(?:think|thinking|script|style)\b[^>]*>|\Z)"
)
_CLAUSE_END: Final = re.compile(r"[,;:\u2014\uff0c\u3001\uff1b\u3002\uff01\uff1f](?=\s|[^\W\d])")
_SPOKEN_SYMBOLS: Final = frozenset("&%@#\u00b0\u00a7\u00a9\u00ae\u2122")


def split_sentences(text: MappedText) -> list[MappedText]:
    """The sentences of a paragraph that was read."""
    ends = [match.end() for match in _SENTENCE_END.finditer(text.text)]
    pieces = (text[start:end].strip() for start, end in pairwise([0, *ends, len(text)]))
    return [piece for piece in pieces if len(piece)]


def cut_whole_sentences(text: str) -> tuple[str, str]:
    """The beginning of a growing `text` that ends with a whole sentence, and the rest of it.

    Whether a mark ends a sentence may depend on what follows, so the last one waits for that. A
    sentence of more than MAX_LIVE_CHARS characters counts as whole at its last clause, else word.
    Nothing is cut within what is not spoken: a thought of the writer, a script.
    """
    spans = [match.span() for match in _UNSPOKEN.finditer(text)]
    if spans and spans[-1][1] == len(text):
        start = spans[-1][0]
        return text[:start], text[start:]
    cut = 0
    for end in _LIVE_END.finditer(text):
        is_inside = any(start < end.end() < stop for start, stop in spans)
        if not is_inside and _is_end(text, end):
            cut = end.end()
    if len(text) - cut > MAX_LIVE_CHARS:
        cut += _cut_position(text[cut:], len(text) - cut - 1)
        cut = next((stop for start, stop in spans if start < cut < stop), cut)
    return text[:cut], text[cut:]


def _is_end(text: str, end: re.Match[str]) -> bool:
    if end["line"] is not None:
        line = text[text.rfind("\n", 0, end.start()) + 1 : end.start()].strip()
        following = text[end.end() : end.end() + _MAX_ABBREVIATION_CHARS]
        is_blank = end["line"].count("\n") > 1
        return is_blank or not line or begins_item(following) or not goes_on(line, following)
    before = text[max(0, end.start() - _MAX_ABBREVIATION_CHARS) : end.start()]
    if text[end.end()].isdecimal() and _BEFORE_FIGURES.search(before):
        return False
    return not (end["mark"] == "." and _ABBREVIATION.search(before))


def is_speakable(text: str) -> bool:
    """Whether there is anything to pronounce: a letter, a digit, or a symbol that has a name."""
    return any(
        char.isalnum() or char in _SPOKEN_SYMBOLS or unicodedata.category(char) in ("Sc", "Sm")
        for char in text
    )


def fit(text: MappedText, max_chars: int) -> Iterator[MappedText]:
    """Pieces of at most `max_chars`, cut after a clause mark, else at a space, else hard."""
    text, start = text.strip(), 0
    while len(text) - start > max_chars:
        end = start + _cut_position(text.text[start : start + max_chars + 1], max_chars)
        yield text[start:end].strip()
        start = end
        while text.text[start].isspace():
            start += 1
    if start < len(text):
        yield text[start:].strip()


def _cut_position(text: str, max_chars: int) -> int:
    """Where to cut a text longer than `max_chars`: after a clause mark, else a space, else hard."""
    clause_ends = [match.end() for match in _CLAUSE_END.finditer(text, 0, max_chars)]
    if clause_ends:
        return clause_ends[-1]
    space = text.rfind(" ", 1, max_chars + 1)
    return space if space > 0 else max_chars
