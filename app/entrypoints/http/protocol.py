"""HTTP and WebSocket connections as uvicorn serves them, within limits that it does not have.

`check` is called about every second for each connection: it is what makes the limits hold.
"""

import asyncio
import sys
import uuid
from http import HTTPStatus
from typing import Any, Final, TypeAlias

import h11
import structlog
from uvicorn.protocols.http.h11_impl import H11Protocol, RequestResponseCycle
from uvicorn.protocols.websockets.websockets_sansio_impl import WebSocketsSansIOProtocol

from app.domain.errors import SpeechError
from app.entrypoints.http.connection_limits import ConnectionLimits, WriteWatch
from app.entrypoints.http.errors import (
    BrokenHttpError,
    HeadTooLargeError,
    LateRequestError,
    TooManyConnectionsError,
)
from app.entrypoints.http.overload import OverloadCheck, has_whole_body, must_close
from app.entrypoints.http.refusal import encode_answer

MAX_REFUSED: Final = 16
"""Connections beyond the limit that are told so at the same time; others are closed at once."""

FAREWELL_S: Final = 1.0
"""Given to a refused client to send its request: an answer that crosses it may be lost."""

HEAD_TOO_LARGE: Final = 431
"""What h11 would answer to a head beyond its 16 KiB."""

_log = structlog.get_logger(__name__)


