"""What several commands share: flags, settings, files and tables."""

import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from itertools import count
from pathlib import Path
from typing import Any, BinaryIO, Final

import click

from app.entrypoints.settings_loader import LoadedSettings, load_settings

# Flags, the settings that they are, and their help.
SERVER_FLAGS: Final = {
    "--host": ("server.host", "Address to listen on."),
    "--port": ("server.port", "Port to listen on; 0 selects a free one."),
    "--uds": ("server.host", "Unix domain socket to listen on, in place of an address."),
    "--wyoming-port": ("server.wyoming_port", "Port for Home Assistant (Wyoming)."),
    "--root-path": ("server.root_path", "Path that a proxy does not remove, such as /tts."),
    "--ssl-certfile": ("server.ssl_certfile", "Certificate for TLS (PEM)."),
    "--ssl-keyfile": ("server.ssl_keyfile", "Its private key (PEM)."),
}
COMMON_FLAGS: Final = {
    "--backend": ("model.backend", "Backend: auto, lmdeploy, transformers, onnx or embedded."),
    "--model": ("model.checkpoint", "Soprano: directory or Hugging Face repo."),
    "--precision": ("model.precision", "Precision of onnx: fp32 or int8."),
    "--log-level": ("log.level", "debug, info, warning or error."),
}
_SETTINGS: Final = {  # by parameter name
    flag.removeprefix("--").replace("-", "_"): setting
    for flag, (setting, _) in (SERVER_FLAGS | COMMON_FLAGS).items()
}

config_option = click.option(
    "--config", type=click.Path(), help="Settings file (TOML); also SOPRANO_CONFIG."
)


def server_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """Add those that say where to listen."""
    return _with_flags(command, SERVER_FLAGS)


def common_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """Add --config, --backend, --model, --precision and --log-level."""
    return config_option(_with_flags(command, COMMON_FLAGS))


def _with_flags(
    command: Callable[..., Any], flags: dict[str, tuple[str, str]]
) -> Callable[..., Any]:
    for flag, (_, text) in reversed(flags.items()):
        command = click.option(flag, help=text)(command)
    return command


def settings_from(config: str | None, flags: dict[str, str | None]) -> LoadedSettings:
    """The settings in force, given the flags by parameter name."""
    if uds := flags.pop("uds", None):
        flags["host"] = f"unix:{uds}"
    return load_settings({_SETTINGS[name]: value for name, value in flags.items()}, config)


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
