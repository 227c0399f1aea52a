"""A whole run: start everybody, go through all steps, stop everybody."""

import asyncio
import signal
from collections.abc import AsyncIterator, Callable, Iterable
from contextlib import AsyncExitStack, asynccontextmanager, suppress

from app.entrypoints.cli.bench.contestants import (
    Contestant,
    Surroundings,
    our_server,
    package_in_process,
    package_server,
)
from app.entrypoints.cli.bench.figures import Figures
from app.entrypoints.cli.bench.long_text import LongText
from app.entrypoints.cli.bench.measures import Measures, Step
from app.entrypoints.cli.bench.plan import Plan

SETTLE_S = 0.3
"""After each step, so that threads that spin while they wait for work have gone to sleep."""

Report = Callable[[int, int, str], None]
"""Told how many steps are done, of how many, and what comes next."""


async def measure_all(
    plan: Plan, surroundings: Surroundings, report: Report, *, has_package: bool
) -> Figures:
    """Measure everybody.

    Raises:
        ProcessError: somebody ended.
        AnswerError, OSError: a server does not answer as it should.
    """
    _end_on_termination()
    figures = Figures()
    measures = Measures(plan, figures, surroundings.clock)
    long_text = list(LongText(plan, figures, surroundings).steps())
    report(0, 1, "starting")
    async with _everybody(surroundings, has_package=has_package) as contestants:
        rounds = list(measures.steps(contestants))
        num_steps = len(rounds) + len(long_text)
        await _go_through(rounds, 0, num_steps, surroundings, report)
    await _go_through(long_text, len(rounds), num_steps, surroundings, report)
    report(num_steps, num_steps, "done")
    return figures


def _end_on_termination() -> None:
    """Let a signal to terminate cancel this task, so that nobody whom it started is left behind."""
    task = asyncio.current_task()
    if task is not None:
        with suppress(NotImplementedError):  # Windows has no such handlers
            asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, task.cancel)


async def _go_through(
    steps: Iterable[Step],
    num_done: int,
    num_steps: int,
    surroundings: Surroundings,
    report: Report,
) -> None:
    for index, step in enumerate(steps, start=num_done):
        report(index, num_steps, step.title)
        await step.run()
        await surroundings.clock.sleep(SETTLE_S)


@asynccontextmanager
async def _everybody(
    surroundings: Surroundings, *, has_package: bool
) -> AsyncIterator[list[Contestant]]:
    async with AsyncExitStack() as stack:
        contestants: list[Contestant] = [
            await stack.enter_async_context(our_server("int8", surroundings)),
            await stack.enter_async_context(our_server("fp32", surroundings)),
        ]
        if has_package:
            contestants += [
                await stack.enter_async_context(package_in_process(surroundings)),
                await stack.enter_async_context(package_server(surroundings)),
            ]
        yield contestants
