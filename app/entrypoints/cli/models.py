"""`soprano-api models`: Soprano's weights on this machine."""

import click

from app.entrypoints.backends import BACKENDS, choose_backend, why_not
from app.entrypoints.bootstrap import commands
from app.entrypoints.bootstrap.instances import look_around
from app.entrypoints.cli.options import config_option, print_columns, settings_from
from app.entrypoints.log import configure_logging

revision_option = click.option("--revision", help="Branch, tag or commit of the repository.")


@click.group()
def models() -> None:
    """List, download and check the weights of Soprano."""


@models.command("list")
def list_command() -> None:
    """List the backends, and the checkpoints in the Hugging Face cache."""
    surroundings = look_around(settings_from(None, {}).settings.model)
    served = choose_backend("auto", surroundings).backend
    backends: list[tuple[str, ...]] = [("backend", "here")]
    for backend in BACKENDS:
        reason = why_not(backend, surroundings)
        backends.append((backend, reason or ("serves" if backend == served else "can run")))
    print_columns(backends)
    click.echo()
    cached = commands.list_cached()
    rows: list[tuple[str, ...]] = [("repository", "revision", "size", "path")]
    for one in cached:
        revision = " ".join((*one.refs, one.revision[:8]))
        size = _megabytes(one.num_bytes) + ("" if one.is_complete else " (incomplete)")
        rows.append((one.repo, revision, size, str(one.path)))
    if cached:
        print_columns(rows)
    else:
        click.echo("No Soprano checkpoint is cached; `soprano-api models pull` fetches one.")


@models.command()
@click.argument("repo", default=commands.DEFAULT_REPO)
@revision_option
@click.option("--force", is_flag=True, help="Download again, if the cached files may be corrupt.")
def pull(repo: str, revision: str | None, *, force: bool) -> None:
    """Download REPO into the Hugging Face cache, and check it."""
    configure_logging(settings_from(None, {}).settings.log)
    _print_checkpoint(commands.pull_checkpoint(repo, revision, is_forced=force))


@models.command()
@click.argument("model", metavar="DIR_OR_REPO")
@revision_option
def check(model: str, revision: str | None) -> None:
    """Describe the checkpoint in a directory or cached repository; exit with 1 if corrupt."""
    _print_checkpoint(commands.check_checkpoint(model, revision))


@models.command()
@click.argument("model", metavar="[DIR_OR_REPO]", default=commands.DEFAULT_REPO)
@click.option("--precision", help="fp32 or int8.")
@config_option
def build(model: str, precision: str | None, config: str | None) -> None:
    """Build the graphs of the backend onnx before the first start, and print their paths."""
    settings = settings_from(config, {"precision": precision}).settings
    configure_logging(settings.log)
    click.echo(commands.build_checkpoint_graphs(model, settings.model))


def _print_checkpoint(checkpoint: commands.Checkpoint) -> None:
    model, decoder = checkpoint.language_model, checkpoint.decoder
    described_model = (
        f"{model.num_parameters / 1e6:.1f} M parameters, {model.num_layers} layers of"
        f" {model.hidden_size}, MLP {model.intermediate_size}, {model.num_heads} query and"
        f" {model.num_kv_heads} key/value heads of {model.head_dim}, vocabulary {model.vocab_size}"
    )
    described_decoder = (
        f"version {decoder.version}, {decoder.num_parameters / 1e6:.1f} M parameters,"
        f" {decoder.num_layers} layers of {decoder.dim}, MLP {decoder.intermediate_dim},"
        f" input kernel {decoder.input_kernel_size}"
    )
    rows = (
        ("checkpoint", str(checkpoint.directory)),
        ("language model", described_model),
        ("decoder", described_decoder),
        ("size", _megabytes(checkpoint.num_bytes)),
    )
    print_columns(rows)


def _megabytes(num_bytes: int) -> str:
    return f"{num_bytes / 1e6:.1f} MB"
