"""The description of the interface, and a page that shows it without internet."""

from dataclasses import dataclass
from importlib.resources import files
from typing import Any, Final

from litestar import Request, Router
from litestar.openapi import OpenAPIConfig, ResponseSpec
from litestar.openapi.plugins import JsonRenderPlugin, OpenAPIRenderPlugin
from litestar.openapi.spec import (
    OpenAPIHeader,
    OpenAPIMediaType,
    OpenAPIResponse,
    OpenAPIType,
    Operation,
    Schema,
)

from app.entrypoints.http.authentication import OPEN
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
        ReadinessReport, description="The model is loading, or failed.", generate_examples=False
    )
}
SPEECH_ERRORS: Final = {
    **BAD_REQUEST,
    401: _error("The server has keys, and none of them was sent."),
    404: _error("No such model."),
    413: _error("The body is too large."),
    415: _error("The body is not plain JSON."),
    429: _error("The key has reached its limit; `retry-after` says when to come back."),
    500: _error("The model or the encoder failed before the first byte."),
    503: _error("The model is still loading; `retry-after` says when to come back."),
}


@dataclass
class SpeechOperation(Operation):
    """The speech operation: its answer is audio in one of six types."""

    def __post_init__(self) -> None:
        """Describe the answer, which the framework cannot read off the handler."""
        binary = Schema(type=OpenAPIType.STRING, content_encoding="binary")
        content = {
            kind: OpenAPIMediaType(schema=binary) for kind in sorted(set(CONTENT_TYPES.values()))
        }
        rate = OpenAPIHeader(
            schema=Schema(type=OpenAPIType.INTEGER), description="Sample rate of the audio in Hz."
        )
        answer = OpenAPIResponse(
            description="The audio, mono: chunked as it is made, or whole if `stream` is false.",
            content=content,
            headers={"x-sample-rate": rate},
        )
        self.responses = {**(self.responses or {}), "200": answer}


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
        openapi_router=Router(
            "/schema",
            route_handlers=[],
            include_in_schema=False,
            dto=None,
            return_dto=None,
            opt=OPEN,
        ),
        use_handler_docstrings=True,
        render_plugins=[OfflineDocs(path="/"), JsonRenderPlugin(path="/openapi.json")],
    )
