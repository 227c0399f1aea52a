"""A piece of text that the model speaks in one go, or a pause; and its caption, once spoken."""

from collections.abc import Iterable, Sequence
from html import escape
from typing import Final

import msgspec

from app.domain.errors import InvalidRequestError


class TextSegment(msgspec.Struct, frozen=True):
    """A sentence or part of one, or a pause."""

    index: int  # counts from 0 within its text
    text: str  # words as the voice is given them, in its own form; empty for a pause
    source: str = ""  # as the user wrote it; those of all segments are the text but for white space
    pause_s: float = 0.0  # playing time of the silence, in seconds; 0 for what is spoken

    def __post_init__(self) -> None:
        if self.index < 0 or bool(self.text.strip()) == bool(self.pause_s):
            raise InvalidRequestError("A text segment has an index from 0 on, and text or a pause.")


def count_chars(segments: Iterable[TextSegment]) -> int:
    """Characters that are spoken in all of them."""
    return sum(len(segment.text) for segment in segments)


class Caption(msgspec.Struct, frozen=True):
    """One spoken segment of an answer."""

    index: int  # of the segment in its text, from 0 on
    start_s: float  # where its sound begins in the answer, in seconds
    end_s: float  # where it ends; the next segment begins there
    text: str  # as the user wrote it
    spoken: str = ""  # as the voice was given it; empty for a pause


def render_srt(captions: Sequence[Caption]) -> str:
    """SubRip: numbered from 1 on, times in milliseconds with a comma."""
    return "".join(
        f"{number}\n{format_time(caption.start_s, ',')} --> {format_time(caption.end_s, ',')}\n"
        f"{caption.text}\n\n"
        for number, caption in enumerate(captions, start=1)
    )


def render_vtt(captions: Sequence[Caption]) -> str:
    """WebVTT (W3C): the same with a head, a point, and the three characters of markup escaped."""
    cues = (
        f"{format_time(caption.start_s, '.')} --> {format_time(caption.end_s, '.')}\n"
        f"{escape(caption.text, quote=False)}\n\n"
        for caption in captions
    )
    return "WEBVTT\n\n" + "".join(cues)


RENDERERS: Final = {"srt": render_srt, "vtt": render_vtt}  # by the end of a file's name


def format_time(seconds: float, point: str) -> str:
    """Hours, minutes and seconds with three decimals after `point`."""
    hours, rest_ms = divmod(round(seconds * 1000), 3_600_000)
    minutes, rest_ms = divmod(rest_ms, 60_000)
    whole_s, ms = divmod(rest_ms, 1000)
    return f"{hours:02}:{minutes:02}:{whole_s:02}{point}{ms:03}"
