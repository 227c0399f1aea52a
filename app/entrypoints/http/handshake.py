"""Errors of WebSocket handshakes."""

from websockets.exceptions import (
    HeaderLineTooLong,
    InvalidHeader,
    InvalidHeaderValue,
    InvalidUpgrade,
    RequestLineTooLong,
)

from app.domain.errors import SpeechError
from app.entrypoints.http.errors import (
    BrokenHandshakeError,
    HeadTooLargeError,
    TargetTooLongError,
    UpgradeRequiredError,
)


def describe_handshake_error(error: Exception | None) -> SpeechError:
    """What a client is told of a handshake that the library `websockets` refuses with `error`."""
    if isinstance(error, RequestLineTooLong):
        return TargetTooLongError()
    if isinstance(error, HeaderLineTooLong):
        return HeadTooLargeError()
    if isinstance(error, InvalidUpgrade):
        return UpgradeRequiredError()
    name = error.name if isinstance(error, InvalidHeader) else None
    if isinstance(error, InvalidHeaderValue) and name == "Sec-WebSocket-Version":
        return UpgradeRequiredError()
    return BrokenHandshakeError(name)
