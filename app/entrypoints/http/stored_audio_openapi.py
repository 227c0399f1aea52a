"""The description of stored audio: answers that the framework cannot read off the handlers."""

from dataclasses import dataclass
from typing import Final

from litestar.openapi import ResponseSpec
from litestar.openapi.spec import (
    OpenAPIHeader,
    OpenAPIMediaType,
    OpenAPIResponse,
    OpenAPIType,
    Operation,
    Parameter,
    Reference,
    Schema,
)

from app.entrypoints.http.schemas import CONTENT_TYPES, ErrorBody


def _error(description: str) -> ResponseSpec:
    return ResponseSpec(ErrorBody, description=description, generate_examples=False)


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

_TEXT: Final = Schema(type=OpenAPIType.STRING)
_BINARY: Final = Schema(type=OpenAPIType.STRING, content_encoding="binary")
_CHANGE_HEADERS: Final = {
    "If-Match": "`etag` that the file must have; else 412.",
    "If-Unmodified-Since": "Date since which the file must not have changed; else 412.",
}
_READ_HEADERS: Final = {
    "Range": "One range of bytes; several at once are answered with the whole file.",
    "If-Range": "Of the range: an `etag` or date; the whole file if it has another.",
    "If-None-Match": "`etag` of a copy; 304 if it is still right.",
    "If-Modified-Since": "Date of a copy; 304 if it is still right.",
    **_CHANGE_HEADERS,
}


def _parameters(described: dict[str, str]) -> list[Parameter | Reference]:
    return [
        Parameter(name=name, param_in="header", schema=_TEXT, description=description)
        for name, description in described.items()
    ]


def _headers(**described: str) -> dict[str, OpenAPIHeader | Reference]:
    return {
        name.replace("_", "-"): OpenAPIHeader(schema=_TEXT, description=description)
        for name, description in described.items()
    }


def _audio(description: str, **headers: str) -> OpenAPIResponse:
    return OpenAPIResponse(
        description=description,
        content={kind: OpenAPIMediaType(schema=_BINARY) for kind in sorted(CONTENT_TYPES.values())},
        headers=_headers(etag="Of the file; strong.", last_modified="When stored.", **headers),
    )


@dataclass
class StoredAudioOperation(Operation):
    """Reading a file: whole, a part, or nothing because it is known."""

    def __post_init__(self) -> None:
        """Describe headers and answers, which the framework cannot read off the handler."""
        self.parameters = [*(self.parameters or []), *_parameters(_READ_HEADERS)]
        self.responses = {
            **(self.responses or {}),
            "200": _audio("The file."),
            "206": _audio("The range.", content_range="First and last byte, and the size."),
            "304": OpenAPIResponse(
                description="The copy is still right.", headers=_headers(etag="Of the file.")
            ),
        }


@dataclass
class DeletionOperation(Operation):
    """Deleting a file, maybe on a condition."""

    def __post_init__(self) -> None:
        """Describe the headers, which the framework cannot read off the handler."""
        self.parameters = [*(self.parameters or []), *_parameters(_CHANGE_HEADERS)]


@dataclass
class CaptionsOperation(Operation):
    """Captions: text in one of two forms."""

    def __post_init__(self) -> None:
        """Describe the answer, which the framework takes for JSON."""
        kind = "text/vtt" if str(self.operation_id).endswith("Vtt") else "application/x-subrip"
        answer = OpenAPIResponse(
            description="The captions, UTF-8.",
            content={f"{kind}; charset=utf-8": OpenAPIMediaType(schema=_TEXT)},
        )
        self.responses = {**(self.responses or {}), "200": answer}
