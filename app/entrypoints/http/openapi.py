"""What operations have in the description of the interface beside what their handlers say."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import Final, cast

import msgspec
from litestar.openapi import ResponseSpec, spec

from app.domain import errors
from app.domain.audio import AudioFormat
from app.domain.errors import SpeechError
from app.entrypoints.http import schemas
from app.entrypoints.http.errors import (
    NOT_JSON,
    HttpError,
    describe_decode_error,
    describe_speech_error,
)


def _error(description: str) -> ResponseSpec:
    return ResponseSpec(schemas.ErrorBody, description=description, generate_examples=False)


# What the routes answer besides 200, by status.
BAD_REQUEST: Final = {400: _error("The request cannot work as asked; `param` names the field.")}
NOT_FOUND: Final = {**BAD_REQUEST, 404: _error("No such model.")}
NOT_READY: Final = {
    503: ResponseSpec(
        schemas.ReadinessReport,
        description="The model is loading, has failed or its circuit is open; or the server stops.",
        generate_examples=False,
    )
}
SPEECH_ERRORS: Final = {
    **NOT_FOUND,
    401: _error("The server has keys, and none of them was sent."),
    408: _error("The body was not there in time."),
    413: _error("The body is too large."),
    415: _error("The body is not plain JSON."),
    429: _error("The key has reached its limit; `retry-after` says when to come back."),
    431: _error("There are too many headers."),
    500: _error("The model or the encoder failed before the first byte."),
    503: _error(
        "The queue is full, the model is loading or its circuit is open, or the server stops:"
        " `retry-after` says when to come back."
    ),
    504: _error("The first byte, or the whole answer, was not there in time."),
}
STORE_ERRORS: Final = {503: _error("The store of finished audio does not work.")}
LIST_ERRORS: Final = {
    400: _error("The query cannot work as asked; `param` names the part."),
    **STORE_ERRORS,
}
FILE_ERRORS: Final = {
    400: _error("No stored audio can have this name."),
    404: _error("No such file."),
    **STORE_ERRORS,
}
DELETE_ERRORS: Final = {
    **FILE_ERRORS,
    412: _error("The file is in another state than the conditions of the request."),
}
READ_ERRORS: Final = {
    **DELETE_ERRORS,
    416: _error("The range has no byte of the file; `content-range` has the size."),
}
CAPTIONS_ERRORS: Final = {
    **FILE_ERRORS,
    404: _error("No such file, or one that was stored without captions."),
}


def _use(summary: str, text: str, model: str = "tts-1", **fields: object) -> spec.Example:
    value = {"model": model, "voice": "alloy", "input": text, **fields}
    return spec.Example(summary=summary, value=value)


# Requests for speech, one per use. The tests send each of them.
REQUESTS: Final = {
    "simple": _use("An MP3 file to keep", "Hello from your own machine."),
    "streaming": _use(
        "Raw samples at 24 000 Hz, to be played as they are made",
        "The first sentence plays while the second one is made.",
        response_format="pcm",
    ),
    "events": _use(
        "Server-sent events: pieces of one MP3 file, then the usage",
        "Every piece of this sentence is an event.",
        model="gpt-4o-mini-tts",
        response_format="mp3",
        stream_format="sse",
    ),
    "whole": _use(
        "A WAV file with exact sizes, at another pace and sample rate",
        "One answer, with its length.",
        response_format="wav",
        speed=1.25,
        sample_rate=16_000,
        stream=False,
    ),
}

# An answer to `stream_format: "sse"`.
EVENTS: Final = spec.Example(
    summary="Two pieces, and the end",
    value=(
        'data: {"type":"speech.audio.delta","audio":"//NExAAA"}\n\n'
        'data: {"type":"speech.audio.delta","audio":"//NExBkA"}\n\n'
        'data: {"type":"speech.audio.done",'
        '"usage":{"input_tokens":14,"output_tokens":101,"total_tokens":115}}\n\n'
    ),
)


def _example(summary: str, error: SpeechError) -> spec.Example:
    # It stays a Struct: the framework would drop fields that are null.
    return spec.Example(summary=summary, value=schemas.ErrorBody(describe_speech_error(error)))


def _decode_error(body: bytes) -> SpeechError:
    try:
        msgspec.json.decode(body, type=schemas.CreateSpeech)
    except msgspec.DecodeError as error:
        return describe_decode_error(error)
    raise AssertionError(body)


_ERRORS: Final[dict[int, dict[str, SpeechError]]] = {
    400: {
        "A value that is not allowed": _decode_error(b'{"input":"Hi.","speed":9}'),
        "A field that is missing": _decode_error(b"{}"),
        "A voice that is not known": errors.VoiceNotFoundError(
            "af_sky", ["alloy", "ash", "ballad"]
        ),
        "A text that is too long": errors.InputTooLongError(5_000, 4_096),
        "A body that is not JSON": _decode_error(b"{"),
    },
    401: {"A key that is not known": errors.InvalidApiKeyError()},
    404: {"A model that is not served": errors.ModelNotFoundError("gpt-5", ["tts-1", "tts-1-hd"])},
    408: {"A body that was not received in time": HttpError("request_too_slow", limit_s=10)},
    413: {"A body that is too large": HttpError("request_too_large")},
    415: {"A form instead of JSON": HttpError("unsupported_media_type", problem=NOT_JSON)},
    429: {"More requests than a key may send": errors.RateLimitError("60 per minute", 1.0)},
    431: {"Too many headers": HttpError("headers_too_large")},
    500: {"A failure of the model": errors.SynthesisError()},
    503: {
        "A full queue": errors.ServerOverloadedError(1.0),
        "A request that was queued for too long": errors.QueueTimeoutError(1.0),
        "A server that is stopping": errors.ServerDrainingError(),
        "A model that is still loading": errors.ModelLoadingError(1.0),
        "An open circuit breaker": errors.EngineUnavailableError(10.0),
        "A model that is overloaded": errors.EngineBusyError(10.0),
    },
    504: {
        "A model that hangs": errors.SpeechTimeoutError(10.0),
        "An answer that was not ready in time": errors.RequestTimeoutError(),
    },
}
# Error bodies of speech by status and code, made by the errors themselves.
ERRORS: Final = {
    str(status): {error.code: _example(summary, error) for summary, error in failures.items()}
    for status, failures in _ERRORS.items()
}

_TEXT: Final = spec.Schema(type=spec.OpenAPIType.STRING)


def _binary(description: str | None = None) -> spec.OpenAPIMediaType:
    schema = spec.Schema(
        type=spec.OpenAPIType.STRING, content_encoding="binary", description=description
    )
    return spec.OpenAPIMediaType(schema=schema)


def _header(
    description: str, kind: spec.OpenAPIType = spec.OpenAPIType.STRING, *, is_required: bool = True
) -> spec.OpenAPIHeader:
    return spec.OpenAPIHeader(
        schema=spec.Schema(type=kind), description=description, required=is_required
    )


def described(
    parameters: Sequence[spec.Parameter],
    responses: Mapping[str, spec.OpenAPIResponse],
    requests: Mapping[str, spec.Example] = MappingProxyType({}),
    failures: Mapping[str, Mapping[str, spec.Example]] = MappingProxyType({}),
) -> type[spec.Operation]:
    """The class of an operation that has more than the framework can read off its handler.

    `responses` by status add to the framework's or replace them; `requests` and `failures` (by
    status) are examples of bodies.
    """

    @dataclass
    class DescribedOperation(spec.Operation):
        def __post_init__(self) -> None:
            self.parameters = [*(self.parameters or []), *parameters]
            self.responses = {**(self.responses or {}), **responses}
            if isinstance(self.request_body, spec.RequestBody):
                for media in self.request_body.content.values():
                    media.examples = {**requests}
            for status, examples in failures.items():
                response = cast("spec.OpenAPIResponse", self.responses[status])
                for media in (response.content or {}).values():
                    media.examples = {**examples}
                response.headers = {**(RETRY_HEADERS if status in RETRIED else ERROR_HEADERS)}

    return DescribedOperation


RETRIED: Final = ("429", "503")
REQUEST_ID: Final = {
    "x-request-id": _header(
        "Of the request: its own if that is short and plain. The log has it too."
    )
}
SPEECH_HEADERS: Final = {
    **REQUEST_ID,
    "x-sample-rate": _header("Sample rate of the audio in Hz.", spec.OpenAPIType.INTEGER),
    "x-speech-backend": _header("What ran the model."),
    "x-speech-voice": _header("The model's own voice that spoke."),
    "server-timing": _header("Milliseconds of `queue`, `first_audio` and, where known, `total`."),
    "cache-status": _header("Whether the speech was kept from an earlier request (RFC 9211)."),
    "warning": _header(
        "What was asked for and not done (RFC 7234, section 5.5, code 299).", is_required=False
    ),
}
ERROR_HEADERS: Final = {
    **REQUEST_ID,
    "x-should-retry": _header("`false` if the same request will fail again.", is_required=False),
}
RETRY_HEADERS: Final = {
    **ERROR_HEADERS,
    "retry-after": _header(
        "Whole seconds until the request may work.", spec.OpenAPIType.INTEGER, is_required=False
    ),
}
AUDIO_TYPES: Final = {
    AudioFormat.AAC: "AAC in ADTS frames.",
    AudioFormat.M4A: "AAC in MP4, in fragments: its length is exact and players can seek.",
    AudioFormat.FLAC: "FLAC, 16 bit.",
    AudioFormat.MP3: "MP3 with a constant bit rate and without tags: answers can be joined.",
    AudioFormat.OPUS: "Opus in Ogg, 48 000 Hz.",
    AudioFormat.PCM: "Samples of 16 bit, little-endian, without a header; 24 000 Hz unless asked.",
    AudioFormat.WEBM: "Opus in WebM, 48 000 Hz: for MediaSource in browsers.",
    AudioFormat.MULAW: "G.711 mu-law without a header, 8 000 Hz unless asked: for telephony.",
    AudioFormat.ALAW: "G.711 A-law without a header, 8 000 Hz unless asked: for telephony.",
    AudioFormat.WAV: (
        "WAV, 16 bit. A stream cannot know its sizes and says 0xFFFFFFFF for both; with `stream` "
        "false they are exact."
    ),
}
SPEECH: Final = spec.OpenAPIResponse(
    description=(
        "The audio, mono: chunked as it is made, or whole if `stream` is false. "
        'With `stream_format` "sse", events that carry it.'
    ),
    content={
        **{schemas.CONTENT_TYPES[name]: _binary(text) for name, text in AUDIO_TYPES.items()},
        "text/event-stream": spec.OpenAPIMediaType(
            # Without a type: some readers check each event against it, others the whole text.
            schema=spec.Schema(
                description=(
                    "Events `speech.audio.delta`, whose `audio` is base64 of the format asked for:"
                    " joined, they are one file. Then `speech.audio.done` with the `usage` in"
                    " tokens."
                )
            ),
            examples={"events": EVENTS},
        ),
    },
    headers={**SPEECH_HEADERS},
)
TIMEOUT: Final = spec.Parameter(
    name=schemas.TIMEOUT_HEADER,
    param_in="header",
    schema=spec.Schema(type=spec.OpenAPIType.NUMBER, minimum=schemas.MIN_TIMEOUT_S),
    description="Seconds for which the client waits, if less than the server would.",
)
CREATE_SPEECH: Final = described([TIMEOUT], {"200": SPEECH}, REQUESTS, ERRORS)

# Of a text that is not synthesized.
NORMALIZE_REQUESTS: Final = {
    "figures": _use("Money, a date and an abbreviation", "Dr. Who paid $5 on 12/25/2024."),
    "markup": _use("Markdown and a pause", "# Hello\n\nIt is **late**. [pause:1.5s] Good night."),
}
_UNREAD: Final = ("server_overloaded", "server_draining")
NORMALIZE_FAILURES: Final = {
    status: examples for status, examples in ERRORS.items() if status not in ("500", "504")
} | {"503": {code: example for code, example in ERRORS["503"].items() if code in _UNREAD}}
NORMALIZE_SPEECH: Final = described([], {}, NORMALIZE_REQUESTS, NORMALIZE_FAILURES)
NORMALIZE_RESPONSES: Final = {
    status: response for status, response in SPEECH_ERRORS.items() if status not in (500, 504)
} | {
    200: ResponseSpec(
        schemas.NormalizedText,
        description="The segments in order. Without white space, their texts are the input.",
        generate_examples=False,
        examples=[
            spec.Example(
                summary="One sentence",
                value=schemas.NormalizedText(
                    [
                        schemas.NormalizedSegment(
                            index=0,
                            text="It cost $5.",
                            spoken="It cost five dollars.",
                            pause_s=0.0,
                        )
                    ]
                ),
            )
        ],
    ),
    503: _error("The queue is full, or the server stops: `retry-after` says when to come back."),
}


def _parameter(name: str, description: str) -> spec.Parameter:
    return spec.Parameter(name=name, param_in="header", schema=_TEXT, description=description)


CHANGE_HEADERS: Final = [
    _parameter("If-Match", "`etag` that the file must have; else 412."),
    _parameter("If-Unmodified-Since", "Date since which the file must not have changed; else 412."),
]
READ_HEADERS: Final = [
    _parameter("Range", "One range of bytes; several at once are answered with the whole file."),
    _parameter("If-Range", "Of the range: an `etag` or date; the whole file if it has another."),
    _parameter("If-None-Match", "`etag` of a copy; 304 if it is still right."),
    _parameter("If-Modified-Since", "Date of a copy; 304 if it is still right."),
    *CHANGE_HEADERS,
]


def _file(description: str, **headers: str) -> spec.OpenAPIResponse:
    headers = {"etag": "Of the file; strong.", "last-modified": "When stored."} | headers
    return spec.OpenAPIResponse(
        description=description,
        content={kind: _binary() for kind in sorted(schemas.CONTENT_TYPES.values())},
        headers={name: _header(text, is_required=False) for name, text in headers.items()},
    )


RETRIEVE_FILE: Final = described(
    READ_HEADERS,
    {
        "200": _file("The file."),
        "206": _file("The range.", **{"content-range": "First and last byte, and the size."}),
        "304": spec.OpenAPIResponse(
            description="The copy is still right.",
            headers={"etag": _header("Of the file.", is_required=False)},
        ),
    },
)
DELETE_FILE: Final = described(CHANGE_HEADERS, {})


def captions_operation(content_type: str) -> type[spec.Operation]:
    """Captions as text of `content_type`, which the framework takes for JSON."""
    content = {content_type: spec.OpenAPIMediaType(schema=_TEXT)}
    return described([], {"200": spec.OpenAPIResponse("The captions, UTF-8.", content=content)})
