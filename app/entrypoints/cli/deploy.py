"""`soprano-api deploy`: the model for a cluster."""

from typing import Any

import click
import msgspec

from app.entrypoints.bootstrap.commands import apply_serve_config, serve_config
from app.entrypoints.cli.options import common_options, settings_from


@click.group()
def deploy() -> None:
    """Print or apply the configuration of a cluster."""


@deploy.command()
@common_options
@click.option("--apply", "dashboard", metavar="URL", help="Send it to this dashboard of Ray.")
def ray(config: str | None, dashboard: str | None, **flags: Any) -> None:
    """Print the configuration of Ray Serve (JSON, which is YAML too), or apply it.

    It replaces the applications that the cluster runs now: replicas of another configuration are
    replaced one after another, when they have finished their sentences.
    """
    wanted = serve_config(settings_from(config, flags).settings)
    if dashboard is None:
        click.echo(msgspec.json.format(msgspec.json.encode(wanted), indent=2))
    else:
        apply_serve_config(wanted, dashboard)
        click.echo(f"Sent to {dashboard}; `serve status` tells how far it is.")
