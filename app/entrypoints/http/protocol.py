"""HTTP and WebSocket connections as uvicorn serves them, within limits that it does not have.

`check` is called about every second for each connection: it is what makes the limits hold.
"""

import asyncio
import socket
import struct
import sys
import uuid
from contextlib import suppress
from typing import Any, Final, TypeAlias, cast

import h11
import structlog
from litestar.types import ASGIApp, Message, Receive, ReceiveMessage, Scope, Send
from uvicorn.protocols.http.h11_impl import H11Protocol, RequestResponseCycle
from uvicorn.protocols.utils import ClientDisconnected
from uvicorn.protocols.websockets.websockets_sansio_impl import WebSocketsSansIOProtocol
from websockets import exceptions
from websockets.frames import CloseCode, Frame
from websockets.http11 import Request

from app.domain.api_keys import TokenBucket
from app.domain.errors import ServerDrainingError, SpeechError
from app.entrypoints import connections
from app.entrypoints.http.errors import HttpError, encode_answer
from app.entrypoints.http.middleware import SWITCHING_PROTOCOLS
from app.entrypoints.http.overload import OverloadCheck, has_whole_body
from app.entrypoints.http.request_headers import HEAD, RequestReader

# Read from a connection before the others have their turn. A chunk of one byte or an empty frame
# takes some 10 us to parse: 7 ms for so many, and a second for the 256 KiB that asyncio reads.
MAX_READ_BYTES: Final = 4_096

# Of a body whose length is known, which is not parsed. What follows it may be: in 60 ms.
MAX_BODY_READ_BYTES: Final = 32_768

DROP_BYTES: Final = 262_144  # read at once and dropped, which costs next to nothing

# SO_LINGER (socket(7)): a close, by the system as well when the process is killed, discards what is
# not sent and sends RST, or does not.
RESET: Final = struct.pack("ii", 1, 0)
NO_RESET: Final = struct.pack("ii", 0, 0)

# Control frames and parts of messages, on one connection. Each takes some 10 us to parse.
SMALL_FRAME_BYTES: Final = 64
MAX_SMALL_FRAMES_PER_MINUTE: Final = 3_000

# Further requests that may wait on a connection for the answer to the one before.
MAX_PIPELINED_BYTES: Final = 65_536

NOT_READ: Final = (h11.MUST_CLOSE, h11.ERROR)  # the last request is complete, or broken

_log = structlog.get_logger(__name__)


