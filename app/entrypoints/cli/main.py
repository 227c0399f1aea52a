"""The console command `soprano-api`, and its short commands `keys`, `config` and `deploy`."""

import gc
import os
import sys
import tempfile
from contextlib import suppress
from importlib import import_module
from pathlib import Path
from typing import Any, Final, TextIO, cast

import click
import msgspec

from app.domain.api_keys import InvalidKeysError, check_name, new_key
from app.domain.errors import SpeechError
from app.entrypoints.cli.options import common_options, print_columns, server_options, settings_from
from app.entrypoints.settings import default_toml, shown_value
from app.entrypoints.settings_loader import SettingsError, all_keys

# The module of each command that has one.
COMMANDS: Final = {
    "serve": "serve", "say": "say", "normalize": "say", "verify": "verify", "models": "models",
    "doctor": "doctor",
}  # fmt: skip


class CommandsOnDemand(click.Group):
    """Imports a command when it is asked for: the server's modules take as long as a sentence."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """All of them."""
        return sorted({*COMMANDS, *super().list_commands(ctx)})

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """The command of this name, if there is one."""
        if cmd_name not in COMMANDS:
            return super().get_command(ctx, cmd_name)
        module = import_module(f"app.entrypoints.cli.{COMMANDS[cmd_name]}")
        if not gc.isenabled():
            gc.freeze()  # modules stay
            gc.enable()
        return cast("click.Command", getattr(module, cmd_name))


@click.group(cls=CommandsOnDemand, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(package_name="soprano-tts-api", prog_name="soprano-api")
def cli() -> None:
    """A self-hosted, OpenAI-compatible text-to-speech server."""
    ensure_home()


def ensure_home() -> None:
    """A user without a home, as containers have them, keeps what is cached in a temporary one."""
    try:
        Path.home()
    except RuntimeError:
        home = Path(tempfile.gettempdir(), f"soprano-home-{os.getuid()}")
        home.mkdir(mode=0o700, exist_ok=True)
        if home.is_symlink() or home.stat().st_uid != os.getuid():  # somebody else was first
            home = Path(tempfile.mkdtemp(prefix="soprano-home-"))
        os.environ["HOME"] = str(home)  # noqa: TID251 - not a setting of ours


@cli.group()
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
    from app.entrypoints.bootstrap.commands import add_key, describe_entry  # noqa: PLC0415

    key = new_key()

    def show() -> None:
        try:
            click.echo(key)
        except OSError as error:
            problem = f"Standard output cannot be written: {error.strerror}; no key was added."
            raise click.ClickException(problem) from error

    if path is None:
        check_name(name)
        click.echo(f"{key}\n\n{describe_entry(name, key)}", nl=False)
    else:
        add_key(path, name, key, show)


@cli.command()
@common_options
@server_options
@click.option("--example", is_flag=True, help="Print a settings file with every default instead.")
def config(config: str | None, *, example: bool, **flags: Any) -> None:
    """Show every setting, its value and where it came from."""
    if example:
        click.echo(default_toml(), nl=False)
        return
    loaded = settings_from(config, flags)
    rows = [("setting", "value", "from")]
    for key in all_keys():
        section, _, name = key.partition(".")
        value = getattr(getattr(loaded.settings, section), name)
        rows.append((key, shown_value(key, value), loaded.sources[key]))
    print_columns(rows)


@cli.group()
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
    from app.entrypoints.bootstrap.commands import apply_serve_config, serve_config  # noqa: PLC0415

    wanted = serve_config(settings_from(config, flags).settings)
    if dashboard is None:
        click.echo(msgspec.json.format(msgspec.json.encode(wanted), indent=2))
    else:
        apply_serve_config(wanted, dashboard)
        click.echo(f"Sent to {dashboard}; `serve status` tells how far it is.")


def main(arguments: list[str] | None = None) -> Any:
    """Run the command line; exits with one line on standard error.

    With 2 when a setting is wrong, with 1 when the model, a file or the output fails.
    """
    arguments = sys.argv[1:] if arguments is None else arguments
    if sys.stderr is None:  # closed: nobody wants to read it
        sys.stderr = Path(os.devnull).open("w", encoding="utf-8")  # noqa: SIM115 - for good
    if sys.stdout is None and arguments[:1] != ["serve"]:  # which writes nothing there
        sys.exit("soprano-api: Standard output is closed.")
    try:
        try:
            return cli(arguments, prog_name="soprano-api")
        except SystemExit as end:
            if end.code:  # the reason was given; that the output is lost too adds nothing
                with suppress(OSError):
                    _flush(sys.stdout)
            raise
        finally:
            with suppress(OSError):  # a full pipe that nobody reads
                _flush(sys.stderr)
            _flush(sys.stdout)
    except (SettingsError, SpeechError, InvalidKeysError, OSError) as error:
        sys.stderr.write(f"soprano-api: {error}\n")
        sys.exit(2 if isinstance(error, SettingsError) else 1)


def _flush(stream: TextIO | None) -> None:
    """Write what is left for a stream, or drop it: Python would fail with it at the end."""
    if stream is None:
        return
    try:
        stream.flush()
    except OSError as error:
        with Path(os.devnull).open("wb") as nothing:
            os.dup2(nothing.fileno(), stream.fileno())
        raise OSError(f"Standard output cannot be written: {error.strerror}.") from error
