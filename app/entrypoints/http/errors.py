"""The one place with status numbers: from errors to answers with OpenAI's error body."""

import math
import re
from collections.abc import Mapping
from http import HTTPStatus
from types import MappingProxyType
from typing import Any, Final, TypeAlias

import msgspec
import structlog
from litestar import MediaType, Request, Response
from litestar.enums import ScopeType
from litestar.exceptions import HTTPException, ValidationException
from litestar.types import ExceptionHandlersMap, Scope, Send

from app.domain import errors
from app.domain.errors import SpeechError
from app.entrypoints.http import schemas

AnyRequest: TypeAlias = Request[Any, Any, Any]

INVALID_REQUEST: Final = "invalid_request_error"
SERVER_ERROR: Final = "server_error"

CLIENT_CLOSED_REQUEST: Final = 499  # in the log of a request whose client left

# What a client is told of an unexpected failure.
INTERNAL_ERROR: Final = schemas.ErrorDetail(
    message="Something went wrong on the server; its log has the details under this request id.",
    type=SERVER_ERROR,
    code="internal_error",
)

# Status and message, by code, of what is wrong with a request in HTTP, or with a use of a socket.
HTTP_ERRORS: Final = {
    "bad_request": (400, "{problem}"),
    "invalid_http": (400, "This is not a valid HTTP request."),
    "invalid_handshake": (400, "This is not a valid WebSocket handshake{hint}."),
    "invalid_request_timeout": (
        400,
        (
            f"The header {schemas.TIMEOUT_HEADER} must be a number of seconds, at least"
            f" {schemas.MIN_TIMEOUT_S:g}."
        ),
    ),
    "too_many_utterances": (400, "At most {limit} utterances may wait to be spoken."),
    "origin_not_allowed": (
        403,
        (
            "Web pages of this origin may not use this server: see server.cors_origins, or"
            " server.allowed_hosts if the page is the server's own under another name."
        ),
    ),
    "not_found": (404, "{problem}; see /schema for the addresses of this server."),
    "method_not_allowed": (405, "Method not allowed."),
    "request_too_slow": (408, "The request was not received within {limit_s:g} s."),
    "idle_timeout": (408, "Nothing was written or spoken for {limit_s:g} seconds."),
    "precondition_failed": (412, "The file does not meet the conditions of the request."),
    "request_too_large": (413, "The request body is too large."),
    "uri_too_long": (414, "The path and query of the request are too long."),
    "unsupported_media_type": (415, "{problem}"),
    "range_not_satisfiable": (416, "The range begins beyond the end of the file, or is empty."),
    "host_not_allowed": (
        421,
        (
            "This server does not answer to the host name {name!r}. If it is one of its names,"
            " add it to server.allowed_hosts (SOPRANO_SERVER__ALLOWED_HOSTS)."
        ),
    ),
    "upgrade_required": (426, "The only protocol to upgrade to is WebSocket, version 13."),
    "headers_too_large": (431, "The headers of the request are too large."),
    "too_many_connections": (503, "Too many connections are open; try again shortly."),
    "too_many_unfinished_bodies": (
        503,
        "Too many request bodies are being received; try again shortly.",
    ),
    "http_version_not_supported": (505, "This server supports HTTP/1.1 and HTTP/1.0."),
}

RETRYABLE: Final = {408, 503}

# Those after which the connection can be used on.
_KEEP_CONNECTION: Final = {
    "bad_request", "invalid_request_timeout", "too_many_utterances", "origin_not_allowed",
    "not_found", "method_not_allowed", "precondition_failed", "request_too_large",
    "unsupported_media_type", "range_not_satisfiable", "host_not_allowed",
}  # fmt: skip

# Those that the framework finds, by status.
FRAMEWORK_ERRORS: Final = {
    400: "bad_request",
    404: "not_found",
    405: "method_not_allowed",
    413: "request_too_large",
    415: "unsupported_media_type",
}


class HttpError(SpeechError):
    """One of `HTTP_ERRORS`; `values` are those of the fields in its message."""

    def __init__(
        self, code: str, headers: Mapping[str, str] = MappingProxyType({}), **values: object
    ) -> None:
        self.status, message = HTTP_ERRORS[code]
        super().__init__(message.format(**values))
        self.code = code
        self.headers = headers  # of the answer
        self.is_retryable = self.status in RETRYABLE
        if self.status == HTTPStatus.SERVICE_UNAVAILABLE:
            self.retry_after_s = 1.0


