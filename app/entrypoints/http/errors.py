"""The one place with status numbers: from errors to answers with OpenAI's error body."""

import math
import re
from collections.abc import Callable
from http import HTTPStatus
from typing import Any, Final

import msgspec
import structlog
from litestar import MediaType, Request, Response
from litestar.enums import ScopeType
from litestar.exceptions import HTTPException, ValidationException
from litestar.types import ExceptionHandlersMap, Scope, Send

from app.domain.errors import (
    EngineBusyError,
    EngineUnavailableError,
    InstanceDeadError,
    InvalidApiKeyError,
    InvalidRequestError,
    ModelLoadError,
    ModelLoadingError,
    ModelNotFoundError,
    QueueTimeoutError,
    RateLimitError,
    RequestTimeoutError,
    ServerDrainingError,
    ServerOverloadedError,
    SpeechError,
    SpeechTimeoutError,
    StoredAudioNotFoundError,
    StoreError,
    StoreFullError,
)
from app.entrypoints.http.hosts import SECURITY_HEADERS
from app.entrypoints.http.schemas import CreateSpeech, ErrorBody, ErrorDetail, choices_of

_log = structlog.get_logger(__name__)

INVALID_REQUEST: Final = "invalid_request_error"
RATE_LIMIT: Final = "rate_limit_error"
SERVER_ERROR: Final = "server_error"
CLIENT_CLOSED_REQUEST: Final = 499
"""Status in the log of a request whose client left; nobody receives it."""


INTERNAL_ERROR: Final = ErrorDetail(
    message="Something went wrong on the server; its log has the details under this request id.",
    type=SERVER_ERROR,
    code="internal_error",
)
"""What a client is told of an unexpected failure."""


class HostNotAllowedError(SpeechError):
    """The host name of the request is not one of the server's names."""

    code = "host_not_allowed"

    def __init__(self, name: str) -> None:
        super().__init__(
            f"This server does not answer to the host name {name[:253]!r}. If it is one of its"
            " names, add it to server.allowed_hosts (SOPRANO_SERVER__ALLOWED_HOSTS)."
        )


class ForeignOriginError(SpeechError):
    """The request comes from a web page of an origin that is not allowed."""

    code = "origin_not_allowed"

    def __init__(self) -> None:
        super().__init__(
            "Web pages of this origin may not use this server: see server.cors_origins, or"
            " server.allowed_hosts if the page is the server's own under another name."
        )


class BrokenHttpError(SpeechError):
    """The request is not valid HTTP, or is ambiguous."""

    code = "invalid_http"

    def __init__(self) -> None:
        super().__init__("This is not a valid HTTP request.")


class HeadersTooLargeError(SpeechError):
    """The request has too many or too large headers."""

    code = "headers_too_large"

    def __init__(self) -> None:
        super().__init__("The headers of the request are too large.")


class TargetTooLongError(SpeechError):
    """The path and query of the request are too long."""

    code = "uri_too_long"

    def __init__(self) -> None:
        super().__init__("The path and query of the request are too long.")


class HttpVersionError(SpeechError):
    """The HTTP version is not supported."""

    code = "http_version_not_supported"

    def __init__(self) -> None:
        super().__init__("This server supports HTTP/1.1 and HTTP/1.0.")


class BrokenHandshakeError(SpeechError):
    """The WebSocket handshake violates RFC 6455."""

    code = "invalid_handshake"

    def __init__(self, header: str | None = None) -> None:
        reason = f": check the header {header}" if header else ""
        super().__init__(f"This is not a valid WebSocket handshake{reason}.")


class UpgradeRequiredError(SpeechError):
    """The request asks for an unsupported protocol or WebSocket version."""

    code = "upgrade_required"

    def __init__(self) -> None:
        super().__init__("The only protocol to upgrade to is WebSocket, version 13.")


class AddressNotFoundError(SpeechError):
    """The address does not exist."""

    code = "not_found"

    def __init__(self, problem: str = "Not found") -> None:
        super().__init__(f"{problem}; see /schema for the addresses of this server.")


class LateRequestError(SpeechError):
    """The request was not received within the time limit."""

    code = "request_too_slow"
    is_retryable = True

    def __init__(self, limit_s: float) -> None:
        super().__init__(f"The request was not received within {limit_s:g} s.")


