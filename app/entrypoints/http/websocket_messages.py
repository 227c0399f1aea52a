"""The messages of the speech socket: JSON in text frames, told apart by `type`.

Audio is in binary frames of its own, between `utterance.started` and what ends it.
"""

from typing import Annotated, Final

import msgspec
from msgspec import Meta

from app.entrypoints.http.schemas import ErrorDetail, SpeechFields
from app.entrypoints.http.sse import Usage

# From the client.


class Configure(SpeechFields, tag="configure"):
    """How the utterances that have not begun are spoken; absent fields have their defaults."""


class Text(msgspec.Struct, tag="text"):
    """The next characters of an utterance; the first ones begin it."""

    text: str


class Flush(msgspec.Struct, tag="flush"):
    """Speak what has been written, whole sentence or not; the utterance goes on."""


class End(msgspec.Struct, tag="end"):
    """The utterance is written; the next text begins another."""


class Cancel(msgspec.Struct, tag="cancel"):
    """Stop at once, and forget every utterance that has not been spoken."""


class Ping(msgspec.Struct, tag="ping"):
    """Answered with the same `id`."""

    id: Annotated[str, Meta(max_length=256)] | None = None


Written = Text | Flush | End
ClientMessage = Configure | Written | Cancel | Ping

# From the server.


class Ready(msgspec.Struct, tag="ready"):
    """The first message."""

    model: str
    backend: str


class Started(msgspec.Struct, tag="utterance.started"):
    """The binary frames that follow are this file; `utterance` counts from 1."""

    utterance: int
    response_format: str
    content_type: str
    sample_rate: int
    voice: str


class Spoken(msgspec.Struct, tag="caption"):
    """A segment has been sent whole; times in seconds of the file.

    `text` is as the user wrote it, `spoken` as the voice was given it.
    """

    utterance: int
    index: int
    start: float
    end: float
    text: str
    spoken: str


class Ended(msgspec.Struct, tag="utterance.ended"):
    """The file is whole."""

    utterance: int
    num_samples: int  # its length, at its own sample rate
    audio_s: float  # the same in seconds
    usage: Usage


class Cancelled(msgspec.Struct, tag="utterance.cancelled"):
    """The file breaks off, because it was asked for."""

    utterance: int | None = None  # that was being spoken, if any
    num_samples: int = 0  # that had been sent, at the file's sample rate
    audio_s: float = 0.0  # the same in seconds
    text: str = ""  # of the segments that had been sent whole
    text_under_way: str = ""  # of the segment that had been sent in part


class Pong(msgspec.Struct, tag="pong"):
    """The answer to a ping."""

    id: str | None


class Failed(msgspec.Struct, tag="error"):
    """Something did not work; `utterance` breaks off, if it names one. The socket stays open."""

    error: ErrorDetail
    utterance: int | None = None


ServerMessage = Ready | Started | Spoken | Ended | Cancelled | Pong | Failed

decoder: Final = msgspec.json.Decoder[ClientMessage](ClientMessage, strict=False)
encoder: Final = msgspec.json.Encoder()
