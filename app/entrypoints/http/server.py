"""The server: uvicorn, with limits on its connections, and an end that lets answers finish.

After a stop signal it goes on to listen, so that a supervisor can see that it is not ready, and
refuses new speech, until the last answer is out or their time is over.
"""

import asyncio
import errno
import math
import socket
from contextlib import closing, suppress
from functools import partial
from pathlib import Path
from types import FrameType
from typing import Any, Final, cast

import structlog
import uvicorn

from app.entrypoints.connections import FAREWELL_S, ConnectionLimits, TlsHandshake, abort
from app.entrypoints.http.overload import OverloadCheck
from app.entrypoints.http.protocol import Connection, HttpProtocol, SocketProtocol
from app.entrypoints.services import Services
from app.entrypoints.settings import ServerSettings

TICKS_PER_CHECK: Final = 10  # of 0.1 s, between two looks at all connections
LAST_LINE_S: Final = 5  # after which uvicorn cancels what has not ended when its connection was cut

# What the system may hold of an answer for a client that does not read. By default it takes
# megabytes, and only when a third of them is free can be seen that the client reads at all.
MAX_UNSENT_BYTES: Final = 131_072

ANY_ADDRESS: Final = "::"  # of IPv6, and of IPv4 as well

LOOPBACK: Final = "127.0.0.1"

# For which a client may stop reading, as a player does that is paused. What waits for it takes
# little memory and no turn of the model.
SEND_TIMEOUT_S: Final = 300.0
UNIX_PREFIX: Final = "unix:"
UNIX_MODE: Final = 0o666  # who may connect is decided by the mode of its directory

NO_FILES: Final = (errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM)  # accept(2); they pass

_log = structlog.get_logger(__name__)


def unix_path(host: str) -> Path | None:
    """Of a Unix domain socket, if `host` names one."""
    path = host.removeprefix(UNIX_PREFIX)
    return None if path == host else Path(path)


async def open_sockets(host: str, port: int) -> list[socket.socket]:
    """Those for each address of `host`, bound; raises OSError, or UnicodeError for no name."""
    if path := unix_path(host):
        listener = socket.socket(socket.AF_UNIX)
        if path.is_socket() and listener.connect_ex(str(path)):
            path.unlink()  # of a server that was killed
        listener.close()
        listener = socket.socket(socket.AF_UNIX)
        listener.bind(str(path))
        listener.listen()  # so that nobody else takes it for one that was left
        path.chmod(UNIX_MODE)
        return [listener]
    if host == ANY_ADDRESS and socket.has_dualstack_ipv6():  # asyncio's own takes no IPv4 there
        address, family = (host, port), socket.AF_INET6
        return [socket.create_server(address, family=family, dualstack_ipv6=True)]
    loop = asyncio.get_running_loop()
    server = await loop.create_server(asyncio.Protocol, host, port, start_serving=False)
    with closing(server):
        return [socket.socket(fileno=socket.dup(each.fileno())) for each in server.sockets]