class TooManyConnectionsError(SpeechError):
    """Too many connections are open."""

    code = "too_many_connections"
    is_retryable = True
    retry_after_s = 1.0

    def __init__(self) -> None:
        super().__init__("Too many connections are open; try again shortly.")


class TooManyUnfinishedBodiesError(SpeechError):
    """The incomplete bodies and messages of all clients use too much memory."""

    code = "too_many_unfinished_bodies"
    is_retryable = True
    retry_after_s = 1.0

    def __init__(self) -> None:
        super().__init__("Too many request bodies are being received; try again shortly.")


CLOSING: Final = (
    BrokenHttpError,
    HeadersTooLargeError,
    TargetTooLongError,
    HttpVersionError,
    BrokenHandshakeError,
    UpgradeRequiredError,
    LateRequestError,
    TooManyConnectionsError,
    TooManyUnfinishedBodiesError,
    ServerDrainingError,
)
"""Errors after which the connection is of no more use."""

_STATUS: Final[dict[type[SpeechError], tuple[int, str]]] = {
    InvalidApiKeyError: (401, INVALID_REQUEST),
    ForeignOriginError: (403, INVALID_REQUEST),
    HostNotAllowedError: (421, INVALID_REQUEST),
    RateLimitError: (429, RATE_LIMIT),
    ModelNotFoundError: (404, INVALID_REQUEST),
    StoredAudioNotFoundError: (404, INVALID_REQUEST),
    InvalidRequestError: (400, INVALID_REQUEST),
    BrokenHttpError: (400, INVALID_REQUEST),
    HeadersTooLargeError: (431, INVALID_REQUEST),
    TargetTooLongError: (414, INVALID_REQUEST),
    HttpVersionError: (505, INVALID_REQUEST),
    BrokenHandshakeError: (400, INVALID_REQUEST),
    UpgradeRequiredError: (426, INVALID_REQUEST),
    AddressNotFoundError: (404, INVALID_REQUEST),
    LateRequestError: (408, INVALID_REQUEST),
    TooManyConnectionsError: (503, SERVER_ERROR),
    TooManyUnfinishedBodiesError: (503, SERVER_ERROR),
    ServerDrainingError: (503, SERVER_ERROR),
    ModelLoadingError: (503, SERVER_ERROR),
    ModelLoadError: (503, SERVER_ERROR),
    ServerOverloadedError: (503, SERVER_ERROR),
    QueueTimeoutError: (503, SERVER_ERROR),
    RequestTimeoutError: (504, SERVER_ERROR),
    InstanceDeadError: (503, SERVER_ERROR),
    EngineUnavailableError: (503, SERVER_ERROR),
    EngineBusyError: (503, SERVER_ERROR),
    SpeechTimeoutError: (504, SERVER_ERROR),
    StoreFullError: (507, SERVER_ERROR),
    StoreError: (503, SERVER_ERROR),
    SpeechError: (500, SERVER_ERROR),
}

_ERROR_STATE: Final = "error_code"

_LEFT_AMID_BODY: Final = "client disconnected prematurely"
"""What the framework says, as an internal error, of a client that left while sending its body."""

_HTTP_CODES: Final = {
    400: "bad_request",
    404: "not_found",
    405: "method_not_allowed",
    412: "precondition_failed",
    413: "request_too_large",
    415: "unsupported_media_type",
    416: "range_not_satisfiable",
}

_HTTP_MESSAGES: Final = {
    404: "Not found; see /schema for the addresses of this server.",
    405: "Method not allowed.",
    412: "The file does not meet the conditions of the request.",
    413: "The request body is too large.",
    416: "The range begins beyond the end of the file, or is empty.",
}


class MalformedBodyError(InvalidRequestError):
    """The body is not valid; see the codes of request bodies."""

    def __init__(self, message: str, param: str | None, code: str) -> None:
        super().__init__(message)
        self.body_param = param
        self.body_code = code


NOT_JSON: Final = "The body must be JSON: send content-type application/json."


class UnsupportedMediaTypeError(HTTPException):
    """A body that is not plain JSON."""

    status_code = 415


class PreconditionFailedError(HTTPException):
    """A request for another state of a file than it has."""

    status_code = 412