class HttpProtocol(H11Protocol):
    """HTTP over h11, which bounds the size of a request's head; httptools does not."""

    def __init__(
        self,
        limits: connections.ConnectionLimits,
        overload: OverloadCheck,
        prefix: bytes,  # of paths, which is removed
        **arguments: Any,
    ) -> None:
        super().__init__(**arguments)
        self.conn: RequestReader = RequestReader(prefix)
        self._limits = limits
        self._unfinished = connections.QuotaShare(limits.unfinished)
        self._overload = overload
        self._writes = connections.WriteWatch(limits.write_stall_s)
        self._headers_due_at: float | None = None
        self._is_rejected = False
        self._is_discarding = False
        self._is_body_broken = False

    @property  # a method in a field would hold the connection, and its buffers, beyond its end
    def app(self) -> ASGIApp:
        """What uvicorn runs for a request."""
        return self._run

    @app.setter
    def app(self, application: ASGIApp) -> None:
        self._application = application

    @property
    def is_busy(self) -> bool:
        """Whether an answer is being made, or is not yet on its way."""
        return self._is_answering or self.transport.get_write_buffer_size() > 0

    @property
    def _is_answering(self) -> bool:
        cycle: RequestResponseCycle | None = self.cycle  # the type there forgets the beginning
        return cycle is not None and not (cycle.response_complete or cycle.disconnected)

    def check(self, now: float) -> None:
        """End the connection if its client takes too long to send a head, or to take an answer."""
        if _end_if_stalled(self.transport, self._writes, now):
            self._reset_old_client()
            return
        if self._headers_due_at is not None and now >= self._headers_due_at:
            self._headers_due_at = None
            if self._is_rejected:
                self._reject(HttpError("too_many_connections"))
            elif self._has_part_of_headers:
                self._reject(HttpError("request_too_slow", limit_s=self._limits.header_timeout_s))
            else:
                self.transport.close()

    @property
    def _has_part_of_headers(self) -> bool:
        return self.conn.their_state is h11.IDLE and bool(self.conn.trailing_data[0])

    def eof_received(self) -> None:
        """End an answer that is being made: a client that sends no more counts as one that left."""
        if self._is_answering:
            connections.abort(self.transport)

    def cut(self) -> None:
        """End an answer before its end; if nothing of it was sent, say that the server ends."""
        has_unsent = self.transport.get_write_buffer_size() > 0  # of the answer before
        if self._is_answering and not self.cycle.response_started and not has_unsent:
            self._reject_running(ServerDrainingError())
        elif self.is_busy:
            self._reset_old_client()
            connections.abort(self.transport)

    def _reject_running(self, error: SpeechError) -> None:
        """Reject a request that the application has, and which it may no longer answer."""
        self.cycle.disconnected = True  # uvicorn expects no answer then
        self._reject(error)

    @property
    def _is_old_client(self) -> bool:
        """Whether it speaks HTTP/1.0, where FIN ends a body that has no length."""
        return bool(self.scope) and self.scope["http_version"] == "1.0"

    def _set_linger(self, linger: bytes) -> None:
        connection = self.transport.get_extra_info("socket")
        if connection is not None and connection.family != socket.AF_UNIX:
            with suppress(OSError):  # the client has left, and the socket is closed
                connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)

    def _reset_old_client(self) -> None:
        """Close with RST to HTTP/1.0: after FIN what it has would seem whole."""
        if self._is_old_client:
            self._set_linger(RESET)
            connections.abort(self.transport)

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Accept a new connection, or reject it when its request begins: a HEAD gets no body."""
        connections.close_only_once(transport)
        super().connection_made(transport)
        transport.max_size = MAX_READ_BYTES  # type: ignore[attr-defined] # of asyncio's own
        self._headers_due_at = self.loop.time() + self._limits.header_timeout_s
        num_beyond = len(self.connections) - self._limits.max_connections
        if num_beyond > connections.MAX_REJECTED:
            connections.abort(transport)
        elif num_beyond > 0:
            self._is_rejected = True
            self._headers_due_at = self.loop.time() + connections.FAREWELL_S

    def data_received(self, data: bytes) -> None:
        """Take what the client sends; its next head begins with the first byte after an answer."""
        if self._is_rejected:
            self.conn.is_head = data.startswith(HEAD)
            self._reject(HttpError("too_many_connections"))
            return
        if self.conn.their_state in NOT_READ or self._is_discarding:
            return
        if not self._is_answering:
            is_new = self.conn.their_state is h11.IDLE and not self.conn.trailing_data[0]
            rejection = None
            if is_new:
                rejection = self._overload.answer(data, *self.server_state.default_headers)
            if rejection is not None:
                self.transport.write(rejection)
                if has_whole_body(data):
                    self.transport.close()
                else:
                    self._discard()
                return
            self._expect_headers()
        elif self.conn.their_state is h11.DONE and self._num_waiting(data) > MAX_PIPELINED_BYTES:
            connections.abort(self.transport)
            return
        super().data_received(data)

    def _num_waiting(self, data: bytes) -> int:
        """Bytes behind the request that is answered, with those that have just come."""
        return len(self.conn.trailing_data[0]) + len(data)

    def _discard(self) -> None:
        """Read on and drop it: to close now would reset the connection while the client sends."""
        if self.transport.can_write_eof():  # not over TLS
            self.transport.write_eof()
        self.transport.max_size = DROP_BYTES  # type: ignore[attr-defined] # of asyncio's own
        self._is_discarding = True
        self._headers_due_at = self.loop.time() + connections.FAREWELL_S

    def handle_events(self) -> None:
        """Handle what has been read, maybe while the answer before was being made."""
        super().handle_events()
        if self.conn.their_state is h11.DONE:
            # More has come than the request that is answered. uvicorn would read no further, and
            # never see that the client leaves.
            self.flow.resume_reading()
        is_plain_body = self.conn.their_state is h11.SEND_BODY and self.conn.has_length
        self.transport.max_size = MAX_BODY_READ_BYTES if is_plain_body else MAX_READ_BYTES  # type: ignore[attr-defined]
        is_unfinished = self._is_answering and self.cycle.more_body
        if not self._unfinished.resize(self.conn.num_body_bytes if is_unfinished else 0):
            self._unfinished.resize(0)
            if self.cycle.response_started:  # before its body has come, which nobody waits for
                connections.abort(self.transport)
            else:
                self.cycle.disconnected = True
                self.cycle.message_event.set()
                self._answer(HttpError("too_many_unfinished_bodies"))
                self._discard()
        if self._is_answering:
            self._headers_due_at = None
        elif self._has_part_of_headers:
            self._expect_headers()

    def on_response_complete(self) -> None:
        """Go on to the next request; the rest of a body that was not read is dropped."""
        self._unfinished.resize(0)
        super().on_response_complete()

    def connection_lost(self, exc: Exception | None) -> None:
        """Forget what has come of an unfinished body."""
        self._unfinished.resize(0)
        super().connection_lost(exc)
        self._unset_keepalive_if_required()  # which would hold a broken connection until its time

    def _expect_headers(self) -> None:
        if self._headers_due_at is None:
            self._headers_due_at = self.loop.time() + self._limits.header_timeout_s

    def resume_writing(self) -> None:
        """The client takes its answer again."""
        self._writes.note_progress()
        super().resume_writing()

    def send_400_response(self, msg: str) -> None:
        """Reject headers or a body that cannot be parsed; called while the error is handled."""
        if self._is_answering:
            self._is_body_broken = True
            self.cycle.message_event.set()
        elif self.conn.our_state is h11.IDLE:
            self._reject(getattr(sys.exception(), "error", HttpError("invalid_http")))
        else:  # the body of a request that was answered without it
            self.transport.close()

    async def _run(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Run the application; a broken body is raised where it is read, or rejected before."""

        def check_body() -> None:
            if self._is_body_broken and not self.cycle.response_started:
                raise HttpError("invalid_http")

        async def receive_unbroken() -> ReceiveMessage:
            check_body()
            message = await receive()
            check_body()
            return message

        if self._is_body_broken:
            self._reject_running(HttpError("invalid_http"))
            return
        try:
            await self._application(scope, receive_unbroken, self._resetting(send))
        finally:
            if self.cycle.response_started and not self.cycle.response_complete:
                self._writes.limit_s = connections.FAREWELL_S  # for what is left of it
                self._reset_old_client()

    def _resetting(self, send: Send) -> Send:
        """The same; with an old client, a process that is killed in between resets the answer."""

        async def send_and_set(message: Message) -> None:
            if message["type"] == "http.response.start":
                self._set_linger(RESET)
            await send(message)
            if message["type"] == "http.response.body" and not message.get("more_body"):
                self._set_linger(NO_RESET)

        return send_and_set if self._is_old_client else send

    def _reject(self, error: SpeechError) -> None:
        self._answer(error)
        self.transport.close()

    def _answer(self, error: SpeechError) -> None:
        _answer(self.transport, error, self.server_state.default_headers, is_head=self.conn.is_head)

    def handle_websocket_upgrade(self, event: h11.Request) -> None:
        """Hand the connection over, with the frames that came in the same packet.

        What is behind a handshake that was rejected is no frame.
        """
        early = self.conn.trailing_data[0]
        super().handle_websocket_upgrade(event)
        if early and not self.transport.is_closing():
            cast("SocketProtocol", self.transport.get_protocol()).data_received(early)

    def _should_upgrade(self) -> bool:
        # Only GET of HTTP/1.1 can ask for a WebSocket (RFC 6455, section 4.1); else it is ignored.
        may_upgrade = self.scope["method"] == "GET" and self.scope["http_version"] == "1.1"
        return may_upgrade and self._get_upgrade() == b"websocket"


