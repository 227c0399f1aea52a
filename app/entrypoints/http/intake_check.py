"""No new speech while the server is about to end. Health, metrics and files still answer."""

from litestar.enums import ScopeType
from litestar.middleware import ASGIMiddleware
from litestar.types import ASGIApp, Receive, Scope, Send

from app.domain.errors import ServerDrainingError
from app.domain.services.intake import Intake
from app.entrypoints.http.authentication import LIMITED
from app.entrypoints.http.refusal import refuse


class IntakeCheck(ASGIMiddleware):
    """Refuses requests and sockets for speech once the server drains.

    Args:
        intake: knows whether it does.
    """

    scopes = (ScopeType.HTTP, ScopeType.WEBSOCKET)

    def __init__(self, intake: Intake) -> None:
        self._intake = intake

    async def handle(self, scope: Scope, receive: Receive, send: Send, next_app: ASGIApp) -> None:
        """Refuse a request before its body is read, or run it."""
        is_speech = LIMITED.items() <= scope["route_handler"].opt.items()
        if is_speech and self._intake.is_draining:
            await refuse(scope, send, ServerDrainingError())
        else:
            await next_app(scope, receive, send)
