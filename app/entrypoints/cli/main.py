"""The console command `soprano-api`."""

import sys
from typing import Any

import click

from app.domain.errors import ModelLoadError
from app.entrypoints.cli.bench.command import bench
from app.entrypoints.cli.config import config
from app.entrypoints.cli.keys import keys
from app.entrypoints.cli.models import models
from app.entrypoints.cli.normalize import normalize
from app.entrypoints.cli.say import say
from app.entrypoints.cli.serve import serve
from app.entrypoints.cli.verify import verify
from app.entrypoints.settings import SettingsError


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(package_name="soprano-tts-api", prog_name="soprano-api")
def cli() -> None:
    """Text to speech on your own machine, for OpenAI clients."""


for command in (serve, say, normalize, bench, verify, models, keys, config):
    cli.add_command(command)


def main(arguments: list[str] | None = None) -> Any:
    """Run the command line.

    Exits with one line on standard error: with 2 when a setting is wrong, with 1 when the model
    cannot be served.
    """
    try:
        return cli(arguments, prog_name="soprano-api")
    except (SettingsError, ModelLoadError) as error:
        sys.stderr.write(f"soprano-api: {error}\n")
        sys.exit(2 if isinstance(error, SettingsError) else 1)
