"""The speech socket: text in while it is being written, audio out while it is being spoken."""

from typing import Any, Final

from litestar import WebSocket, websocket
from litestar.di import NamedDependency

from app.domain.services.lifecycle import Intake
from app.domain.services.speech import SpeechService
from app.entrypoints.http.authentication import LIMITED, grant_in, protocol_to_accept
from app.entrypoints.http.live_session import LiveLimits, LiveSession
from app.ports.clock import Clock

LIVE_PATH: Final = "/v1/audio/speech/stream"


@websocket(LIVE_PATH, opt=LIMITED)
async def live_speech(
    socket: WebSocket[Any, Any, Any],
    speech: NamedDependency[SpeechService],
    clock: NamedDependency[Clock],
    live_limits: NamedDependency[LiveLimits],
    intake: NamedDependency[Intake],
) -> None:
    """Accept, and serve until the client leaves."""
    await socket.accept(protocol_to_accept(socket.scope["subprotocols"]))
    grant = grant_in(socket.scope)
    await LiveSession(socket, speech, clock, live_limits, intake, grant).run()
