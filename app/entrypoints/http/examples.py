"""Examples for the interface's description: requests that work, and answers as they are sent.

Plain data. The tests send each request, and provoke each error that the server makes by itself.
"""

from typing import Final

from litestar.openapi.spec import Example

from app.entrypoints.http.schemas import ErrorBody, ErrorDetail

REQUESTS: Final = {
    "simple": Example(
        summary="An MP3 file to keep",
        value={"model": "tts-1", "voice": "alloy", "input": "Hello from your own machine."},
    ),
    "streaming": Example(
        summary="Raw samples at 24 000 Hz, to be played as they are made",
        value={
            "model": "tts-1",
            "voice": "alloy",
            "input": "The first sentence plays while the second one is made.",
            "response_format": "pcm",
        },
    ),
    "events": Example(
        summary="Server-sent events: pieces of one MP3 file, then the usage",
        value={
            "model": "gpt-4o-mini-tts",
            "voice": "alloy",
            "input": "Every piece of this sentence is an event.",
            "response_format": "mp3",
            "stream_format": "sse",
        },
    ),
    "whole": Example(
        summary="A WAV file with exact sizes, at another pace and sample rate",
        value={
            "model": "tts-1",
            "voice": "alloy",
            "input": "One answer, with its length.",
            "response_format": "wav",
            "speed": 1.25,
            "sample_rate": 16_000,
            "stream": False,
        },
    ),
}
"""Of speech, one per use."""

EVENTS: Final = {
    "events": Example(
        summary="Two pieces, and the end",
        value=(
            'data: {"type":"speech.audio.delta","audio":"//NExAAA"}\n\n'
            'data: {"type":"speech.audio.delta","audio":"//NExBkA"}\n\n'
            'data: {"type":"speech.audio.done",'
            '"usage":{"input_tokens":14,"output_tokens":101,"total_tokens":115}}\n\n'
        ),
    )
}
"""Of an answer to `stream_format: "sse"`."""

INVALID_REQUEST: Final = "invalid_request_error"
SERVER_ERROR: Final = "server_error"


def _error(
    summary: str, code: str, message: str, param: str | None = None, kind: str = INVALID_REQUEST
) -> dict[str, Example]:
    """One error body by its code. It stays a Struct: the framework would drop what is null."""
    detail = ErrorDetail(message=message, type=kind, param=param, code=code)
    return {code: Example(summary=summary, value=ErrorBody(detail))}


ERRORS: Final = {
    400: {
        **_error(
            "A value that is not allowed",
            "invalid_value",
            "Invalid 'speed': Expected `float` <= 4.0.",
            "speed",
        ),
        **_error(
            "A field that is missing",
            "missing_required_parameter",
            "Object missing required field `input`.",
            "input",
        ),
        **_error(
            "A voice that is not known",
            "voice_not_found",
            "The voice 'af_sky' is not known; known: alloy, ash, ballad.",
            "voice",
        ),
        **_error(
            "A text that is too long",
            "string_above_max_length",
            "The input has 5000 characters; at most 4096 are allowed.",
            "input",
        ),
        **_error("Not JSON", "invalid_json", "The body is not valid JSON."),
    },
    401: _error("A key that is not known", "invalid_api_key", "The API key is not known here."),
    404: _error(
        "A model that is not served",
        "model_not_found",
        "The model 'gpt-5' is not served here; known: tts-1, tts-1-hd, gpt-4o-mini-tts.",
        "model",
    ),
    408: _error(
        "A body that did not come in time",
        "request_too_slow",
        "The request did not come whole within 10 s.",
    ),
    413: _error("A body that is too large", "request_too_large", "The request body is too large."),
    415: _error(
        "A form instead of JSON",
        "unsupported_media_type",
        "The body must be JSON: send content-type application/json.",
    ),
    422: _error(
        "A key that was used before",
        "idempotency_key_reused",
        "This Idempotency-Key was used with another body: use a new key.",
    ),
    429: _error(
        "More requests than a key may have",
        "rate_limit_exceeded",
        "This API key has reached its limit of requests: 60 per minute. Try again in 1 s.",
        kind="rate_limit_error",
    ),
    431: _error(
        "More headers than are read",
        "headers_too_large",
        "The head of the request is too large.",
    ),
    500: _error(
        "A failure of the model",
        "synthesis_failed",
        "The model failed while speaking.",
        kind=SERVER_ERROR,
    ),
    503: {
        **_error(
            "A server with too much to speak",
            "server_overloaded",
            "The server has too much to speak; try again later.",
            kind=SERVER_ERROR,
        ),
        **_error(
            "A turn that did not come in time",
            "queue_timeout",
            "The server was too busy to begin with the text in time; try again later.",
            kind=SERVER_ERROR,
        ),
        **_error(
            "A server that is about to end",
            "server_draining",
            "The server is about to restart; try again shortly.",
            kind=SERVER_ERROR,
        ),
        **_error(
            "A model that is not loaded yet",
            "model_loading",
            "The speech model is still loading; try again shortly.",
            kind=SERVER_ERROR,
        ),
        **_error(
            "A model that failed too often of late",
            "engine_unavailable",
            "The speech model failed repeatedly and is left alone for a while.",
            kind=SERVER_ERROR,
        ),
        **_error(
            "A model that has too much to do",
            "engine_busy",
            "The model gave no sound for 10 s.",
            kind=SERVER_ERROR,
        ),
    },
    504: {
        **_error(
            "A model that hangs",
            "speech_timeout",
            "The model gave no sound for 10 s.",
            kind=SERVER_ERROR,
        ),
        **_error(
            "An answer that did not begin in time",
            "request_timeout",
            "The answer was not ready in the time that the request was given.",
            kind=SERVER_ERROR,
        ),
    },
}
"""Error bodies of speech, by status and code."""
