"""`python -m benchmarks`: how fast this engine is beside the author's package, on this machine."""

import asyncio
import datetime as dt
import shlex
import signal
import sys
from collections.abc import Iterable
from contextlib import AsyncExitStack
from functools import partial
from importlib.util import find_spec
from pathlib import Path
from tempfile import TemporaryDirectory

import click
import h11

from app.domain.errors import ModelLoadError
from app.entrypoints.bootstrap.commands import check_checkpoint
from benchmarks.report import (
    Run,
    build_report,
    describe_machine,
    describe_versions,
    read_processor_times,
    write_plot,
)
from benchmarks.results import OURS, Results, build_rows
from benchmarks.scenarios import QUICK, Plan, Rounds, Step, long_text_steps
from benchmarks.targets import (
    Target,
    TargetError,
    our_server,
    package_in_process,
    package_server,
)

SETTLE_S = 0.3  # after each step: threads that spin while they wait for work have gone to sleep
MAX_OTHER_LOAD = 0.05  # part of the processor from which the report mentions other processes
WITHOUT_WEIGHTS = (
    "`soprano-api models pull` downloads Soprano's weights; `make bench` measures with a test"
    " checkpoint of the same shape; --model takes any directory."
)
WITHOUT_PACKAGE = "Only ours were measured, without the package soprano-tts."
OTHER_LOAD = "Other processes used {:.0%} of the processor, which slows all targets."


@click.command()
@click.option("--model", required=True, help="Directory of a checkpoint, or a cached repo.")
@click.option(
    "--output",
    required=True,
    type=click.Path(dir_okay=False, path_type=Path),
    help="Markdown file to write; the plot is written beside it, as PNG.",
)
@click.option("--quick", "is_quick", is_flag=True, help="One short round, to see that it works.")
@click.option("--skip-package", "is_package_skipped", is_flag=True, help="Measure ours alone.")
def bench(model: str, output: Path, *, is_quick: bool, is_package_skipped: bool) -> None:
    """Measure this server, the package soprano-tts and its HTTP server with one checkpoint."""
    try:
        checkpoint = check_checkpoint(model, None).directory.absolute()
    except ModelLoadError as error:
        raise click.ClickException(f"{error} {WITHOUT_WEIGHTS}") from error
    plan = QUICK if is_quick else Plan()
    has_package = not is_package_skipped and find_spec("soprano") is not None
    versions = describe_versions()  # before this run changes the working copy
    before = read_processor_times()
    with TemporaryDirectory() as directory:
        try:
            results = asyncio.run(
                measure_all(plan, checkpoint, Path(directory), has_package=has_package)
            )
        except (TargetError, OSError, h11.RemoteProtocolError) as error:
            raise click.ClickException(str(error)) from error
        except asyncio.CancelledError as error:
            raise click.Abort from error
    other_load = read_processor_times().used_by_others(before)
    notes = [] if has_package else [WITHOUT_PACKAGE]
    if other_load > MAX_OTHER_LOAD:
        notes.append(OTHER_LOAD.format(other_load))
    plot = output.with_suffix(".png")
    options = ["--quick"] * is_quick + ["--skip-package"] * is_package_skipped
    words = ["python", "-m", "benchmarks", "--model", _name(model), "--output", _name(str(output))]
    run = Run(
        date=str(dt.datetime.now(dt.UTC).date()),
        machine=describe_machine(other_load),
        versions=versions,
        model=_name(model),
        command=shlex.join([*words, *options]),
        plot=plot.name,
        notes=notes,
    )
    report = build_report(run, plan, results, build_rows(results))
    output.parent.mkdir(parents=True, exist_ok=True)
    write_plot(results, plot)
    output.write_text(report, encoding="utf-8")
    click.echo(report)


def _name(path: str) -> str:
    """A path as the report names it: without the directories of this machine."""
    return Path(path).name if Path(path).is_absolute() else path


async def measure_all(
    plan: Plan, checkpoint: Path, directory: Path, *, has_package: bool
) -> Results:
    """Start all targets, run all steps, stop the targets."""
    task = asyncio.current_task()
    if task is not None and sys.platform != "win32":  # so that no target outlives this process
        asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, task.cancel)
    results = Results()
    start = partial(our_server, checkpoint=checkpoint, directory=directory)
    async with AsyncExitStack() as stack:
        targets: list[Target] = [await stack.enter_async_context(start(one)) for one in OURS]
        if has_package:
            targets += [
                await stack.enter_async_context(package_in_process(checkpoint, directory)),
                await stack.enter_async_context(package_server(checkpoint, directory)),
            ]
        await _run(Rounds(plan, results).steps(targets))
    await _run(long_text_steps(plan, results, start))
    return results


async def _run(steps: Iterable[Step]) -> None:
    for step in steps:
        click.echo(step.title, err=True)
        await step.run()
        await asyncio.sleep(SETTLE_S)


if __name__ == "__main__":
    bench()