class RangeNotSatisfiableError(HTTPException):
    """A range with none of the bytes of a file of `num_bytes`."""

    status_code = 416

    def __init__(self, num_bytes: int) -> None:
        super().__init__(headers={"content-range": f"bytes */{num_bytes}"})


class ClientDisconnectedError(Exception):
    """The client left before it had its answer."""


def describe_speech_error(error: SpeechError) -> ErrorDetail:
    """A failure of the domain, as clients read it."""
    _, kind = _status(error)
    param, code = error.param, error.code
    if isinstance(error, MalformedBodyError):
        param, code = error.body_param, error.body_code
    return ErrorDetail(message=str(error), type=kind, param=param, code=code)


def handle_speech_error(_: Request[Any, Any, Any], error: SpeechError) -> Response[ErrorBody]:
    """A failure of the domain."""
    status, _kind = _status(error)
    return _response(status, describe_speech_error(error), _headers(error))


def _status(error: SpeechError) -> tuple[int, str]:
    return next(_STATUS[cls] for cls in type(error).__mro__ if cls in _STATUS)


def _headers(error: SpeechError) -> dict[str, str]:
    headers = {} if error.is_retryable else {"x-should-retry": "false"}
    retry_after_s = getattr(error, "retry_after_s", None)
    if retry_after_s is not None:
        headers["retry-after"] = str(max(1, math.ceil(retry_after_s)))
        headers["retry-after-ms"] = str(max(1, math.ceil(retry_after_s * 1000)))
    if isinstance(error, InvalidApiKeyError):
        headers["www-authenticate"] = "Bearer"
    if isinstance(error, ServerDrainingError):
        headers["x-should-retry"] = "true"
    if isinstance(error, UpgradeRequiredError):
        headers |= {"upgrade": "websocket", "sec-websocket-version": "13"}
    if isinstance(error, CLOSING):
        headers["connection"] = "close"
    return headers


def handle_http_exception(_: Request[Any, Any, Any], error: HTTPException) -> Response[ErrorBody]:
    """A failure that the framework found."""
    is_left = error.detail == _LEFT_AMID_BODY
    status = CLIENT_CLOSED_REQUEST if is_left else error.status_code
    return _response(status, describe_http_exception(error), dict(error.headers or {}))


def describe_http_exception(error: HTTPException) -> ErrorDetail:
    """A failure that the framework found, as clients read it."""
    status = error.status_code
    kind = INVALID_REQUEST if status < 500 else SERVER_ERROR  # noqa: PLR2004
    message = _HTTP_MESSAGES.get(status) or error.detail
    return ErrorDetail(message=message, type=kind, code=_HTTP_CODES.get(status))


def handle_validation(_: Request[Any, Any, Any], error: ValidationException) -> Response[ErrorBody]:
    """A query that is not as described, or no body at all: our decoder is not asked then."""
    faults = [fault for fault in error.extra or () if isinstance(fault, dict)]
    fault = next((fault for fault in faults if fault.get("source") == "query"), None)
    if fault is None:
        message, param, code = "The body is empty: send JSON.", None, "invalid_json"
    else:
        param, code = fault["key"], "invalid_value"
        message = f"Invalid '{param}': {fault['message']}."
    detail = ErrorDetail(message=message, type=INVALID_REQUEST, param=param, code=code)
    return _response(400, detail, {"x-should-retry": "false"})


def handle_disconnect(_: Request[Any, Any, Any], __: ClientDisconnectedError) -> Response[None]:
    """Nobody is there to read an answer; the status is for the log."""
    return Response(None, status_code=CLIENT_CLOSED_REQUEST)


def handle_bug(_: Request[Any, Any, Any], error: Exception) -> Response[ErrorBody]:
    """An unexpected failure: the log has the details, the client has the request id."""
    _log.error("http.failed", exc_info=error)
    return _response(500, INTERNAL_ERROR, {"x-should-retry": "false"})


def note_error(scope: Scope, code: str | None) -> None:
    """Remember which error a request was answered with, for the log."""
    scope["state"][_ERROR_STATE] = code


def error_noted_in(scope: Scope) -> str | None:
    """That error's code; None if there was none."""
    code: str | None = scope.get("state", {}).get(_ERROR_STATE)
    return code