class SpeechServer(uvicorn.Server):
    """Serves the application of `create_app` over limited connections."""

    def __init__(self, app: Any, settings: ServerSettings) -> None:
        self._limits = limits = ConnectionLimits(
            settings.read_timeout_s,
            SEND_TIMEOUT_S,
            settings.max_connections,
            settings.socket_idle_s,
        )
        prefix = settings.root_path.encode()
        self._services: Services = app.state.services
        self._overload = OverloadCheck(
            self._services.access,
            self._services.admission,
            self._services.ports.requests,
            settings.root_path,
        )
        config = uvicorn.Config(
            app,
            http=cast("Any", partial(HttpProtocol, limits, self._overload, prefix)),
            ws=cast("Any", partial(SocketProtocol, limits)),
            ws_max_size=app.request_max_body_size,
            ws_per_message_deflate=False,  # sound does not shrink
            ws_ping_timeout=None,  # a pong may lie behind sound that a player has not taken yet
            host=settings.host,
            port=settings.port,
            ssl_certfile=settings.ssl_certfile or None,
            ssl_keyfile=settings.ssl_keyfile or None,
            loop="asyncio",  # of which a connection can be told how much to read at once
            log_config=None,
            access_log=False,
            server_header=False,
            proxy_headers=False,  # nothing looks at who a proxy speaks for
            timeout_keep_alive=settings.keep_alive_s,
            timeout_graceful_shutdown=LAST_LINE_S,
            lifespan="on",
        )
        super().__init__(config)
        self._settings = settings
        self._is_hurried = False
        self._ends_at = 0.0
        self._announced: Any = None
        self._unix_inode: int | None = None
        self.start_error: OSError | UnicodeError | None = None
        self._refused_files_at = -math.inf

    async def serve(self, sockets: list[socket.socket] | None = None) -> None:
        """Serve until a signal; `start_error` says why that could not begin."""
        try:
            self.config.load()
        except OSError as error:  # ssl.SSLError is one
            self.start_error = error
            certificate, reason = self._settings.ssl_certfile, error.strerror or str(error)
            _log.error("server.tls_failed", certificate=certificate, reason=reason)
            return
        if context := self.config.ssl:
            self.config.ssl = None
            plain = self.config.http_protocol_class
            secure = partial(TlsHandshake, context, self._limits, plain)
            self.config.http_protocol_class = cast("Any", secure)
        await super().serve(sockets)

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Open the sockets, then say where they listen; with port 0 nobody else knows.

        If they cannot be opened the server stops before anything is loaded.
        """
        asyncio.get_running_loop().set_exception_handler(self._on_loop_error)
        host, port, wyoming_port = self.config.host, self.config.port, self._settings.wyoming_port
        wyoming_host = LOOPBACK if unix_path(host) else host
        beside = []
        try:
            sockets = sockets or await open_sockets(host, port)
            if path := unix_path(host):
                self._unix_inode = path.stat().st_ino
            if wyoming_port:
                port = wyoming_port
                beside = await open_sockets(wyoming_host, port)
        except (OSError, UnicodeError) as error:  # a name that no host can have
            self.start_error, self.should_exit = error, True
            reason = getattr(error, "strerror", None) or str(error)
            _log.error("server.bind_failed", host=host, port=port, reason=reason)
            return
        await super().startup(sockets)
        if self.should_exit:  # the model could not be loaded, or there was a signal
            return
        self._log_listening()
        if beside:
            await self._serve_wyoming(beside)

    def _log_listening(self) -> None:
        scheme = "https" if self.config.is_ssl else "http"
        for listener in (listener for server in self.servers for listener in server.sockets):
            if listener.family == socket.AF_UNIX:
                _log.info("server.listening", url=self.config.host, docs="/schema")
                continue
            if hasattr(socket, "TCP_NOTSENT_LOWAT"):  # not there on Windows
                with closing(socket.socket(fileno=socket.dup(listener.fileno()))) as same:
                    same.setsockopt(socket.IPPROTO_TCP, socket.TCP_NOTSENT_LOWAT, MAX_UNSENT_BYTES)
            address, port = listener.getsockname()[:2]
            name = f"[{address}]" if ":" in address else address
            url = f"{scheme}://{name}:{port}{self._settings.root_path}"
            _log.info("server.listening", url=url, docs="/schema")

    async def _serve_wyoming(self, listeners: list[socket.socket]) -> None:
        from app.entrypoints import wyoming  # noqa: PLC0415 - of an extra

        connections = cast("set[Any]", self.server_state.connections)
        for listener in listeners:
            server = await wyoming.listen(
                self._services,
                listener,
                connections,
                self._limits,
                max_event_bytes=self.config.ws_max_size,
            )
            self.servers.append(server)
            host, port = listener.getsockname()[:2]
            _log.info("server.listening", url=f"tcp://{host}:{port}")
            self._announced = self._announced or await wyoming.announce(host, port)

    def _on_loop_error(self, loop: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
        """Log what the event loop has to say; that no file is left for a connection, once a second.

        asyncio says it for each place in the queue of the listening socket, and tries again then.
        """
        error = context.get("exception")
        if not isinstance(error, OSError) or error.errno not in NO_FILES:
            loop.default_exception_handler(context)
        elif loop.time() - self._refused_files_at >= 1:
            self._refused_files_at = loop.time()
            _log.warning("server.no_open_files", reason=error.strerror)

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        """End after a first signal when all answers are out, after a second at once."""
        self._is_hurried = self.should_exit
        self.should_exit = True

    async def on_tick(self, counter: int) -> bool:
        """Called every 0.1 s while the server serves; whether it is to stop."""
        must_exit = await super().on_tick(counter)
        if counter % TICKS_PER_CHECK == 0:
            now = asyncio.get_running_loop().time()  # as the connections count it
            max_connections = self._settings.max_connections
            if len(self._connections) >= max_connections:
                _log.warning("server.connections_full", max_connections=max_connections)
            for connection in self._connections:
                try:
                    connection.check(now)
                except Exception:  # noqa: BLE001 - see below
                    # What is wrong with one connection must not end the server.
                    _log.exception("connection.check_failed")
                    self.server_state.connections.discard(connection)
                    with suppress(Exception):
                        abort(connection.transport)
            self._overload.report()
        return must_exit and self._has_finished()

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """Stop listening, and close the application; leave it if it does not close."""
        path = unix_path(self._settings.host)
        if path and path.is_socket() and path.stat().st_ino == self._unix_inode:
            path.unlink()
        try:
            async with asyncio.timeout(2 * LAST_LINE_S):
                if self._announced is not None:
                    await self._announced.async_close()
                # A client that takes nothing does not answer the end of its connection, either.
                asyncio.get_running_loop().call_later(LAST_LINE_S - 1, self._abort_all)
                await super().shutdown(sockets)
        except TimeoutError:
            _log.exception("server.left")

    def _abort_all(self) -> None:
        for connection in self._connections:
            with suppress(Exception):
                abort(connection.transport)

    @property
    def _connections(self) -> list[Connection]:
        return cast("list[Connection]", list(self.server_state.connections))

    def _has_finished(self) -> bool:
        """Whether there is nothing to wait for, or no time. Asked first, it stops the intake."""
        now, shutdown_s = asyncio.get_running_loop().time(), self._settings.shutdown_s
        intake = self._services.intake
        num_running = sum(connection.is_busy for connection in self._connections)
        if not intake.is_draining:
            _log.info("server.draining", num_running=num_running, shutdown_s=shutdown_s)
            intake.drain()
            self._ends_at = now + shutdown_s
        if not num_running:
            return True
        is_late = now >= self._ends_at
        if intake.over.done():
            if is_late:
                for connection in self._connections:
                    connection.cut()
            return is_late
        if is_late or self._is_hurried:
            _log.warning("server.cut", num_running=num_running)
            intake.end()
            self._ends_at = now + FAREWELL_S
        return False
