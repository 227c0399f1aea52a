"""What several commands share: flags, settings, files and tables."""

import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from itertools import count
from pathlib import Path
from typing import Any, BinaryIO, Final

import click

from app.entrypoints.settings_loader import LoadedSettings, load_settings

# Flags that are settings, by parameter name.
FLAGS: Final = {
    "host": "server.host",
    "port": "server.port",
    "root_path": "server.root_path",
    "wyoming_port": "server.wyoming_port",
    "ssl_certfile": "server.ssl_certfile",
    "ssl_keyfile": "server.ssl_keyfile",
    "backend": "model.backend",
    "model": "model.checkpoint",
    "precision": "model.precision",
    "log_level": "log.level",
}


SERVER_FLAGS: Final = {
    "--host": "Address to listen on.",
    "--port": "Port to listen on; 0 selects a free one.",
    "--uds": "Unix domain socket to listen on, in place of an address.",
    "--wyoming-port": "Port for Home Assistant (Wyoming).",
    "--root-path": "Path that a proxy does not remove, such as /tts.",
    "--ssl-certfile": "Certificate for TLS (PEM).",
    "--ssl-keyfile": "Its private key (PEM).",
}

config_option = click.option(
    "--config", type=click.Path(), help="Settings file (TOML); also SOPRANO_CONFIG."
)


def server_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """Add those that say where to listen."""
    for name, text in reversed(SERVER_FLAGS.items()):
        command = click.option(name, help=text)(command)
    return command


def common_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """Add --config, --backend, --model, --precision and --log-level."""
    backends = "Backend: auto, lmdeploy, transformers, onnx or embedded."
    command = click.option("--log-level", help="debug, info, warning or error.")(command)
    command = click.option("--precision", help="Precision of onnx: fp32 or int8.")(command)
    command = click.option("--model", help="Soprano: directory or Hugging Face repo.")(command)
    return config_option(click.option("--backend", help=backends)(command))


def settings_from(config: str | None, flags: dict[str, str | None]) -> LoadedSettings:
    """The settings in force, given the flags by parameter name."""
    if uds := flags.pop("uds", None):
        flags["host"] = f"unix:{uds}"
    return load_settings({FLAGS[name]: value for name, value in flags.items()}, config)


_written = count()


@contextmanager
def whole_file(path: Path) -> Iterator[BinaryIO]:
    """A file to write that appears under its name when it is whole; else nothing is left of it."""
    written = path.with_name(f".{path.name}.{os.getpid()}.{next(_written)}.part")
    try:
        with written.open("wb") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        written.replace(path)
    finally:
        written.unlink(missing_ok=True)


def print_columns(rows: Sequence[tuple[str, ...]]) -> None:
    """Rows in columns; nothing is wrapped or cut, so that paths can be copied."""
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    for row in rows:
        cells = (cell.ljust(width) for cell, width in zip(row, widths, strict=True))
        click.echo("  ".join(cells).rstrip())
