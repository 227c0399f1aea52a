"""`soprano-api serve`: the HTTP server."""

import signal
import sys
from ipaddress import ip_address
from socket import socket
from typing import Any, Final

import click
import structlog
import uvicorn
from uvicorn.protocols.http.h11_impl import H11Protocol

from app.domain.errors import SpeechError
from app.entrypoints.bootstrap import build_ports
from app.entrypoints.cli.options import common_options, server_options, settings_from
from app.entrypoints.http.app import create_app
from app.entrypoints.log import configure_logging
from app.entrypoints.settings import ServerSettings, Settings

SWITCH_INTERVAL_S: Final = 0.0005
"""After which a thread that runs Python gives way. The model's thread needs Python for some 0.1 ms
after every step, and must not wait 5 ms (the default) for it while a request is encoded."""

OPEN_ADVICE: Final = (
    "Everybody who reaches this address may use the server. Make a key with"
    " `soprano-api keys create NAME --file keys.toml` and set auth.keys_file to that file,"
    " or listen on 127.0.0.1."
)

_log = structlog.get_logger(__name__)


@click.command()
@common_options
@server_options
def serve(config: str | None, **flags: Any) -> None:
    """Serve speech over HTTP until stopped."""
    settings = settings_from(config, flags).settings
    configure_logging(settings.log)
    sys.exit(run_server(settings))


def run_server(settings: Settings) -> int:
    """Serve until a signal; the exit code: 1 if the model could not be loaded."""
    sys.setswitchinterval(SWITCH_INTERVAL_S)
    failures: list[SpeechError] = []

    def stop(error: SpeechError) -> None:
        failures.append(error)
        server.should_exit = True

    warn_if_open(settings)
    app = create_app(build_ports(settings), settings, on_fatal=stop)
    server = AnnouncingServer(_uvicorn_config(app, settings.server))
    _stop_on_signals(server)
    server.run()
    return 1 if failures else 0


def warn_if_open(settings: Settings) -> None:
    """Say so if anybody in the network may use the server."""
    has_keys = bool(settings.auth.keys or settings.auth.keys_file)
    if not has_keys and not is_loopback(settings.server.host):
        _log.warning("server.open_to_network", host=settings.server.host, advice=OPEN_ADVICE)


def is_loopback(host: str) -> bool:
    """Whether only this machine reaches what listens on `host`; an unknown name may be any."""
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def _stop_on_signals(server: uvicorn.Server) -> None:
    """Let a signal end the process with code 0.

    The server has handlers of its own while it runs; when it has stopped it raises the signal once
    more for those that were there before, which are these.
    """

    def stop(*_: object) -> None:
        server.should_exit = True

    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, stop)


class AnnouncingServer(uvicorn.Server):
    """Logs where it listens; with port 0 nobody else knows."""

    async def startup(self, sockets: list[socket] | None = None) -> None:
        """Open the sockets, then say so."""
        await super().startup(sockets)
        for server in self.servers:
            for listener in server.sockets:
                host, port = listener.getsockname()[:2]
                _log.info("server.listening", url=f"http://{host}:{port}", docs="/schema")


class HttpProtocol(H11Protocol):
    """HTTP over h11, which bounds the size of a request's head; httptools does not.

    Only GET can ask for a WebSocket (RFC 6455, section 4.1); of other requests the wish is ignored,
    as it is for any other protocol.
    """

    def _should_upgrade(self) -> bool:
        return self.scope["method"] == "GET" and super()._should_upgrade()


def _uvicorn_config(app: Any, settings: ServerSettings) -> uvicorn.Config:
    return uvicorn.Config(
        app,
        http=HttpProtocol,
        ws="websockets-sansio",  # stops reading from a client whose messages are not taken
        ws_max_size=settings.max_body_bytes,
        ws_per_message_deflate=False,  # sound does not shrink
        host=settings.host,
        port=settings.port,
        log_config=None,
        access_log=False,
        server_header=False,
        timeout_keep_alive=settings.keep_alive_s,
        timeout_graceful_shutdown=settings.shutdown_s,
        lifespan="on",
    )
