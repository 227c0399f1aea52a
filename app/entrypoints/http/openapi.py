"""The description of the interface, and a page that shows it without internet."""

from dataclasses import dataclass
from http import HTTPStatus
from importlib.resources import files
from typing import Any, Final

from litestar import Request, Response, Router
from litestar.exceptions import NotFoundException
from litestar.openapi import OpenAPIConfig, ResponseSpec
from litestar.openapi.plugins import JsonRenderPlugin, OpenAPIRenderPlugin
from litestar.openapi.spec import (
    Example,
    OpenAPIHeader,
    OpenAPIMediaType,
    OpenAPIResponse,
    OpenAPIType,
    Operation,
    Parameter,
    RequestBody,
    Schema,
)

from app.domain.audio import AudioFormat
from app.domain.repeats import MAX_IDEMPOTENCY_KEY_CHARS
from app.entrypoints.http.authentication import OPEN
from app.entrypoints.http.caller import MIN_TIMEOUT_S, TIMEOUT_HEADER
from app.entrypoints.http.examples import ERRORS, EVENTS, REQUESTS
from app.entrypoints.http.schemas import CONTENT_TYPES, ErrorBody, ReadinessReport

DESCRIPTION: Final = (
    "Text to speech on your own machine, in the words of OpenAI's speech endpoint. "
    "Every answer carries `x-request-id`; every error has the same body. "
    "A server with keys wants one as `Authorization: Bearer KEY`."
)


def _error(description: str) -> ResponseSpec:
    return ResponseSpec(ErrorBody, description=description, generate_examples=False)


BAD_REQUEST: Final = {400: _error("The request cannot work as asked; `param` names the field.")}
NOT_FOUND: Final = {**BAD_REQUEST, 404: _error("No such model.")}
NOT_READY: Final = {
    503: ResponseSpec(
        ReadinessReport,
        description="The model is loading, failed or left alone, or the server is about to end.",
        generate_examples=False,
    )
}
SPEECH_ERRORS: Final = {
    **BAD_REQUEST,
    401: _error("The server has keys, and none of them was sent."),
    404: _error("No such model."),
    408: _error("The body was not there in time."),
    413: _error("The body is too large."),
    415: _error("The body is not plain JSON."),
    422: _error("The Idempotency-Key was used with another body."),
    429: _error("The key has reached its limit; `retry-after` says when to come back."),
    431: _error("There are too many headers."),
    500: _error("The model or the encoder failed before the first byte."),
    503: _error(
        "Too much waits, the model is loading or left alone, or the server is about to end: see"
        " `retry-after`."
    ),
    504: _error("The first byte, or the whole answer, was not there in time."),
}

EVENT_STREAM: Final = "text/event-stream"
AUDIO_TYPES: Final = {
    AudioFormat.MP3: "MP3 with a constant bit rate and without tags: answers can be joined.",
    AudioFormat.OPUS: "Opus in Ogg, 48 000 Hz.",
    AudioFormat.AAC: "AAC in ADTS frames.",
    AudioFormat.FLAC: "FLAC, 16 bit.",
    AudioFormat.WAV: (
        "WAV, 16 bit. A stream cannot know its sizes and says 0xFFFFFFFF for both; with `stream` "
        "false they are exact."
    ),
    AudioFormat.PCM: "Samples of 16 bit, little-endian, without a header; 24 000 Hz unless asked.",
}


def _header(description: str, kind: OpenAPIType, *, is_always_there: bool = True) -> OpenAPIHeader:
    return OpenAPIHeader(
        schema=Schema(type=kind), description=description, required=is_always_there
    )


REQUEST_ID: Final = {
    "x-request-id": _header(
        "Of the request: its own if that is short and plain. The log has it too.",
        OpenAPIType.STRING,
    )
}
SPEECH_HEADERS: Final = {
    **REQUEST_ID,
    "x-sample-rate": _header("Sample rate of the audio in Hz.", OpenAPIType.INTEGER),
    "x-speech-backend": _header("What ran the model.", OpenAPIType.STRING),
    "x-speech-voice": _header("The model's own voice that spoke.", OpenAPIType.STRING),
    "server-timing": _header(
        "Milliseconds of `queue`, `first_audio` and, where known, `total`.", OpenAPIType.STRING
    ),
    "cache-status": _header(
        "Whether the speech was kept from an earlier request (RFC 9211).", OpenAPIType.STRING
    ),
    "warning": _header(
        "What was asked for and not done (RFC 7234, section 5.5, code 299).",
        OpenAPIType.STRING,
        is_always_there=False,
    ),
}
ERROR_HEADERS: Final = {
    **REQUEST_ID,
    "x-should-retry": _header(
        "`false` if the same request will fail again.", OpenAPIType.STRING, is_always_there=False
    ),
}
RETRIED: Final = ("429", "503")
RETRY_HEADERS: Final = {
    **ERROR_HEADERS,
    "retry-after": _header(
        "Whole seconds until the request may work.", OpenAPIType.INTEGER, is_always_there=False
    ),
}


