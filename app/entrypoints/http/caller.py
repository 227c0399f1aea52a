"""Who sends a request for speech, and how long that one waits."""

import math
from typing import Any, Final

from litestar import Request

from app.domain.admission import Caller
from app.domain.errors import InvalidRequestError
from app.entrypoints.http.owner import owner
from app.ports.clock import Clock

TIMEOUT_HEADER: Final = "x-request-timeout-seconds"
"""By which a client says that it waits for less time than it might."""


MIN_TIMEOUT_S: Final = 1.0
"""Less would only make the server begin what it cannot end."""


class InvalidTimeoutError(InvalidRequestError):
    """A time that is no number, or too short."""

    code = "invalid_request_timeout"

    def __init__(self) -> None:
        super().__init__(f"The header {TIMEOUT_HEADER} must be a number of seconds, at least 1.")


class Callers:
    """Recognizes callers.

    Args:
        clock: of deadlines.
        timeout_s: for which a request may wait for its answer.
    """

    def __init__(self, clock: Clock, timeout_s: float) -> None:
        self._clock = clock
        self._timeout_s = timeout_s

    def recognize(self, request: Request[Any, Any, Any]) -> Caller:
        """The one who sent `request`; raises InvalidTimeoutError."""
        timeout_s = min(self._timeout_s, _timeout_s(request.headers.getall(TIMEOUT_HEADER, [])))
        return Caller(owner(request), self._clock.monotonic() + timeout_s)


def _timeout_s(values: list[str]) -> float:
    try:
        times_s = [float(value) for value in values]
    except ValueError:
        raise InvalidTimeoutError from None
    if not all(time_s >= MIN_TIMEOUT_S for time_s in times_s):  # NaN is not, either
        raise InvalidTimeoutError
    return min(times_s, default=math.inf)
