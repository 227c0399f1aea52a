"""`soprano-api config`: the settings in force."""

from collections.abc import Iterator
from typing import Any

import click

from app.entrypoints.cli.columns import print_columns
from app.entrypoints.cli.options import common_options, server_options, settings_from
from app.entrypoints.settings import LoadedSettings, all_keys, shown_value


@click.command()
@common_options
@server_options
def config(config: str | None, **flags: Any) -> None:
    """Show every setting, its value and where it came from."""
    print_columns(list(_rows(settings_from(config, flags))))


def _rows(loaded: LoadedSettings) -> Iterator[tuple[str, ...]]:
    yield "setting", "value", "from"
    for key in all_keys():
        section, _, name = key.partition(".")
        value = getattr(getattr(loaded.settings, section), name)
        yield key, shown_value(key, value), loaded.sources[key]
