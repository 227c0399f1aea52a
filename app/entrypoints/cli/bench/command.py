"""`soprano-api bench`: how fast this engine is beside the author's package, on this machine."""

import asyncio
import shlex
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import click
import h11
import msgspec
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from app.domain.errors import ModelLoadError
from app.entrypoints.bootstrap.instances import look_around
from app.entrypoints.bootstrap.ports import build_clock
from app.entrypoints.checkpoints import DEFAULT_REPO, check_checkpoint
from app.entrypoints.cli.bench import document
from app.entrypoints.cli.bench.contestants import Surroundings
from app.entrypoints.cli.bench.figures import Figures
from app.entrypoints.cli.bench.http_client import AnswerError
from app.entrypoints.cli.bench.machine import (
    describe_machine,
    describe_versions,
    read_processor_times,
)
from app.entrypoints.cli.bench.plan import Plan, quick_plan
from app.entrypoints.cli.bench.plot import can_plot, write_plot
from app.entrypoints.cli.bench.processes import ProcessError
from app.entrypoints.cli.bench.rows import build_rows
from app.entrypoints.cli.bench.run import measure_all
from app.entrypoints.cli.bench.tables import as_rich, build_tables
from app.entrypoints.cli.options import settings_from
from app.entrypoints.settings import ModelSettings

WITHOUT_WEIGHTS = (
    "The benchmark needs Soprano's weights. `soprano-api models pull` fetches them; `make bench`"
    " measures with a made-up checkpoint of the same shape; --model takes any directory."
)
WITHOUT_MATPLOTLIB = "No plot: matplotlib is not installed (pip install 'soprano-tts-api[bench]')."
WITHOUT_PACKAGE = (
    "Only ours were measured: soprano-tts is not installed (pip install '.[soprano]')."
)
DISTURBED = "Other processes used {:.0%} of the processor, which slows everybody."
DISTURBING = 0.05
SKIPPED_PACKAGE = "Only ours were measured: the package was skipped."


class Wanted(msgspec.Struct, frozen=True, kw_only=True):
    """What was asked for on the command line."""

    model: str
    clients: tuple[int, ...]
    rounds: int
    is_quick: bool
    output: Path | None
    is_package_skipped: bool

    def plan(self) -> Plan:
        """How much to measure."""
        if self.is_quick:
            return quick_plan(self.clients)
        return Plan(clients=self.clients, rounds=self.rounds)


def _read_clients(_context: click.Context, _option: click.Parameter, text: str) -> tuple[int, ...]:
    try:
        clients = tuple(sorted({int(word) for word in text.split(",")}))
    except ValueError as error:
        raise click.BadParameter("expected numbers, as in 1,2,4") from error
    if clients[0] < 1:
        raise click.BadParameter("expected numbers from 1")
    return clients


@click.command()
@click.option("--model", help="Directory of a checkpoint, or a cached Hugging Face repo.")
@click.option(
    "--clients",
    default="1,2,4,8,16",
    show_default=True,
    callback=_read_clients,
    help="How many at once.",
)
@click.option("--rounds", type=click.IntRange(1, 1_000), default=3, show_default=True)
@click.option("--quick", "is_quick", is_flag=True, help="One short round, to see that it works.")
@click.option(
    "--output",
    type=click.Path(dir_okay=False, path_type=Path),
    help="Markdown document to write; the plot goes beside it, as PNG.",
)
@click.option(
    "--skip-package", "is_package_skipped", is_flag=True, help="Measure this engine alone."
)
def bench(model: str | None, **flags: Any) -> None:
    """Measure this engine, the package soprano-tts and its HTTP server on one checkpoint."""
    settings = settings_from(None, {}).settings.model
    wanted = Wanted(model=model or settings.checkpoint or DEFAULT_REPO, **flags)
    checkpoint = _find_checkpoint(wanted.model, settings)
    has_package = look_around(settings).has_soprano and not wanted.is_package_skipped
    versions = describe_versions()  # of the code that is measured: the plot is a change of the tree
    before = read_processor_times()
    figures = _measure(wanted.plan(), checkpoint, has_package=has_package)
    used_by_others = read_processor_times().used_by_others(before)
    notes = []
    if not has_package:
        notes.append(SKIPPED_PACKAGE if wanted.is_package_skipped else WITHOUT_PACKAGE)
    if used_by_others > DISTURBING:
        notes.append(DISTURBED.format(used_by_others))
    _show(figures, notes)
    if wanted.output is not None:
        _write_plot(figures, wanted.output)
        surroundings = document.Surroundings(
            date=str(build_clock().now().date()),
            machine=describe_machine(used_by_others),
            versions=versions,
            model=_name(wanted.model),
            command=_command(wanted),
            plot=_plot_path(wanted.output).name if can_plot() else None,
            notes=notes,
        )
        _write_document(figures, wanted, surroundings)


def _find_checkpoint(model: str, settings: ModelSettings) -> Path:
    try:
        return check_checkpoint(model, settings.revision or None).directory.absolute()
    except ModelLoadError as error:
        raise click.ClickException(f"{error} {WITHOUT_WEIGHTS}") from error


def _measure(plan: Plan, checkpoint: Path, *, has_package: bool) -> Figures:
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
    )
    with (
        TemporaryDirectory() as directory,
        Progress(*columns, console=Console(stderr=True)) as progress,
    ):
        task = progress.add_task("")
        surroundings = Surroundings(checkpoint, Path(directory), build_clock())

        def report(num_done: int, num_steps: int, what: str) -> None:
            progress.update(task, completed=num_done, total=num_steps, description=what)
            if not progress.console.is_terminal:
                click.echo(f"{num_done}/{num_steps} {what}", err=True)

        try:
            return asyncio.run(measure_all(plan, surroundings, report, has_package=has_package))
        except (ProcessError, AnswerError, OSError, h11.RemoteProtocolError) as error:
            raise click.ClickException(str(error)) from error
        except asyncio.CancelledError as error:
            raise click.Abort from error


def _show(figures: Figures, notes: list[str]) -> None:
    console = Console()
    rows = build_rows(figures)
    for table in build_tables(figures, rows):
        console.print(as_rich(table))
        console.print()
    console.print(" ".join((document.describe_targets(rows), *notes)), soft_wrap=True)


def _plot_path(output: Path) -> Path:
    return output.with_suffix(".png")


def _write_plot(figures: Figures, output: Path) -> None:
    output.parent.mkdir(parents=True, exist_ok=True)
    if can_plot():
        write_plot(figures, _plot_path(output))
    else:
        click.echo(WITHOUT_MATPLOTLIB, err=True)


def _write_document(figures: Figures, wanted: Wanted, surroundings: document.Surroundings) -> None:
    rows = build_rows(figures)
    tables = build_tables(figures, rows)
    text = document.build_document(surroundings, wanted.plan(), rows, tables)
    Path(wanted.output or "").write_text(text, encoding="utf-8")
    click.echo(wanted.output)


def _name(path: str) -> str:
    """Of a checkpoint or a file; where on this machine it lies is nobody's business."""
    return Path(path).name if Path(path).is_absolute() else path


def _command(wanted: Wanted) -> str:
    words = ["soprano-api", "bench", "--model", _name(wanted.model)]
    words += ["--clients", ",".join(map(str, wanted.clients))]
    words += ["--quick"] if wanted.is_quick else ["--rounds", str(wanted.rounds)]
    words += ["--skip-package"] if wanted.is_package_skipped else []
    words += ["--output", _name(str(wanted.output))]
    return shlex.join(words)
