"""No new speech while the server is about to end, or has too much to do already.

Health, metrics and files still answer. Turning away must be cheap, so it comes before the body.
What still runs when the time to end is over receives the error, as after a revoked key.
"""

from litestar.enums import ScopeType
from litestar.middleware import ASGIMiddleware
from litestar.types import ASGIApp, Receive, ReceiveMessage, Scope, Send

from app.domain.errors import ServerDrainingError, SpeechError
from app.domain.services.admission import Admission
from app.domain.services.intake import Intake
from app.entrypoints.http.authentication import LIMITED, key_name_in
from app.entrypoints.http.refusal import refuse
from app.entrypoints.http.tasks import first_of, running


class IntakeCheck(ASGIMiddleware):
    """Refuses requests and sockets for speech once the server drains, and requests with no place.

    Args:
        intake: knows whether it does.
        admission: knows whether there is a place for one more.
    """

    scopes = (ScopeType.HTTP, ScopeType.WEBSOCKET)

    def __init__(self, intake: Intake, admission: Admission) -> None:
        self._intake = intake
        self._admission = admission

    async def handle(self, scope: Scope, receive: Receive, send: Send, next_app: ASGIApp) -> None:
        """Refuse a request before its body is read, or run it."""
        is_speech = LIMITED.items() <= scope["route_handler"].opt.items()
        try:
            if is_speech:
                self._check(scope)
        except SpeechError as error:
            await refuse(scope, send, error)
        else:
            if scope["type"] == ScopeType.HTTP:  # who serves a socket looks at the intake itself
                receive = _until_over(receive, self._intake)
            await next_app(scope, receive, send)

    def _check(self, scope: Scope) -> None:
        self._intake.check()
        if scope["type"] == ScopeType.HTTP:  # a socket may have nothing to speak for long
            self._admission.check(key_name_in(scope))


def _until_over(receive: Receive, intake: Intake) -> Receive:
    """The same, but it raises ServerDrainingError once nothing may go on."""

    async def receive_or_raise() -> ReceiveMessage:
        async with running(receive(), intake.wait_until_over()) as (receiving, over):  # type: ignore[arg-type] # a coroutine
            await first_of(receiving, over)
            if not receiving.done():
                raise ServerDrainingError
            message: ReceiveMessage = receiving.result()
            return message

    return receive_or_raise
