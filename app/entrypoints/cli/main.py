"""The console command `soprano-api`."""

import sys
from typing import Any

import click

from app.entrypoints.cli.bench import bench
from app.entrypoints.cli.config import config
from app.entrypoints.cli.say import say
from app.entrypoints.cli.serve import serve
from app.entrypoints.settings import SettingsError


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(package_name="soprano-tts-api", prog_name="soprano-api")
def cli() -> None:
    """Text to speech on your own machine, for OpenAI clients."""


for command in (serve, say, bench, config):
    cli.add_command(command)


def main(arguments: list[str] | None = None) -> Any:
    """Run the command line; exits with 2 and one line when a setting is wrong."""
    try:
        return cli(arguments, prog_name="soprano-api")
    except SettingsError as error:
        sys.stderr.write(f"soprano-api: {error}\n")
        sys.exit(2)
