"""Flags that several commands share, and the way from flags to settings."""

from collections.abc import Callable
from typing import Any

import click

from app.entrypoints.settings_loader import LoadedSettings, load_settings

Command = Callable[..., Any]

FLAGS = {
    "host": "server.host",
    "port": "server.port",
    "backend": "model.backend",
    "model": "model.checkpoint",
    "precision": "model.precision",
    "log_level": "log.level",
}
"""Flags that are settings, by parameter name."""


def server_options(command: Command) -> Command:
    """Add --host and --port."""
    command = click.option("--port", help="Port to listen on; 0 selects a free one.")(command)
    return click.option("--host", help="Address to listen on.")(command)


def common_options(command: Command) -> Command:
    """Add --config, --backend, --model, --precision and --log-level."""
    command = click.option("--log-level", help="debug, info, warning or error.")(command)
    command = click.option("--precision", help="Precision of onnx: fp32 or int8.")(command)
    command = click.option("--model", help="Soprano: directory or Hugging Face repo.")(command)
    command = click.option(
        "--backend", help="Backend: auto, lmdeploy, transformers, onnx or embedded."
    )(command)
    return click.option(
        "--config", type=click.Path(), help="Settings file (TOML); also SOPRANO_CONFIG."
    )(command)


def settings_from(config: str | None, flags: dict[str, str | None]) -> LoadedSettings:
    """The settings in force, given the flags by parameter name."""
    return load_settings({FLAGS[name]: value for name, value in flags.items()}, config)
