"""No new speech while the server is about to end, or has too much to do already.

Health, metrics and files still answer. Turning away must be cheap, so it comes before the body.
"""

from litestar.enums import ScopeType
from litestar.middleware import ASGIMiddleware
from litestar.types import ASGIApp, Receive, Scope, Send

from app.domain.errors import SpeechError
from app.domain.services.admission import Admission
from app.domain.services.lifecycle import Intake
from app.entrypoints.http.authentication import LIMITED, key_name_in
from app.entrypoints.http.refusal import refuse


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
            await next_app(scope, receive, send)

    def _check(self, scope: Scope) -> None:
        self._intake.check()
        if scope["type"] == ScopeType.HTTP:  # a socket may have nothing to speak for long
            self._admission.check(key_name_in(scope))
