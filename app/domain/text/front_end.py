"""From what a user wrote to the segments that a voice speaks, each with the user's own words.

Markup, reading, the voice's own form: three steps, each of which can be read and tested alone.
"""

import re
from collections.abc import Callable, Iterable, Sequence
from typing import Final

import msgspec

from app.domain.segment import TextSegment
from app.domain.text.mapped_text import MappedText
from app.domain.text.markup import Pause, read_markup
from app.domain.text.pronunciations import Pronunciations
from app.domain.text.reading.read import clean, read

Split = Callable[[Sequence[MappedText]], list[MappedText]]
"""A voice's: paragraphs of words to the pieces it speaks, in its own form."""

_UP_TO_SPACE: Final = re.compile(r"\S*")


class ReadingOptions(msgspec.Struct, frozen=True):
    """How a text is read.

    Attributes:
        is_normalized: figures and signs are read as words; otherwise the text is spoken as it is.
        has_markup: Markdown, HTML and SSML are taken out first.
        pronunciations: words that are said in another way than they are written.
    """

    is_normalized: bool = True
    has_markup: bool = True
    pronunciations: Pronunciations = Pronunciations()


def read_text(text: str, options: ReadingOptions) -> list[MappedText | Pause]:
    """The paragraphs of `text` as they are spoken, by any voice, and the pauses in it."""
    has_markup = options.is_normalized and options.has_markup
    parts: list[MappedText | Pause] = []
    for part in read_markup(text, is_markup=has_markup):
        if isinstance(part, MappedText):
            part = options.pronunciations.apply(part)
            part = read(part) if options.is_normalized else clean(part)
            if not len(part):
                continue
        parts.append(part)
    return parts


def segment_text(text: str, split: Split, options: ReadingOptions) -> list[TextSegment]:
    """What is spoken of `text`, piece by piece; empty if there is nothing to pronounce.

    Without white space, the sources of all segments together are `text`.
    """
    pieces: list[MappedText | Pause] = []
    under_way: list[MappedText] = []
    for part in read_text(text, options):
        if isinstance(part, MappedText):
            under_way.append(part)
            continue
        pieces += split(under_way)
        pieces.append(part)
        under_way = []
    pieces += split(under_way)
    return [_segment(*one) for one in zip(range(len(pieces)), pieces, _sources(text, pieces))]


def _segment(index: int, piece: MappedText | Pause, source: str) -> TextSegment:
    if isinstance(piece, Pause):
        return TextSegment(index, "", source, piece.duration_s)
    return TextSegment(index, piece.text, source)


def _sources(text: str, pieces: Sequence[MappedText | Pause]) -> Iterable[str]:
    """`text` cut between the pieces: behind the mark that ends one, before what begins the next."""
    start = 0
    for piece, following in zip(pieces, [*pieces[1:], None], strict=True):
        end = len(text) if following is None else _cut(text, _end(piece), _start(following))
        yield text[start:end].strip()
        start = end


def _cut(text: str, end: int, next_start: int) -> int:
    if end >= next_start:
        return max(end, next_start)
    match = _UP_TO_SPACE.match(text, end, next_start)
    return match.end() if match else end


def _start(piece: MappedText | Pause) -> int:
    return piece.start if isinstance(piece, Pause) else piece.starts[0]


def _end(piece: MappedText | Pause) -> int:
    return piece.end if isinstance(piece, Pause) else piece.ends[-1]
