"""The console command `soprano-api`."""

import os
import sys
from pathlib import Path
from typing import Any, Final

import click

from app.domain.errors import ModelLoadError
from app.entrypoints.cli.config import config
from app.entrypoints.cli.keys import keys
from app.entrypoints.cli.models import models
from app.entrypoints.cli.normalize import normalize
from app.entrypoints.cli.say import say
from app.entrypoints.cli.serve import serve
from app.entrypoints.cli.verify import verify
from app.entrypoints.settings_loader import SettingsError

SERVE: Final = "serve"
"""The command that writes nothing on standard output."""


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(package_name="soprano-tts-api", prog_name="soprano-api")
def cli() -> None:
    """A self-hosted, OpenAI-compatible text-to-speech server."""


for command in (serve, say, normalize, verify, models, keys, config):
    cli.add_command(command)


def main(arguments: list[str] | None = None) -> Any:
    """Run the command line.

    Exits with one line on standard error: with 2 when a setting is wrong, with 1 when the model
    cannot be served, or a file or standard output cannot be written.
    """
    arguments = sys.argv[1:] if arguments is None else arguments
    if sys.stdout is None and arguments[:1] != [SERVE]:
        sys.exit("soprano-api: Standard output is closed.")
    try:
        try:
            return cli(arguments, prog_name="soprano-api")
        finally:
            _flush_output()
    except (SettingsError, ModelLoadError, OSError) as error:
        sys.stderr.write(f"soprano-api: {error}\n")
        sys.exit(2 if isinstance(error, SettingsError) else 1)


def _flush_output() -> None:
    """Write what is left for standard output, or drop it: Python would fail with it at the end."""
    if sys.stdout is None:
        return
    try:
        sys.stdout.flush()
    except OSError as error:
        with Path(os.devnull).open("wb") as nothing:
            os.dup2(nothing.fileno(), sys.stdout.fileno())
        raise OSError(f"Standard output cannot be written: {error.strerror}.") from error