_STATUS: Final[dict[type[SpeechError], int]] = {
    errors.InvalidRequestError: 400,
    errors.InvalidApiKeyError: 401,
    errors.ModelNotFoundError: 404,
    errors.StoredAudioNotFoundError: 404,
    errors.RateLimitError: 429,
    SpeechError: 500,
    errors.EngineBusyError: 503,
    errors.EngineUnavailableError: 503,
    errors.InstanceDeadError: 503,
    errors.ReplicaLostError: 503,
    errors.ModelLoadError: 503,
    errors.ModelLoadingError: 503,
    errors.QueueTimeoutError: 503,
    errors.ServerDrainingError: 503,
    errors.ServerOverloadedError: 503,
    errors.StoreError: 503,
    errors.RequestTimeoutError: 504,
    errors.SpeechTimeoutError: 504,
    errors.StoreFullError: 507,
}

ERROR_CODE: Final = "error_code"  # of the answer to a request, in the state of its scope
NOT_JSON: Final = "The body must be JSON: send content-type application/json."

_SECURITY_HEADERS: Final = [
    (name.encode(), value.encode()) for name, value in schemas.SECURITY_HEADERS.items()
]

_log = structlog.get_logger(__name__)


class ClientDisconnectedError(Exception):
    """The client left before it had its answer."""


def status_of(error: SpeechError) -> int:
    """The status of the answer to a request that failed with `error`."""
    if isinstance(error, HttpError):
        return error.status
    return next(_STATUS[cls] for cls in type(error).__mro__ if cls in _STATUS)


def kind_of(status: int) -> str:
    """OpenAI's type of error."""
    if status == HTTPStatus.TOO_MANY_REQUESTS:
        return "rate_limit_error"
    is_ours = status >= 500 and status != HTTPStatus.HTTP_VERSION_NOT_SUPPORTED  # noqa: PLR2004
    return SERVER_ERROR if is_ours else INVALID_REQUEST


def describe_speech_error(error: SpeechError) -> schemas.ErrorDetail:
    """A failure of the domain, as clients read it."""
    kind = kind_of(status_of(error))
    return schemas.ErrorDetail(message=str(error), type=kind, param=error.param, code=error.code)


def _headers(error: SpeechError) -> dict[str, str]:
    headers = {} if error.is_retryable else {"x-should-retry": "false"}
    retry_after_s = getattr(error, "retry_after_s", None)
    if retry_after_s is not None:
        headers["retry-after"] = str(max(1, math.ceil(retry_after_s)))
        headers["retry-after-ms"] = str(max(1, math.ceil(retry_after_s * 1000)))
    if isinstance(error, errors.InvalidApiKeyError):
        headers["www-authenticate"] = "Bearer"
    if isinstance(error, errors.ServerDrainingError):
        headers |= {"x-should-retry": "true", "connection": "close"}
    if error.code == "upgrade_required":
        headers |= {"upgrade": "websocket", "sec-websocket-version": "13"}
    if isinstance(error, HttpError):
        headers |= error.headers
        if error.code not in _KEEP_CONNECTION:
            headers["connection"] = "close"
    return headers


def handle_speech_error(request: AnyRequest, error: SpeechError) -> Response[schemas.ErrorBody]:
    """A failure of the domain."""
    return _response(request, status_of(error), describe_speech_error(error), _headers(error))


def handle_http_exception(request: AnyRequest, error: HTTPException) -> Response[schemas.ErrorBody]:
    """A failure that the framework found."""
    # What the framework says, as an internal error, of a client that left while sending its body.
    if error.detail == "client disconnected prematurely":
        return handle_disconnect(request, error)
    code = FRAMEWORK_ERRORS.get(error.status_code)
    if code is None:
        return handle_bug(request, error)
    problem = "Not found" if code == "not_found" else error.detail
    return handle_speech_error(request, HttpError(code, error.headers or {}, problem=problem))


def handle_validation(
    request: AnyRequest, error: ValidationException
) -> Response[schemas.ErrorBody]:
    """A query that is not as described, or no body at all: our decoder is not asked then."""
    faults = [fault for fault in error.extra or () if isinstance(fault, dict)]
    fault = next((fault for fault in faults if fault.get("source") == "query"), None)
    if fault is None:
        found = errors.InvalidRequestError("The body is empty: send JSON.", code="invalid_json")
    else:
        message = f"Invalid '{fault['key']}': {fault['message']}."
        found = errors.InvalidRequestError(message, code="invalid_value", param=fault["key"])
    return handle_speech_error(request, found)


