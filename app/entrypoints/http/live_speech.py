"""The speech socket: text in while it is being written, audio out while it is being spoken."""

from typing import Any, Final

from litestar import WebSocket, websocket
from litestar.di import NamedDependency

from app.domain.admission import Caller
from app.domain.services.speech import SpeechService
from app.entrypoints.http.authentication import LIMITED, key_name, protocol_to_accept
from app.entrypoints.http.live_session import LiveLimits, LiveSession
from app.ports.clock import Clock

LIVE_PATH: Final = "/v1/audio/speech/stream"


@websocket(LIVE_PATH, opt=LIMITED)
async def live_speech(
    socket: WebSocket[Any, Any, Any],
    speech: NamedDependency[SpeechService],
    clock: NamedDependency[Clock],
    live_limits: NamedDependency[LiveLimits],
) -> None:
    """Accept, and serve until the client leaves."""
    await socket.accept(protocol_to_accept(socket.scope["subprotocols"]))
    caller = Caller(key_name(socket))
    await LiveSession(socket, speech, caller, clock, live_limits).run()
