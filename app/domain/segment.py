"""A piece of text that the model speaks in one go, or a pause between two."""

from collections.abc import Iterable

import msgspec

from app.domain.errors import InvalidRequestError


class TextSegment(msgspec.Struct, frozen=True):
    """A sentence or part of one, or a pause."""

    index: int  # counts from 0 within its text
    text: str  # words as the voice is given them, in its own form; empty for a pause
    # as the user wrote it; the sources of all segments are the text but for white space
    source: str = ""
    pause_s: float = 0.0  # playing time of the silence, in seconds; 0 for what is spoken

    def __post_init__(self) -> None:
        if self.index < 0 or bool(self.text.strip()) == bool(self.pause_s):
            raise InvalidRequestError("A text segment has an index from 0 on, and text or a pause.")


def count_chars(segments: Iterable[TextSegment]) -> int:
    """Characters that are spoken in all of them."""
    return sum(len(segment.text) for segment in segments)
