"""`soprano-api serve`: the HTTP server."""

import asyncio
import gc
import os
import signal
import sys
import threading
from collections.abc import Callable
from importlib.util import find_spec
from ipaddress import ip_address
from typing import Any, Final

import click
import msgspec
import structlog

from app.domain.errors import SpeechError
from app.entrypoints.bootstrap.ports import build_ports
from app.entrypoints.cli.options import common_options, server_options, settings_from
from app.entrypoints.http.app import create_app
from app.entrypoints.http.server import SpeechServer, unix_path
from app.entrypoints.log import configure_logging, never_wait
from app.entrypoints.memory import tune_allocation
from app.entrypoints.settings import ServerSettings, Settings
from app.entrypoints.settings_loader import SettingsError

# After which a thread that runs Python gives way. The model's thread needs Python for some 0.1 ms
# after every step, and must not wait 5 ms (the default) for it while a request is encoded.
SWITCH_INTERVAL_S: Final = 0.0005

# Open files beside connections: of the process itself, stored audio, connections that are being
# refused. A server that was just started has some 17.
RESERVED_FILES: Final = 48

# Given to worker threads at the end. They cannot be interrupted, and a model that is being loaded
# may take minutes; what they write appears whole or not at all.
THREADS_END_S: Final = 1.0

OPEN_ADVICE: Final = (
    "Everybody who reaches this address may use the server. Make a key with"
    " `soprano-api keys create NAME --file keys.toml` and set auth.keys_file to that file,"
    " or listen on 127.0.0.1. Wyoming (server.wyoming_port) knows no keys."
)

_log = structlog.get_logger(__name__)


@click.command()
@common_options
@server_options
def serve(config: str | None, **flags: Any) -> None:
    """Run the HTTP server."""
    settings = settings_from(config, flags).settings
    configure_logging(settings.log)
    never_wait()
    sys.setswitchinterval(SWITCH_INTERVAL_S)
    tune_allocation()
    failures: list[SpeechError] = []

    def settle(error: SpeechError | None) -> None:
        # What was loaded stays. A full collection need not visit it: it stopped everything 0.2 s.
        gc.freeze()
        if error is not None:
            failures.append(error)
            server.should_exit = True

    def stop(*_: object) -> None:  # by a signal before the server runs
        server.should_exit = True

    check_server(settings.server)
    warn_if_open(settings)
    app = create_app(build_ports(settings), settings, settle)
    server = SpeechServer(app, limit_connections(settings.server))
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, stop)
    with asyncio.Runner(loop_factory=server.config.get_loop_factory()) as runner:
        runner.run(server.serve())
        # Python gives signals their default effect before it ends, unless they are ignored.
        for number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(number, signal.SIG_IGN)
        exit_code = 1 if failures or server.start_error else 0
        timer = threading.Timer(THREADS_END_S, os._exit, (exit_code,))
        timer.daemon = True
        timer.start()
    sys.exit(exit_code)


def check_server(settings: ServerSettings) -> None:
    """Raise SettingsError if a setting lacks what it needs."""
    if settings.wyoming_port and find_spec("wyoming") is None:
        advice = "pip install 'soprano-tts-api[wyoming]'"
        raise SettingsError(f"server.wyoming_port needs the package wyoming: {advice}.")
    if settings.ssl_keyfile and not settings.ssl_certfile:
        raise SettingsError("server.ssl_keyfile needs server.ssl_certfile.")


def warn_if_open(settings: Settings) -> None:
    """Say so if anybody in the network may use the server."""
    has_keys = bool(settings.auth.keys or settings.auth.keys_file)
    is_open = not has_keys or settings.server.wyoming_port != 0
    if is_open and not is_loopback(settings.server.host):
        _log.warning("server.open_to_network", host=settings.server.host, advice=OPEN_ADVICE)


def is_loopback(host: str) -> bool:
    """Whether only this machine reaches what listens on `host`; an unknown name may be any."""
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return host == "localhost" or unix_path(host) is not None


def raise_open_files_limit(wanted: int) -> int:
    """Ask the system for `wanted` open files, as far as it lets us; how many there may be now."""
    if sys.platform == "win32":
        return wanted  # sockets are not files there
    import resource  # noqa: PLC0415 - not there on Windows

    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft == resource.RLIM_INFINITY or soft >= wanted:
        return wanted
    most = wanted if hard == resource.RLIM_INFINITY else min(wanted, hard)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, hard))
    return most


def limit_connections(
    settings: ServerSettings, ask_for_files: Callable[[int], int] = raise_open_files_limit
) -> ServerSettings:
    """The same, with no more connections than the process may have open files."""
    wanted = settings.max_connections + RESERVED_FILES
    num_files = ask_for_files(wanted)
    if num_files >= wanted:
        return settings
    most = max(1, num_files - RESERVED_FILES)
    _log.warning("server.few_open_files", open_files=num_files, max_connections=most)
    return msgspec.structs.replace(settings, max_connections=most)
