"""A book: chapters of paragraphs, and the parts in which it is spoken. Pure."""

import re
from collections.abc import Iterator, Sequence
from typing import Final

import msgspec

# A part is spoken as one text, and spoken again if it was interrupted: about four minutes.
PART_CHARS: Final = 4_000
_SENTENCE_END: Final = re.compile(r"[.!?\u2026]\s")


class Chapter(msgspec.Struct, frozen=True):
    """A run of paragraphs under one title, which is the first paragraph if it is to be spoken."""

    title: str
    paragraphs: tuple[str, ...]


class Book(msgspec.Struct, frozen=True, kw_only=True):
    """What is known of a document that is to be spoken as a whole."""

    title: str
    author: str = ""  # empty if unknown
    cover: bytes = b""  # a picture, JPEG or PNG; empty if there is none
    chapters: tuple[Chapter, ...]


class BookPart(msgspec.Struct, frozen=True):
    """Paragraphs of one chapter, and which one."""

    chapter: int  # from 0 on
    text: str


class ChapterMark(msgspec.Struct, frozen=True):
    """Where a chapter is in the sound, in seconds."""

    title: str
    start_s: float
    end_s: float


def split_parts(book: Book, max_chars: int = PART_CHARS) -> Iterator[BookPart]:
    """The parts in order, of whole paragraphs, with up to `max_chars` characters.

    Only a paragraph that is longer is cut: at the end of a sentence, else at a space.
    """
    for index, chapter in enumerate(book.chapters):
        paragraphs: list[str] = []
        num_chars = 0
        for paragraph in chapter.paragraphs:
            for piece in _pieces(paragraph, max_chars):
                if paragraphs and num_chars + len(piece) > max_chars:
                    yield BookPart(index, "\n\n".join(paragraphs))
                    paragraphs, num_chars = [], 0
                paragraphs.append(piece)
                num_chars += len(piece)
        if paragraphs:
            yield BookPart(index, "\n\n".join(paragraphs))


def _pieces(paragraph: str, max_chars: int) -> Iterator[str]:
    while len(paragraph) > max_chars:
        ends = [match.start() + 1 for match in _SENTENCE_END.finditer(paragraph, 0, max_chars)]
        cut = ends[-1] if ends else paragraph.rfind(" ", 1, max_chars + 1)
        if cut <= 0:  # one word
            cut = max_chars
        yield paragraph[:cut].rstrip()
        paragraph = paragraph[cut:].lstrip()
    if paragraph:
        yield paragraph


def chapter_marks(
    book: Book, parts: Sequence[BookPart], durations: Sequence[float]
) -> list[ChapterMark]:
    """A mark for each chapter that has parts, whose playing times in seconds are `durations`."""
    marks: list[ChapterMark] = []
    end_s, last = 0.0, -1
    for part, duration_s in zip(parts, durations, strict=True):
        start_s, end_s = end_s, end_s + duration_s
        if part.chapter != last:
            last = part.chapter
            marks.append(ChapterMark(book.chapters[last].title, start_s, end_s))
        else:
            marks[-1] = msgspec.structs.replace(marks[-1], end_s=end_s)
    return marks
