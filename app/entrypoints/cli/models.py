"""`soprano-api models`: Soprano's weights on this machine."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

import click

from app.domain.errors import ModelLoadError
from app.entrypoints.backends import BACKENDS, Surroundings, choose_backend, why_not
from app.entrypoints.bootstrap.commands import (
    DEFAULT_REPO,
    CachedCheckpoint,
    Checkpoint,
    build_checkpoint_graphs,
    check_checkpoint,
    list_checkpoints,
    pull_checkpoint,
)
from app.entrypoints.bootstrap.instances import look_around
from app.entrypoints.cli.options import print_columns, settings_from
from app.entrypoints.log import configure_logging

NUM_HASH_CHARS: Final = 8
"""Of a commit: enough to tell revisions apart."""

revision_option = click.option("--revision", help="Branch, tag or commit of the repository.")


@click.group()
def models() -> None:
    """List, download and check the weights of Soprano."""


@models.command("list")
def list_command() -> None:
    """List the backends, and the checkpoints in the Hugging Face cache."""
    surroundings = look_around(settings_from(None, {}).settings.model)
    print_columns(_rows_of_backends(surroundings))
    click.echo()
    with _errors_in_one_line():
        cached = list_checkpoints()
    if cached:
        print_columns(_rows_of_cached(cached))
    else:
        click.echo("No Soprano checkpoint is cached; `soprano-api models pull` fetches one.")


@models.command()
@click.argument("repo", default=DEFAULT_REPO)
@revision_option
@click.option("--force", is_flag=True, help="Download again, if the cached files may be corrupt.")
def pull(repo: str, revision: str | None, *, force: bool) -> None:
    """Download REPO into the Hugging Face cache, and check it."""
    configure_logging(settings_from(None, {}).settings.log)
    with _errors_in_one_line():
        print_columns(_rows_of_one(pull_checkpoint(repo, revision, is_forced=force)))


@models.command()
@click.argument("model", metavar="DIR_OR_REPO")
@revision_option
def check(model: str, revision: str | None) -> None:
    """Describe the checkpoint in a directory or cached repository; exit with 1 if corrupt."""
    with _errors_in_one_line():
        print_columns(_rows_of_one(check_checkpoint(model, revision)))


@models.command()
@click.argument("model", metavar="[DIR_OR_REPO]", default=DEFAULT_REPO)
@click.option("--precision", help="fp32 or int8.")
@click.option("--config", type=click.Path(), help="Settings file (TOML); also SOPRANO_CONFIG.")
def build(model: str, precision: str | None, config: str | None) -> None:
    """Build the graphs of the backend onnx before the first start, and print their paths."""
    settings = settings_from(config, {"precision": precision}).settings
    configure_logging(settings.log)
    with _errors_in_one_line():
        click.echo(build_checkpoint_graphs(model, settings.model))


@contextmanager
def _errors_in_one_line() -> Iterator[None]:
    try:
        yield
    except ModelLoadError as error:
        raise click.ClickException(str(error)) from error


def _rows_of_backends(surroundings: Surroundings) -> list[tuple[str, ...]]:
    served = choose_backend("auto", surroundings).backend
    rows: list[tuple[str, ...]] = [("backend", "here")]
    for backend in BACKENDS:
        reason = why_not(backend, surroundings)
        rows.append((backend, reason or ("serves" if backend == served else "can run")))
    return rows


def _rows_of_cached(cached: list[CachedCheckpoint]) -> list[tuple[str, ...]]:
    return [
        ("repository", "revision", "size", "path"),
        *(
            (
                one.repo,
                " ".join((*one.refs, one.revision[:NUM_HASH_CHARS])),
                _megabytes(one.num_bytes) + ("" if one.is_complete else " (incomplete)"),
                str(one.path),
            )
            for one in cached
        ),
    ]


def _rows_of_one(checkpoint: Checkpoint) -> list[tuple[str, ...]]:
    return [
        ("checkpoint", str(checkpoint.directory)),
        ("language model", _describe_language_model(checkpoint)),
        ("decoder", _describe_decoder(checkpoint)),
        ("size", _megabytes(checkpoint.num_bytes)),
    ]


def _describe_language_model(checkpoint: Checkpoint) -> str:
    shape = checkpoint.language_model
    return (
        f"{_millions(shape.num_parameters)} parameters,"
        f" {shape.num_layers} layers of {shape.hidden_size}, MLP {shape.intermediate_size},"
        f" {shape.num_heads} query and {shape.num_kv_heads} key/value heads of {shape.head_dim},"
        f" vocabulary {shape.vocab_size}"
    )


def _describe_decoder(checkpoint: Checkpoint) -> str:
    shape = checkpoint.decoder
    return (
        f"version {shape.version}, {_millions(shape.num_parameters)} parameters,"
        f" {shape.num_layers} layers of {shape.dim}, MLP {shape.intermediate_dim},"
        f" input kernel {shape.input_kernel_size}"
    )


def _millions(count: int) -> str:
    return f"{count / 1e6:.1f} M"


def _megabytes(num_bytes: int) -> str:
    return f"{num_bytes / 1e6:.1f} MB"