def handle_disconnect(_: AnyRequest, __: Exception) -> Response[Any]:
    """Nobody is there to read an answer; the status is for the log."""
    return Response(None, status_code=CLIENT_CLOSED_REQUEST)


def handle_bug(request: AnyRequest, error: Exception) -> Response[schemas.ErrorBody]:
    """An unexpected failure: the log has the details, the client has the request id."""
    _log.error("http.failed", exc_info=error)
    return _response(request, 500, INTERNAL_ERROR, {"x-should-retry": "false"})


def _response(
    request: AnyRequest, status: int, detail: schemas.ErrorDetail, headers: dict[str, str]
) -> Response[schemas.ErrorBody]:
    request.scope["state"][ERROR_CODE] = detail.code
    body, media_type = schemas.ErrorBody(detail), MediaType.JSON
    return Response(body, status_code=status, headers=headers, media_type=media_type)


EXCEPTION_HANDLERS: Final[ExceptionHandlersMap] = {
    SpeechError: handle_speech_error,
    ValidationException: handle_validation,
    HTTPException: handle_http_exception,
    ClientDisconnectedError: handle_disconnect,
    Exception: handle_bug,
}


_CHOICES: Final = {
    field.encode_name: choices
    for field in msgspec.structs.fields(schemas.CreateSpeech)
    if (choices := schemas.choices_of(field.type))
}
_PATH = re.compile(r" - at (?:`key` in )?`\$\.?(\w*)[^`]*`$")


def describe_decode_error(error: Exception, subject: str = "body") -> errors.InvalidRequestError:
    """What a client did wrong in the JSON of its `subject`, from msgspec's words."""
    if not isinstance(error, msgspec.ValidationError):
        fault = f"is not valid JSON ({error}); unpaired surrogates are rejected too"
        if isinstance(error, RecursionError):
            fault = "is nested too deeply"
        elif isinstance(error, UnicodeDecodeError):
            fault = "is not UTF-8"
        return errors.InvalidRequestError(f"The {subject} {fault}.", code="invalid_json")
    text = str(error)
    path = _PATH.search(text)
    param = (path[1] or None) if path else None
    words = _PATH.sub("", text)
    code, message = "invalid_value", f"{words}."
    if missing := re.search(r"missing required field `(\w+)`", text):
        code, param = "missing_required_parameter", param or missing[1]
    elif param:
        is_known = param in _CHOICES and words.startswith("Invalid enum")
        known = f"; known are {', '.join(_CHOICES[param])}" if is_known else ""
        message = f"Invalid '{param}': {words}{known}."
    return errors.InvalidRequestError(message, code=code, param=param)


# ASGI extension by which a handshake can be rejected with an answer of our own.
EXTENSION: Final = "websocket.http.response"

# Close code (RFC 6455, section 7.4.1); before the socket is accepted, servers answer 403 instead.
POLICY_VIOLATION: Final = 1008


async def send_error(scope: Scope, send: Send, error: SpeechError) -> None:
    """Answer with `error` where no handler of the framework would see it."""
    scope["state"][ERROR_CODE] = error.code
    is_http = scope["type"] == ScopeType.HTTP
    if not is_http and EXTENSION not in (scope.get("extensions") or {}):
        await send({"type": "websocket.close", "code": POLICY_VIOLATION, "reason": error.code})
        return
    kind = "http.response" if is_http else EXTENSION
    status, headers, body = _encode(error)
    start = {"type": f"{kind}.start", "status": status, "headers": headers}
    # The framework's types do not know the extension.
    await send(start)  # type: ignore[arg-type]
    await send({"type": f"{kind}.body", "body": body})  # type: ignore[arg-type]


def encode_answer(
    error: SpeechError, *more_headers: tuple[bytes, bytes], is_head: bool = False
) -> bytes:
    """The answer as it is sent on a connection; to a HEAD without its body."""
    status, headers, body = _encode(error)
    start = f"HTTP/1.1 {status} {HTTPStatus(status).phrase}".encode()
    lines = map(b": ".join, [*headers, *more_headers])
    return b"\r\n".join([start, *lines, b"", b"" if is_head else body])


def _encode(error: SpeechError) -> tuple[int, list[tuple[bytes, bytes]], bytes]:
    """Status, headers and body; without a response of the framework, which takes longer."""
    body = msgspec.json.encode(schemas.ErrorBody(describe_speech_error(error)))
    sent = {"content-type": "application/json", "content-length": str(len(body))}
    pairs = [(name.encode(), value.encode()) for name, value in (_headers(error) | sent).items()]
    return status_of(error), [*_SECURITY_HEADERS, *pairs], body
