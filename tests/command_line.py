"""The command line, in the process of the test."""

import click
from click.testing import CliRunner, Result

from app.entrypoints.cli.main import main


def run_main(*arguments: str) -> Result:
    """What `soprano-api` does with these arguments."""

    @click.command()
    def command() -> None:
        main(list(arguments))

    return CliRunner().invoke(command, [])