class SocketProtocol(WebSocketsSansIOProtocol):
    """A WebSocket; it stops reading from a client whose messages are not taken."""

    def __init__(self, limits: connections.ConnectionLimits, **arguments: Any) -> None:
        super().__init__(**arguments)
        self._unfinished = connections.QuotaShare(limits.unfinished)
        self._num_cont_bytes = 0
        self._early = b""
        self._writes = connections.WriteWatch(limits.write_stall_s)
        self._small_frames = TokenBucket(MAX_SMALL_FRAMES_PER_MINUTE, self.loop.time())
        self._num_frames = 0
        self._last_pong = b""

    @property
    def is_busy(self) -> bool:
        """Whether its closing has not begun, or is not yet on its way."""
        return not self.close_sent or self.transport.get_write_buffer_size() > 0

    def check(self, now: float) -> None:
        """End the connection if its client takes nothing of what is sent."""
        _end_if_stalled(self.transport, self._writes, now)

    def cut(self) -> None:
        """Drop what a client has not taken; who serves the socket says why, and closes it."""
        if self.close_sent:
            connections.abort(self.transport)

    def eof_received(self) -> None:
        """A half-closed connection counts as a disconnect: nothing waits for its reader."""
        if not self.close_sent:
            connections.abort(self.transport)

    def handle_close(self, event: Frame) -> None:
        """Take a close frame; of a client that takes nothing, what is sent must not wait for it."""
        if self.writable.is_set():
            super().handle_close(event)
        else:
            connections.abort(self.transport)

    async def run_asgi(self) -> None:
        """Serve; a client that did not take what it was told at the end is left."""
        await super().run_asgi()
        if not self.close_sent:
            connections.abort(self.transport)

    def resume_writing(self) -> None:
        """The client takes what is sent again."""
        self._writes.note_progress()
        pong, self._last_pong = self._last_pong, b""
        self.transport.write(pong)
        super().resume_writing()

    def handle_cont(self, event: Frame) -> None:
        """Take a part of a message."""
        self._num_frames += 1
        self._num_cont_bytes += len(event.data)
        super().handle_cont(event)

    def handle_pong(self, event: Frame) -> None:
        """Take the answer to a ping, or what nobody has asked for."""
        self._num_frames += 1
        super().handle_pong(event)

    def handle_ping(self) -> None:
        """Answer it; while the client takes nothing, only the last one (RFC 6455, section 5.5.3).

        Answers that nobody reads would fill the memory.
        """
        self._num_frames += 1
        if self.writable.is_set():
            super().handle_ping()
        else:
            self._last_pong = b"".join(self.conn.data_to_send())

    def send_receive_event_to_app(self) -> None:
        """Queue a message; text that is not UTF-8 closes the connection (RFC 6455, section 8.1)."""
        # uvicorn logs that as an error, and raises if the client has sent its close frame already.
        self._num_cont_bytes = 0
        try:
            if self.curr_msg_data_type == "text" and not self.close_sent:
                b"".join(self.frames).decode()
        except UnicodeDecodeError:
            self.frames = []
            self.conn.fail(CloseCode.INVALID_DATA)
            self.handle_parser_exception()
        else:
            super().send_receive_event_to_app()

    async def send(self, message: Any) -> None:
        """Send for the application; raises OSError once the connection is closed, as ASGI has it.

        uvicorn takes what comes after its parser has closed the connection for a mistake of the
        application, which cannot know of it yet.
        """
        if self.handshake_complete and self.close_sent:
            raise ClientDisconnected
        if (
            message["type"] == "websocket.close"
            and message.get("code") == CloseCode.POLICY_VIOLATION
        ):
            # for whom the key was taken away
            self.loop.call_later(connections.FAREWELL_S, connections.abort, self.transport)
        await super().send(message)
        if self._early and self.handshake_complete:
            early, self._early = self._early, b""
            if not self.close_sent:
                self.transport.resume_reading()
                self.data_received(early)

    def connection_lost(self, exc: Exception | None) -> None:
        """Forget what has come of an unfinished message."""
        self._unfinished.resize(0)
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        """Parse a handshake, and frames once it is answered.

        A client must not send frames before (RFC 6455, section 4.1). Some do; they wait.
        """
        if self.handshake_initiated and not self.handshake_complete:
            self._early += data
            self.transport.pause_reading()
            return
        self._num_frames = 0
        super().data_received(data)
        now = self.loop.time()
        num_small = max(0, self._num_frames - len(data) // SMALL_FRAME_BYTES)
        is_flooded = any(self._small_frames.take(now) > 0 for _ in range(num_small))
        if is_flooded and not self.close_sent:
            self.conn.fail(CloseCode.POLICY_VIOLATION, "too many small frames")
            self.handle_parser_exception()
        num_held = len(self.frames[0]) + self._num_cont_bytes if self.frames else 0
        has_room = self._unfinished.resize(num_held + len(self.conn.reader.buffer))
        if not has_room and not self.close_sent:
            self.frames = []
            code, reason = CloseCode.TRY_AGAIN_LATER, "too_many_unfinished_bodies"
            self.queue.put_nowait({"type": "websocket.disconnect", "code": code, "reason": reason})
            self.conn.fail(code, reason)
            self.transport.write(b"".join(self.conn.data_to_send()))
            self.close_sent = True
            # As `HttpProtocol._discard`.
            self.transport.max_size = DROP_BYTES  # type: ignore[attr-defined] # of asyncio's own
            self.close_timer = self.loop.call_later(connections.FAREWELL_S, self.transport.close)
        if not self.handshake_initiated:
            self.handshake_complete = self.close_sent = True
            error = describe_handshake_error(self.conn.handshake_exc)
            _answer(self.transport, error, self.default_headers)
            self.transport.close()

    def handle_connect(self, event: Request) -> None:
        """Run the application if the handshake is valid."""
        if self.conn.accept(event).status_code == SWITCHING_PROTOCOLS:
            super().handle_connect(event)


def describe_handshake_error(error: Exception | None) -> SpeechError:
    """What a client is told of a handshake that the library `websockets` refuses with `error`."""
    if isinstance(error, exceptions.RequestLineTooLong):
        return HttpError("uri_too_long")
    if isinstance(error, exceptions.HeaderLineTooLong):
        return HttpError("headers_too_large")
    name = error.name if isinstance(error, exceptions.InvalidHeader) else None
    is_other_version = (
        isinstance(error, exceptions.InvalidHeaderValue) and name == "Sec-WebSocket-Version"
    )
    if isinstance(error, exceptions.InvalidUpgrade) or is_other_version:
        return HttpError("upgrade_required")
    return HttpError("invalid_handshake", hint=f": check the header {name}" if name else "")


def _answer(
    transport: asyncio.Transport,
    error: SpeechError,
    more_headers: list[tuple[bytes, bytes]],
    *,
    is_head: bool = False,
) -> None:
    """Answer in place of the application; the connection is of no more use."""
    request_id = uuid.uuid4().hex
    _log.info("http.refused", error=error.code, request_id=request_id)
    headers = *more_headers, (b"x-request-id", request_id.encode())
    transport.write(encode_answer(error, *headers, is_head=is_head))


def _end_if_stalled(
    transport: asyncio.Transport, writes: connections.WriteWatch, now: float
) -> bool:
    """Whether the connection was ended just now, because its client takes nothing."""
    is_stalled = writes.is_stalled(transport.get_write_buffer_size(), now)
    if is_stalled:
        _log.info("connection.stalled", limit_s=writes.limit_s)
        connections.abort(transport)
    return is_stalled


Connection: TypeAlias = HttpProtocol | SocketProtocol
