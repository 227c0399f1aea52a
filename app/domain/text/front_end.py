"""From what a user wrote to the segments that a voice speaks, each with the user's own words.

Markup, reading, the voice's own form: three steps, each of which can be read and tested alone.
"""

import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import groupby, pairwise
from math import inf
from typing import Final

import msgspec

from app.domain.errors import EXPANDED_INPUT, InputTooLongError
from app.domain.segment import TextSegment
from app.domain.text.mapped_text import MappedText
from app.domain.text.markup import Pause, read_markup
from app.domain.text.number_words import cardinal
from app.domain.text.pronunciations import Pronunciations
from app.domain.text.reading.read import clean, read

# A voice's: paragraphs of words to the pieces it speaks, in its own form.
Split = Callable[[Sequence[MappedText]], list[MappedText]]

_WORD: Final = re.compile(r"\S+")


class ReadingOptions(msgspec.Struct, frozen=True):
    """How a text is read."""

    is_normalized: bool = True  # figures and signs become words; else it is spoken as it is
    has_markup: bool = True  # Markdown, HTML and SSML are taken out first
    pronunciations: Pronunciations = Pronunciations()  # of words that are said as respelled
    max_chars: float = inf  # of the text with its pronunciations, which may be much longer
    begins_line: bool = True  # and may begin with the mark of a heading, an item, a fence


DEFAULT_READING: Final = ReadingOptions()


def read_text(text: str, options: ReadingOptions) -> list[MappedText | Pause]:
    """The paragraphs of `text` as they are spoken, by any voice, and the pauses in it.

    Raises InputTooLongError before the text is read.
    """
    has_markup = options.is_normalized and options.has_markup
    parts = read_markup(text, is_markup=has_markup, begins_line=options.begins_line)
    paragraphs = [
        options.pronunciations.apply(part) for part in parts if isinstance(part, MappedText)
    ]
    num_chars = sum(map(len, paragraphs))
    if num_chars > options.max_chars:
        raise InputTooLongError(num_chars, round(options.max_chars), EXPANDED_INPUT)
    words = iter(read(paragraphs) if options.is_normalized else map(clean, paragraphs))
    spoken = [part if isinstance(part, Pause) else next(words) for part in parts]
    return [part for part in spoken if isinstance(part, Pause) or len(part)]


def segment_text(
    text: str,
    split: Split,
    options: ReadingOptions = DEFAULT_READING,
    on_failure: Callable[[Exception], None] | None = None,
) -> list[TextSegment]:
    """What is spoken of `text`, piece by piece; empty if there is nothing to pronounce.

    Without white space, the sources of all segments together are `text`. A text that a rule fails
    on is read without rules: its words as they are, its figures one by one. One that a voice cannot
    split then, either, is spelled. Raises as read_text does.
    """
    ways: tuple[Callable[[], Iterable[MappedText | Pause]], ...] = (
        lambda: read_text(text, options),
        lambda: [clean(MappedText.of(text).sub(_WORD, _name_figures))],
        lambda: [clean(MappedText.of(text).sub(_WORD, _spell_word))],
    )
    pieces: list[MappedText | Pause] = []
    for way in ways:
        try:
            pieces = _split_all(way(), split)
            break
        except InputTooLongError:
            raise
        except Exception as error:  # noqa: BLE001 - a text is no reason to fail
            if on_failure is not None:
                on_failure(error)
    return [
        TextSegment(index, "", source, piece.duration_s)
        if isinstance(piece, Pause)
        else TextSegment(index, piece.text, source)
        for index, (piece, source) in enumerate(zip(pieces, _sources(text, pieces), strict=True))
    ]


def _split_all(parts: Iterable[MappedText | Pause], split: Split) -> list[MappedText | Pause]:
    pieces: list[MappedText | Pause] = []
    for _, group in groupby(parts, type):
        run = list(group)
        words = [part for part in run if isinstance(part, MappedText)]
        pieces += split(words) if words else run
    return pieces


def _name_figures(word: re.Match[str]) -> str:
    names = (f" {cardinal(char)} " if char.isdecimal() else char for char in word[0])
    return " ".join("".join(names).split())


def _spell_word(word: re.Match[str]) -> str:
    names = (cardinal(char) if char.isdecimal() else char for char in word[0] if char.isalnum())
    return " ".join(names) + ","


def _sources(text: str, pieces: Sequence[MappedText | Pause]) -> Iterator[str]:
    """`text` cut between the pieces: behind the mark that ends one, before what begins the next."""
    start = 0
    for piece, following in pairwise(pieces):
        end, next_start = piece.span()[1], following.span()[0]
        while end < next_start and not text[end].isspace():
            end += 1
        yield text[start:end].strip()
        start = end
    if pieces:
        yield text[start:].strip()
