"""`soprano-api config`: the settings in force."""

from collections.abc import Iterator
from typing import Any

import click

from app.entrypoints.cli.options import common_options, print_columns, server_options, settings_from
from app.entrypoints.settings import default_toml, shown_value
from app.entrypoints.settings_loader import LoadedSettings, all_keys


@click.command()
@common_options
@server_options
@click.option("--example", is_flag=True, help="Print a settings file with every default instead.")
def config(config: str | None, *, example: bool, **flags: Any) -> None:
    """Show every setting, its value and where it came from."""
    if example:
        click.echo(default_toml(), nl=False)
        return
    print_columns(list(_rows(settings_from(config, flags))))


def _rows(loaded: LoadedSettings) -> Iterator[tuple[str, ...]]:
    yield "setting", "value", "from"
    for key in all_keys():
        section, _, name = key.partition(".")
        value = getattr(getattr(loaded.settings, section), name)
        yield key, shown_value(key, value), loaded.sources[key]
