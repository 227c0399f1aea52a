"""The events of an answer with `stream_format` "sse": one line `data: ` each, and an empty one."""

import asyncio
import base64
from collections.abc import AsyncGenerator, AsyncIterator
from typing import Final, Literal

import msgspec

from app.domain.errors import SpeechError, StoreError
from app.domain.services.speech_stream import SpeechStream
from app.domain.services.time_limit import within
from app.domain.speech import SpeechReport
from app.entrypoints.http.errors import INTERNAL_ERROR, describe_speech_error
from app.entrypoints.http.schemas import ErrorDetail
from app.ports.audio_store import StoredAudio
from app.ports.clock import Clock

EVENT_STREAM: Final = "text/event-stream; charset=utf-8"
KEEP_ALIVE: Final = b": keep-alive\n\n"
KEEP_ALIVE_S: Final = 10.0  # of silence, after which it is sent

# Line separators of Unicode, which do not end a line of server-sent events (WHATWG HTML, section
# 9.2.5). Clients that use `str.splitlines`, as httpx does, would split an event there.
_LINE_ENDS: Final = {c.encode(): f"\\u{ord(c):04x}".encode() for c in "\x85\u2028\u2029"}

_encode = msgspec.json.Encoder().encode


class Usage(msgspec.Struct, frozen=True):
    """Tokens, as the model counts them."""

    input_tokens: int
    output_tokens: int
    total_tokens: int


class AudioDelta(msgspec.Struct, frozen=True, tag="speech.audio.delta"):
    """The next bytes of the file, in base64."""

    audio: str


class CaptionEvent(msgspec.Struct, frozen=True, tag="speech.caption"):
    """Extension: a segment that is said whole; times in seconds of the file.

    `text` is as the user wrote it, `spoken` as the voice was given it.
    """

    index: int
    start: float
    end: float
    text: str
    spoken: str


class AudioStored(msgspec.Struct, frozen=True, tag="speech.audio.stored"):
    """Extension: the file that was to be kept is there, under its name; or why it is not."""

    file: str | None
    failure: ErrorDetail | None


class AudioDone(msgspec.Struct, frozen=True, tag="speech.audio.done"):
    """The file is whole."""

    usage: Usage


class ErrorEvent(msgspec.Struct, frozen=True):
    """The file breaks off here."""

    error: ErrorDetail
    type: Literal["error"] = "error"


async def write_events(
    stream: SpeechStream, clock: Clock, *, has_captions: bool
) -> AsyncGenerator[bytes, None]:
    """The answer as events, and a comment whenever nothing has come for KEEP_ALIVE_S."""
    events = _events(stream, has_captions=has_captions)
    coming = asyncio.ensure_future(anext(events, None))
    try:
        while True:
            try:
                await within(clock, KEEP_ALIVE_S, asyncio.wait({coming}))
            except TimeoutError:
                yield KEEP_ALIVE
                continue
            event = coming.result()
            if event is None:
                return
            yield event
            coming = asyncio.ensure_future(anext(events, None))
    finally:
        coming.cancel()
        await asyncio.gather(coming, return_exceptions=True)


async def _events(stream: SpeechStream, *, has_captions: bool) -> AsyncIterator[bytes]:
    async for part in stream:
        if isinstance(part, bytes):
            yield _event(AudioDelta(base64.b64encode(part).decode()))
        elif isinstance(part, StoredAudio):
            yield _event(AudioStored(part.name, None))
        elif isinstance(part, StoreError):
            yield _event(AudioStored(None, describe_speech_error(part)))
        elif has_captions:
            times = part.index, part.start_s, part.end_s
            yield _event(CaptionEvent(*times, part.text, part.spoken))
    yield _event(AudioDone(usage_of(stream.report)))


def usage_of(report: SpeechReport) -> Usage:
    """The tokens of an answer so far."""
    num_input, num_output = report.num_input_tokens, report.num_output_tokens
    return Usage(num_input, num_output, num_input + num_output)


def error_event(error: Exception) -> bytes:
    """The last event of an answer that breaks off."""
    detail = describe_speech_error(error) if isinstance(error, SpeechError) else INTERNAL_ERROR
    return _event(ErrorEvent(detail))


def _event(message: msgspec.Struct) -> bytes:
    data = _encode(message)
    for line_end, escaped in _LINE_ENDS.items():
        data = data.replace(line_end, escaped)
    return b"data: " + data + b"\n\n"
