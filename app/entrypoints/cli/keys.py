"""`soprano-api keys`: who may use the server."""

from pathlib import Path

import click

from app.domain.api_keys import InvalidKeysError
from app.entrypoints.bootstrap.commands import create_key, create_key_in


@click.group()
def keys() -> None:
    """Create API keys."""


@keys.command()
@click.argument("name")
@click.option(
    "--file",
    "path",
    type=click.Path(dir_okay=False, path_type=Path),
    help="Keys file (auth.keys_file) to add the key to; created if missing.",
)
def create(name: str, path: Path | None) -> None:
    """Create a key for NAME and print it once; only its hash is stored."""
    try:
        if path is None:
            key, entry = create_key(name)
            click.echo(f"{key}\n\n{entry}", nl=False)
        else:
            click.echo(create_key_in(path, name))
    except InvalidKeysError as error:
        raise click.ClickException(str(error)) from error
