"""Audio books: files joined to one with chapters, without encoding anything again."""

import io
from collections.abc import Iterator, Sequence
from fractions import Fraction
from pathlib import Path
from typing import Any, Final

import msgspec

from app.domain.audio import AudioFormat
from app.domain.book import Book, ChapterMark
from app.domain.errors import EncodingError
from app.domain.segment import format_time


class BookFormat(msgspec.Struct, frozen=True):
    """How a book is written."""

    format: AudioFormat  # of its parts
    muxer: str  # FFmpeg's name of the container
    options: dict[str, str] = {}  # see FFmpeg's documentation of the muxer


# The parts of MP4 are frames of AAC that have the same length, with nothing to be left out.
_MP4: Final = BookFormat(AudioFormat.AAC, "mp4", {"brand": "M4B ", "movflags": "+faststart"})

BOOK_FORMATS: Final = {
    ".m4b": _MP4,
    ".m4a": _MP4,
    ".mp3": BookFormat(AudioFormat.MP3, "mp3", {"id3v2_version": "3"}),
    ".opus": BookFormat(AudioFormat.OPUS, "ogg"),
    ".ogg": BookFormat(AudioFormat.OPUS, "ogg"),
}
"""By the end of a file's name."""


def duration_of(path: Path) -> float:
    """Playing time in seconds of a part, all of whose frames are heard; raises EncodingError."""
    import av

    try:
        with av.open(_url(path), "r") as part:
            packets = _packets(part)
            first = next(packets)
            return float((1 + sum(1 for _ in packets)) * first.duration * first.time_base)
    except (av.error.FFmpegError, StopIteration) as error:
        raise EncodingError(f"A part of the book cannot be read: {error}.") from error


def _url(path: Path) -> str:
    """With a protocol, because FFmpeg takes what stands before a colon for one."""
    return f"file:{path}"


def join_parts(
    parts: Sequence[Path], path: Path, book_format: BookFormat, book: Book, marks: list[ChapterMark]
) -> None:
    """Write the packets of all parts to one file, with the chapters at `marks`.

    Raises EncodingError if a part is damaged or cannot be joined, or OSError.
    """
    import av

    options = {"fflags": "+bitexact", **book_format.options}
    try:
        with av.open(_url(path), "w", format=book_format.muxer, options=options) as output:
            with av.open(_url(parts[0]), "r") as first:
                stream: Any = output.add_stream_from_template(first.streams.audio[0])
            tags = {"title": book.title, "artist": book.author, "album": book.title}
            tags = {name: text for name, text in tags.items() if text}
            if book_format.format is AudioFormat.OPUS:
                # Xiph, chapter extension; FFmpeg rounds their seconds up.
                for number, mark in enumerate(marks):
                    tags[f"CHAPTER{number:03}"] = format_time(mark.start_s, ".")
                    tags[f"CHAPTER{number:03}NAME"] = mark.title
                stream.metadata.update(tags)
            else:
                output.metadata.update(tags)
                output.set_chapters([_chapter(*numbered) for numbered in enumerate(marks)])
                if book.cover:
                    _add_cover(output, book.cover)
            position = frame_size = 0
            for each in parts:
                with av.open(_url(each), "r") as part:
                    for packet in _packets(part):
                        frame_size = frame_size or packet.duration
                        packet.pts = packet.dts = position
                        packet.duration = frame_size  # the last one of a part may say less
                        packet.stream = stream
                        position += frame_size
                        output.mux_one(packet)
    except av.error.FFmpegError as error:
        if isinstance(error, OSError) and error.strerror:
            raise
        raise EncodingError(f"The parts cannot be joined: {error}.") from error


def _packets(container: Any) -> Iterator[Any]:
    return (packet for packet in container.demux(audio=0) if packet.size)


def _chapter(number: int, mark: ChapterMark) -> Any:
    start, end = round(mark.start_s * 1_000), round(mark.end_s * 1_000)
    times = {"start": start, "end": end, "time_base": Fraction(1, 1_000)}
    return {"id": number, "metadata": {"title": mark.title}, **times}


_PICTURES: Final = {b"\xff\xd8\xff": "jpeg_pipe", b"\x89PNG\r\n\x1a\n": "png_pipe"}
"""FFmpeg's names of the pictures that a book may have, by how they begin."""


def _add_cover(output: Any, cover: bytes) -> None:
    """Add it if it is a picture; the book is worth more."""
    import av

    name = next((name for mark, name in _PICTURES.items() if cover.startswith(mark)), None)
    if name is None:
        return
    try:
        with av.open(io.BytesIO(cover), "r", format=name) as picture:
            source = picture.streams.video[0]
            packet = next(picture.demux(source))
            if not (source.width and source.height and packet.size):
                return
            stream = output.add_stream_from_template(source)
    except (av.error.FFmpegError, ValueError, IndexError, StopIteration):
        return
    stream.disposition = av.stream.Disposition.attached_pic
    packet.stream, packet.pts, packet.dts = stream, 0, 0
    output.mux_one(packet)
