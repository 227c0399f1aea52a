"""`soprano-api config`: the settings in force."""

from typing import Any

import click
from rich.console import Console
from rich.table import Table

from app.entrypoints.cli.options import common_options, server_options, settings_from
from app.entrypoints.settings import LoadedSettings, all_keys


@click.command()
@common_options
@server_options
def config(config: str | None, **flags: Any) -> None:
    """Show every setting, its value and where it came from."""
    Console(soft_wrap=True).print(_table(settings_from(config, flags)))


def _table(loaded: LoadedSettings) -> Table:
    table = Table("setting", "value", "from", box=None, pad_edge=False)
    for key in all_keys():
        section, _, name = key.partition(".")
        value = getattr(getattr(loaded.settings, section), name)
        table.add_row(key, repr(value), loaded.sources[key])
    return table
