"""Text of any length to segments a model can hold; pure. No word is lost or repeated.

Where sentences end is language knowledge and comes in as a function; this module keeps the limits.
"""

import re
import unicodedata
from collections.abc import Callable, Iterable, Iterator
from typing import Final

from app.domain.segment import TextSegment

FindSentences = Callable[[str], Iterable[str]]
"""Cuts a paragraph into sentences; the pieces joined are the paragraph, white space aside."""

_LINE_END: Final = re.compile(r"\n\s*\n|\n(?!\s*[a-z])")
"""A line break ends a sentence, unless the next line goes on in lower case (hard-wrapped text)."""

_CLAUSE_END: Final = re.compile(r"[,;:\u2014\uff0c\u3001\uff1b\u3002\uff01\uff1f](?=\s|[^\W\d])")
_ZERO_WIDTH_SPACE: Final = "\u200b"
_SPOKEN_SYMBOLS: Final = frozenset("&%@#\u00b0\u00a7\u00a9\u00ae\u2122")


def split_text(text: str, max_chars: int, find_sentences: FindSentences) -> list[TextSegment]:
    """Cut `text` into segments of at most `max_chars` characters, in reading order.

    Cuts at sentence ends; a longer sentence at a clause mark, else at white space, else (a word
    longer than the limit) inside the word. Runs of white space become one space; control and format
    characters go. Pieces with nothing to pronounce (punctuation, emoji) go too, so the list may be
    empty.
    """
    pieces = (
        part
        for paragraph in _LINE_END.split(clean_text(text))
        for sentence in find_sentences(paragraph)
        for part in _fit(" ".join(sentence.split()), max_chars)
        if is_speakable(part)
    )
    return [TextSegment(index, piece) for index, piece in enumerate(pieces)]


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


def _fit(sentence: str, max_chars: int) -> Iterator[str]:
    rest = sentence
    while len(rest) > max_chars:
        cut = _cut_position(rest, max_chars)
        yield rest[:cut].strip()
        rest = rest[cut:].strip()
    if rest:
        yield rest


def _cut_position(text: str, max_chars: int) -> int:
    """Where to cut a text longer than `max_chars`: after a clause mark, else a space, else hard."""
    clause_ends = [match.end() for match in _CLAUSE_END.finditer(text, 0, max_chars)]
    if clause_ends:
        return clause_ends[-1]
    space = text.rfind(" ", 1, max_chars + 1)
    return space if space > 0 else max_chars