REQUEST_HEADERS: Final = (
    Parameter(
        name="Idempotency-Key",
        param_in="header",
        schema=Schema(
            type=OpenAPIType.STRING,
            min_length=1,
            max_length=MAX_IDEMPOTENCY_KEY_CHARS,
            pattern=r"^[!-~]([ -~]*[!-~])?$",
        ),
        description="The same key and body give the same audio; with another body it is an error.",
    ),
    Parameter(
        name=TIMEOUT_HEADER,
        param_in="header",
        schema=Schema(type=OpenAPIType.NUMBER, minimum=MIN_TIMEOUT_S),
        description="Seconds for which the client waits, if less than the server would.",
    ),
)


@dataclass
class SpeechOperation(Operation):
    """The speech operation: its answer is audio in one of six types, or events with it."""

    def __post_init__(self) -> None:
        """Describe what the framework cannot read off the handler."""
        if isinstance(self.request_body, RequestBody):
            _add_examples(self.request_body.content, REQUESTS)
        responses = self.responses or {}
        for status, response in responses.items():
            if isinstance(response, OpenAPIResponse) and int(status) in ERRORS:
                _add_examples(response.content or {}, ERRORS[int(status)])
                response.headers = {**(RETRY_HEADERS if status in RETRIED else ERROR_HEADERS)}
        self.responses = {**responses, "200": _describe_audio()}
        self.parameters = [*(self.parameters or []), *REQUEST_HEADERS]


def _add_examples(content: dict[str, OpenAPIMediaType], examples: dict[str, Example]) -> None:
    for media in content.values():
        media.examples = {**examples}


def _describe_audio() -> OpenAPIResponse:
    content = {CONTENT_TYPES[name]: _binary(text) for name, text in AUDIO_TYPES.items()}
    return OpenAPIResponse(
        description=(
            "The audio, mono: chunked as it is made, or whole if `stream` is false. "
            'With `stream_format` "sse", events that carry it.'
        ),
        content={**dict(sorted(content.items())), EVENT_STREAM: _describe_events()},
        headers={**SPEECH_HEADERS},
    )


def _binary(description: str) -> OpenAPIMediaType:
    return OpenAPIMediaType(
        schema=Schema(type=OpenAPIType.STRING, content_encoding="binary", description=description)
    )


def _describe_events() -> OpenAPIMediaType:
    description = (
        "Events `speech.audio.delta`, whose `audio` is base64 of the format asked for: joined, "
        "they are one file. Then `speech.audio.done` with the `usage` in tokens."
    )
    return OpenAPIMediaType(
        # Without a type: some readers check each event against it, others the whole text.
        schema=Schema(description=description),
        examples={**EVENTS},
    )


class OfflineDocs(OpenAPIRenderPlugin):
    """A page of our own that reads the schema; loads nothing from elsewhere."""

    def render(self, request: Request[Any, Any, Any], openapi_schema: dict[str, Any]) -> bytes:
        """The page; the schema is fetched by it."""
        return read_page("docs.html")


def read_page(name: str) -> bytes:
    """A page that comes with the package."""
    return files("app.entrypoints.http").joinpath("static", name).read_bytes()


def _refuse_unknown(response: Response[Any]) -> Response[Any]:
    """The framework answers to unknown addresses below its own with a page of HTML."""
    if response.status_code == HTTPStatus.NOT_FOUND:
        raise NotFoundException
    return response


def openapi_config(version: str) -> OpenAPIConfig:
    """The schema at /schema/openapi.json, the page at /schema."""
    return OpenAPIConfig(
        title="Soprano TTS API",
        version=version,
        description=DESCRIPTION,
        openapi_router=Router(
            "/schema",
            route_handlers=[],
            include_in_schema=False,
            dto=None,
            return_dto=None,
            opt=OPEN,
            after_request=_refuse_unknown,
        ),
        use_handler_docstrings=True,
        render_plugins=[OfflineDocs(path="/"), JsonRenderPlugin(path="/openapi.json")],
    )
