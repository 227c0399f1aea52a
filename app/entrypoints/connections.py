"""What the connections of all protocols have in common: their limits, and how they are kept."""

import asyncio
import ssl
import weakref
from collections.abc import Callable
from functools import partial
from typing import Any, Final

import msgspec
from uvicorn.server import ServerState

MAX_REJECTED: Final = 16  # connections beyond the limit that are told so; others are closed at once

# Time that a client has to begin the request that is rejected, or to take the reason why its answer
# or its socket is cut, before its connection is closed.
FAREWELL_S: Final = 1.0

# 2,000 connections that each sent 250 kB of a body and stopped took 0.5 to 1.4 GB without a limit.
# This has room for 256 bodies of 256 KiB that come slowly; what comes at once is not counted. With
# less, long texts from slow networks are rejected earlier.
MAX_UNFINISHED_BYTES: Final = 64 * 1024 * 1024


class Quota(msgspec.Struct):
    """A limit that several holders share, of bytes or characters."""

    limit: int
    used: int = 0


class QuotaShare:
    """The part of one holder, who resizes it to 0 in the end."""

    def __init__(self, quota: Quota) -> None:
        self._quota = quota
        self.used = 0

    def resize(self, used: int) -> bool:
        """Hold `used`, or return False if the quota has less left; shrinking always works."""
        change = used - self.used
        if change > 0 and self._quota.used + change > self._quota.limit:
            return False
        self.used = used
        self._quota.used += change
        return True


class ConnectionLimits(msgspec.Struct, frozen=True):
    """Limits on the connections of a server."""

    header_timeout_s: float  # in which the head of a request, or an event, must have come
    write_stall_s: float  # for which a client may take nothing of what waits for it
    max_connections: int  # that are open at the same time
    idle_s: float  # for which nothing may come or be sent where several requests share one
    # bytes of all request bodies and WebSocket messages that have come in part
    unfinished: Quota = msgspec.field(default_factory=lambda: Quota(MAX_UNFINISHED_BYTES))


class WriteWatch:
    """Notices that what waits to be sent does not become less for `limit_s` seconds."""

    def __init__(self, limit_s: float) -> None:
        self.limit_s = limit_s
        self._num_waiting = 0
        self._taken_at = 0.0

    def is_stalled(self, num_waiting: int, now: float) -> bool:
        """Whether nothing of the bytes that wait was taken for too long; asked again and again."""
        if self._num_waiting == 0 or num_waiting < self._num_waiting:
            self._taken_at = now
        self._num_waiting = num_waiting
        return num_waiting > 0 and now - self._taken_at >= self.limit_s

    def note_progress(self) -> None:
        """Something was taken, even if more has come to wait since."""
        self._num_waiting = 0


def close_only_once(transport: asyncio.Transport) -> None:
    """Let further calls of `close` do nothing.

    Over TLS asyncio forgets its connection at the second one, and then fails at whatever is asked
    of it: how much waits to be sent, and to abort.
    """
    known = weakref.ref(transport)  # or it would hold itself, and its buffers, beyond its end

    def close_once() -> None:
        if (transport := known()) and not transport.is_closing():
            type(transport).close(transport)

    transport.close = close_once  # type: ignore[method-assign]


def abort(transport: asyncio.Transport) -> None:
    """Close it at once. asyncio fails if it is closed already and bytes waited when that began."""
    connection = transport.get_extra_info("socket")
    if connection is None or connection.fileno() >= 0:
        transport.abort()


class TlsHandshake(asyncio.Protocol):
    """A connection until TLS is agreed on: counted with the others, and ended in time.

    `make_protocol` makes that of what is spoken then, from `server_state` and `arguments`. asyncio
    would make it when the handshake is over, so that one which never ends would count nowhere.
    """

    is_busy = False  # nothing is lost when it ends

    def __init__(
        self,
        context: ssl.SSLContext,
        limits: ConnectionLimits,
        make_protocol: Callable[..., Any],
        server_state: ServerState,
        **arguments: Any,
    ) -> None:
        self._context = context
        self._limits = limits
        self._make_protocol = partial(make_protocol, server_state=server_state, **arguments)
        self._connections: set[Any] = server_state.connections
        self._early = b""  # what is decrypted before the protocol is there

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Begin, unless there are so many that nobody is told of the limit any more."""
        self.transport = transport
        transport.pause_reading()  # until TLS reads
        if len(self._connections) >= self._limits.max_connections + MAX_REJECTED:
            abort(transport)
            return
        self._connections.add(self)
        self._task = asyncio.create_task(self._agree())

    async def _agree(self) -> None:
        try:
            transport: Any = await asyncio.get_running_loop().start_tls(
                self.transport,
                self,
                self._context,
                server_side=True,
                ssl_handshake_timeout=self._limits.header_timeout_s,
            )
        except OSError as error:  # which the client has caused, or the time
            error.__traceback__ = None  # asyncio would keep it, and with it the connection
            return
        finally:
            self._connections.discard(self)
        if transport is None:  # it was lost just now
            return
        protocol = self._make_protocol()
        transport.set_protocol(protocol)
        protocol.connection_made(transport)
        if self._early and not transport.is_closing():
            protocol.data_received(self._early)

    def data_received(self, data: bytes) -> None:
        """Keep what comes in the same packet as the end of the handshake."""
        self._early += data

    def check(self, now: float) -> None:
        """Nothing: the handshake has its own limit."""

    def cut(self) -> None:
        """End it at once."""
        abort(self.transport)

    shutdown = cut
