"""The description of the interface, and a page that shows it without internet."""

from dataclasses import dataclass
from importlib.resources import files
from typing import Any, Final

from litestar import Request
from litestar.openapi import OpenAPIConfig, ResponseSpec
from litestar.openapi.plugins import JsonRenderPlugin, OpenAPIRenderPlugin
from litestar.openapi.spec import (
    OpenAPIHeader,
    OpenAPIMediaType,
    OpenAPIResponse,
    OpenAPIType,
    Operation,
    Parameter,
    Schema,
)

from app.domain.repeats import MAX_IDEMPOTENCY_KEY_CHARS
from app.entrypoints.http.schemas import CONTENT_TYPES, ErrorBody, ReadinessReport

DESCRIPTION: Final = (
    "Text to speech on your own machine, in the words of OpenAI's speech endpoint. "
    "Every answer carries `x-request-id`; every error has the same body."
)


def _error(description: str) -> ResponseSpec:
    return ResponseSpec(ErrorBody, description=description, generate_examples=False)


BAD_REQUEST: Final = {400: _error("The request cannot work as asked; `param` names the field.")}
NOT_FOUND: Final = {**BAD_REQUEST, 404: _error("No such model.")}
NOT_READY: Final = {
    503: ResponseSpec(
        ReadinessReport, description="The model is loading, or failed.", generate_examples=False
    )
}
SPEECH_ERRORS: Final = {
    **BAD_REQUEST,
    404: _error("No such model."),
    413: _error("The body is too large."),
    415: _error("The body is not plain JSON."),
    422: _error("The Idempotency-Key was used with another body."),
    500: _error("The model or the encoder failed before the first byte."),
    503: _error("The model is still loading; `retry-after` says when to come back."),
}


ANSWER_HEADERS: Final = {
    "x-sample-rate": OpenAPIHeader(
        schema=Schema(type=OpenAPIType.INTEGER), description="Sample rate of the audio in Hz."
    ),
    "cache-status": OpenAPIHeader(
        schema=Schema(type=OpenAPIType.STRING),
        description="Whether the speech was kept from an earlier request (RFC 9211).",
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
        name="If-None-Match",
        param_in="header",
        schema=Schema(type=OpenAPIType.STRING),
        description="ETags of answers that the client has; 304 if this would be one of them.",
    ),
)


@dataclass
class SpeechOperation(Operation):
    """The speech operation: its answer is audio in one of six types."""

    def __post_init__(self) -> None:
        """Describe the answer, which the framework cannot read off the handler."""
        binary = Schema(type=OpenAPIType.STRING, content_encoding="binary")
        content = {
            kind: OpenAPIMediaType(schema=binary) for kind in sorted(set(CONTENT_TYPES.values()))
        }
        content["text/event-stream"] = OpenAPIMediaType(schema=Schema(type=OpenAPIType.STRING))
        answer = OpenAPIResponse(
            description="The audio, mono: chunked as it is made, or whole if `stream` is false.",
            content=content,
            headers=dict(ANSWER_HEADERS),
        )
        unchanged = OpenAPIResponse(description="The audio is that of the tag in If-None-Match.")
        self.responses = {**(self.responses or {}), "200": answer, "304": unchanged}
        self.parameters = [*(self.parameters or []), *REQUEST_HEADERS]


class OfflineDocs(OpenAPIRenderPlugin):
    """A page of our own that reads the schema; loads nothing from elsewhere."""

    def render(self, request: Request[Any, Any, Any], openapi_schema: dict[str, Any]) -> bytes:
        """The page; the schema is fetched by it."""
        return read_page("docs.html")


def read_page(name: str) -> bytes:
    """A page that comes with the package."""
    return files("app.entrypoints.http").joinpath("static", name).read_bytes()


def openapi_config(version: str) -> OpenAPIConfig:
    """The schema at /schema/openapi.json, the page at /schema."""
    return OpenAPIConfig(
        title="Soprano TTS API",
        version=version,
        description=DESCRIPTION,
        path="/schema",
        use_handler_docstrings=True,
        render_plugins=[OfflineDocs(path="/"), JsonRenderPlugin(path="/openapi.json")],
    )
