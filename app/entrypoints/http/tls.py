"""TLS connections from their first byte on.

asyncio makes the protocol of a TLS connection when the handshake is over, so that one which never
ends would count nowhere and last for a minute.
"""

import asyncio
import ssl
from collections.abc import Callable
from functools import partial
from typing import Any

from uvicorn.server import ServerState

from app.entrypoints.connections import ConnectionLimits, abort
from app.entrypoints.http.protocol import MAX_REJECTED


class TlsHandshake(asyncio.Protocol):
    """A connection until TLS is agreed on: counted with the others, and ended in time.

    Args:
        context: certificate and rules of the server.
        limits: of all connections.
        make_protocol: of what is spoken then, from `server_state` and `arguments`.
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
                ssl_shutdown_timeout=self._limits.write_stall_s,
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