def _noting(handle: Callable[[Any, Any], Response[Any]]) -> Callable[[Any, Any], Response[Any]]:
    def handle_and_note(request: Request[Any, Any, Any], error: Exception) -> Response[Any]:
        response = handle(request, error)
        if isinstance(response.content, ErrorBody):
            note_error(request.scope, response.content.error.code)
        return response

    return handle_and_note


EXCEPTION_HANDLERS: Final[ExceptionHandlersMap] = {
    SpeechError: _noting(handle_speech_error),
    ValidationException: _noting(handle_validation),
    HTTPException: _noting(handle_http_exception),
    ClientDisconnectedError: handle_disconnect,
    Exception: _noting(handle_bug),
}


def _response(status: int, detail: ErrorDetail, headers: dict[str, str]) -> Response[ErrorBody]:
    return Response(
        ErrorBody(detail), status_code=status, headers=headers, media_type=MediaType.JSON
    )


_MISSING_FIELD = re.compile(r"missing required field `(\w+)`")
_CHOICES: Final = {
    field.encode_name: choices
    for field in msgspec.structs.fields(CreateSpeech)
    if (choices := choices_of(field.type))
}
_PATH = re.compile(r" - at `\$\.?(\w*)[^`]*`$")


def describe_decode_error(error: Exception) -> MalformedBodyError:
    """What a client did wrong in its JSON, from msgspec's words."""
    if not isinstance(error, msgspec.ValidationError):
        reason = f" ({error})" if isinstance(error, msgspec.DecodeError) else ""
        message = f"The body is not valid JSON{reason}; unpaired surrogates are rejected too."
        return MalformedBodyError(message, None, "invalid_json")
    text = str(error)
    path = _PATH.search(text)
    param = path[1] if path and path[1] else None
    words = _PATH.sub("", text)
    if missing := _MISSING_FIELD.search(text):
        param = param or missing[1]
        return MalformedBodyError(f"{words}.", param, "missing_required_parameter")
    if param in _CHOICES and words.startswith("Invalid enum"):
        words += f"; known are {', '.join(_CHOICES[param])}"
    message = f"Invalid '{param}': {words}." if param else f"{words}."
    return MalformedBodyError(message, param, "invalid_value")


# ASGI extension by which a handshake can be rejected with an answer of our own.
EXTENSION: Final = "websocket.http.response"

# Close code (RFC 6455, section 7.4.1); before the socket is accepted, servers answer 403 instead.
POLICY_VIOLATION: Final = 1008


async def send_error(scope: Scope, send: Send, error: SpeechError) -> None:
    """Answer with `error` where no handler of the framework would see it."""
    note_error(scope, error.code)
    is_http = scope["type"] == ScopeType.HTTP
    if not is_http and EXTENSION not in (scope.get("extensions") or {}):
        await send({"type": "websocket.close", "code": POLICY_VIOLATION, "reason": error.code})
        return
    kind = "http.response" if is_http else EXTENSION
    answer = encode_answer(error)
    start = {"type": f"{kind}.start", "status": answer.status, "headers": answer.headers}
    # The framework's types do not know the extension.
    await send(start)  # type: ignore[arg-type]
    await send({"type": f"{kind}.body", "body": answer.body})  # type: ignore[arg-type]


class EncodedAnswer(msgspec.Struct, frozen=True):
    """An answer as bytes, for where there is no framework to write it."""

    status: int
    headers: list[tuple[bytes, bytes]]
    body: bytes

    def to_http(self, *more_headers: tuple[bytes, bytes], is_head: bool = False) -> bytes:
        """The answer as it is sent on a connection; to a HEAD without its body."""
        start = f"HTTP/1.1 {self.status} {HTTPStatus(self.status).phrase}".encode()
        headers = map(b": ".join, [*self.headers, *more_headers])
        return b"\r\n".join([start, *headers, b"", b"" if is_head else self.body])


def encode_answer(error: SpeechError) -> EncodedAnswer:
    """What a caller gets for `error`; without a response of the framework, which takes longer."""
    status, _kind = _status(error)
    body = msgspec.json.encode(ErrorBody(describe_speech_error(error)))
    headers = {
        **SECURITY_HEADERS,
        **_headers(error),
        "content-type": "application/json",
        "content-length": str(len(body)),
    }
    pairs = [(name.encode(), value.encode()) for name, value in headers.items()]
    return EncodedAnswer(status, pairs, body)
