"""`soprano-api keys`: who may use the server."""

from pathlib import Path

import click

from app.domain.api_keys import InvalidKeysError
from app.entrypoints.keys import create_key, create_key_in


@click.group()
def keys() -> None:
    """Make the keys that clients send."""


@keys.command()
@click.argument("name")
@click.option(
    "--file",
    "path",
    type=click.Path(dir_okay=False, path_type=Path),
    help="File of keys (auth.keys_file) that gets the entry; made if it is not there.",
)
def create(name: str, path: Path | None) -> None:
    """Make a key for NAME and show it, this once: only its hash is kept."""
    try:
        if path is None:
            key, entry = create_key(name)
            click.echo(f"{key}\n\n{entry}", nl=False)
        else:
            click.echo(create_key_in(path, name))
    except InvalidKeysError as error:
        raise click.ClickException(str(error)) from error
