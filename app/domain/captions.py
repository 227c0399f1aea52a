"""What is said when: one caption per spoken segment, and the two subtitle formats. Pure."""

from collections.abc import Sequence
from html import escape
from typing import Final

import msgspec

_MS_PER_HOUR: Final = 3_600_000


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


RENDERERS: Final = {"srt": render_srt, "vtt": render_vtt}
"""By the end of a file's name."""


def format_time(seconds: float, point: str) -> str:
    """Hours, minutes and seconds with three decimals after `point`."""
    hours, rest_ms = divmod(round(seconds * 1000), _MS_PER_HOUR)
    minutes, rest_ms = divmod(rest_ms, 60_000)
    whole_s, ms = divmod(rest_ms, 1000)
    return f"{hours:02}:{minutes:02}:{whole_s:02}{point}{ms:03}"
