"""The time in which the body of a request must have come."""

from litestar.enums import ScopeType
from litestar.middleware import ASGIMiddleware
from litestar.types import ASGIApp, HTTPReceiveMessage, Receive, Scope, Send

from app.domain.services.time_limit import within
from app.entrypoints.http.errors import LateRequestError
from app.ports.clock import Clock


class BodyTimeout(ASGIMiddleware):
    """Refuses a request whose body does not come in time.

    Args:
        clock: of the time.
        body_timeout_s: in which all of a body must have come.
    """

    scopes = (ScopeType.HTTP,)

    def __init__(self, clock: Clock, body_timeout_s: float) -> None:
        self._clock = clock
        self._body_timeout_s = body_timeout_s

    async def handle(self, scope: Scope, receive: Receive, send: Send, next_app: ASGIApp) -> None:
        """Run a request; reading its body raises LateRequestError once it is too late."""
        body = _TimedBody(receive, self._clock, self._body_timeout_s)
        await next_app(scope, body.receive, send)


class _TimedBody:
    def __init__(self, receive: Receive, clock: Clock, limit_s: float) -> None:
        self._receive = receive
        self._clock = clock
        self._limit_s = limit_s
        self._due_at = clock.monotonic() + limit_s
        self._is_whole = False

    async def receive(self) -> HTTPReceiveMessage:
        """The next message; those after the body may take as long as they like."""
        message = await (self._receive_one() if self._is_whole else self._in_time())
        self._is_whole = not message.get("more_body", False)
        return message

    async def _in_time(self) -> HTTPReceiveMessage:
        rest_s = max(0.0, self._due_at - self._clock.monotonic())
        try:
            return await within(self._clock, rest_s, self._receive_one())
        except TimeoutError:
            raise LateRequestError(self._limit_s) from None

    async def _receive_one(self) -> HTTPReceiveMessage:
        return await self._receive()  # type: ignore[return-value] # of a request, not of a socket