class HttpProtocol(H11Protocol):
    """HTTP over h11, which bounds the size of a request's head; httptools does not.

    Only GET can ask for a WebSocket (RFC 6455, section 4.1); of other requests the wish is ignored,
    as it is for any other protocol.

    Args:
        limits: on this and all other connections.
        arguments: uvicorn's own.
    """

    def __init__(
        self, limits: ConnectionLimits, overload: OverloadCheck | None = None, **arguments: Any
    ) -> None:
        super().__init__(**arguments)
        self._limits = limits
        self._overload = overload
        self._writes = WriteWatch(limits.write_stall_s)
        self._head_due_at: float | None = None
        self._is_refused = False
        self._is_discarding = False

    @property
    def is_busy(self) -> bool:
        """Whether an answer is being made, or is not yet on its way."""
        return self._is_answering or self.transport.get_write_buffer_size() > 0

    @property
    def _is_answering(self) -> bool:
        cycle: RequestResponseCycle | None = self.cycle  # the type there forgets the beginning
        return cycle is not None and not cycle.response_complete

    def check(self, now: float) -> None:
        """End the connection if its client takes too long to send a head, or to take an answer."""
        if _end_if_stalled(self.transport, self._writes, now):
            return
        if self._head_due_at is not None and now >= self._head_due_at:
            self._head_due_at = None
            if self._has_part_of_head:
                self._refuse(LateRequestError(self._limits.head_timeout_s))
            self.transport.close()

    @property
    def _has_part_of_head(self) -> bool:
        return self.conn.their_state is h11.IDLE and bool(self.conn.trailing_data[0])

    def cut(self) -> None:
        """End an answer amid its body; the rest of it, and the last chunk, are never sent."""
        if self.is_busy:
            self.transport.abort()

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Take a new connection, or refuse it."""
        super().connection_made(transport)
        self._head_due_at = self.loop.time() + self._limits.head_timeout_s
        num_beyond = len(self.connections) - self._limits.max_connections
        if num_beyond > MAX_REFUSED:
            transport.abort()
        elif num_beyond > 0:
            self._is_refused = True
            self._head_due_at = self.loop.time() + FAREWELL_S
            self._write_answer(TooManyConnectionsError())
            transport.write_eof()

    def data_received(self, data: bytes) -> None:
        """Take what the client sends; its next head begins with the first byte after an answer."""
        if self._is_refused:
            self.transport.close()
            return
        if self._is_discarding:
            return
        if not self._is_answering:
            if self._refuse_unread(data):
                return
            self._expect_head()
        super().data_received(data)

    def _refuse_unread(self, data: bytes) -> bool:
        """Whether `data` begins a request for speech that has no place, and was told so."""
        is_new = self.conn.their_state is h11.IDLE and not self.conn.trailing_data[0]
        answer = self._overload.answer(data) if is_new and self._overload is not None else None
        if answer is None:
            return False
        self.transport.write(answer)
        if not has_whole_body(data):
            # To close now would reset the connection while the client still sends.
            self.transport.write_eof()
            self._is_discarding = True
            self._head_due_at = self.loop.time() + FAREWELL_S
        elif must_close(data):
            self.transport.close()
        return True

    def handle_events(self) -> None:
        """Handle what has been read, maybe while the answer before was being made."""
        super().handle_events()
        if self._is_answering:
            self._head_due_at = None
        elif self._has_part_of_head:
            self._expect_head()

    def _expect_head(self) -> None:
        """From now on, unless it is expected already."""
        if self._head_due_at is None:
            self._head_due_at = self.loop.time() + self._limits.head_timeout_s

    def resume_writing(self) -> None:
        """The client takes its answer again."""
        self._writes.note_progress()
        super().resume_writing()

    def send_400_response(self, msg: str) -> None:
        """Answer what cannot be read, in the form of all our errors; called as it is raised."""
        status = getattr(sys.exception(), "error_status_hint", None)
        self._refuse(HeadTooLargeError() if status == HEAD_TOO_LARGE else BrokenHttpError())

    def _refuse(self, error: SpeechError) -> None:
        """Answer in place of the application, unless its own answer has begun; and close."""
        if self.conn.our_state in (h11.IDLE, h11.SEND_RESPONSE):
            request_id = uuid.uuid4().hex
            _log.info("http.refused", error=error.code, request_id=request_id)
            self._write_answer(error, (b"x-request-id", request_id.encode()))
            self.transport.close()
        else:
            self.transport.abort()

    def _write_answer(self, error: SpeechError, *more_headers: tuple[bytes, bytes]) -> None:
        answer = encode_answer(error)
        headers = [*answer.headers, *more_headers]
        reason = HTTPStatus(answer.status).phrase.encode()
        for event in (
            h11.Response(status_code=answer.status, headers=headers, reason=reason),
            h11.Data(data=answer.body),
            h11.EndOfMessage(),
        ):
            self.transport.write(self.conn.send(event) or b"")

    def _should_upgrade(self) -> bool:
        return self.scope["method"] == "GET" and super()._should_upgrade()


class SocketProtocol(WebSocketsSansIOProtocol):
    """A WebSocket; it stops reading from a client whose messages are not taken.

    Args:
        limits: on this and all other connections.
        arguments: uvicorn's own.
    """

    def __init__(self, limits: ConnectionLimits, **arguments: Any) -> None:
        super().__init__(**arguments)
        self._limits = limits
        self._writes = WriteWatch(limits.write_stall_s)
        self._last_pong = b""

    @property
    def is_busy(self) -> bool:
        """Whether its closing has not begun."""
        return not self.close_sent

    def check(self, now: float) -> None:
        """End the connection if its client takes nothing of what is sent."""
        _end_if_stalled(self.transport, self._writes, now)

    def cut(self) -> None:
        """Do nothing: who serves the socket says why, and closes it."""

    def resume_writing(self) -> None:
        """The client takes what is sent again."""
        self._writes.note_progress()
        pong, self._last_pong = self._last_pong, b""
        self.transport.write(pong)
        super().resume_writing()

    def handle_ping(self) -> None:
        """Answer it; while the client does not take what is sent, only the last one, afterwards.

        RFC 6455, section 5.5.3, allows that; answers that nobody reads would fill the memory.
        """
        if self.writable.is_set():
            super().handle_ping()
        else:
            self._last_pong = b"".join(self.conn.data_to_send())

    def handle_parser_exception(self) -> None:
        """End the connection; before its handshake is answered, nothing can be said on it."""
        if self.conn.close_sent is None:
            self.transport.abort()
        else:
            super().handle_parser_exception()


def _end_if_stalled(transport: asyncio.Transport, writes: WriteWatch, now: float) -> bool:
    """Whether the connection was ended just now, because its client takes nothing."""
    is_stalled = writes.is_stalled(transport.get_write_buffer_size(), now)
    if is_stalled:
        _log.info("connection.stalled", limit_s=writes.limit_s)
        transport.abort()
    return is_stalled


Connection: TypeAlias = HttpProtocol | SocketProtocol
