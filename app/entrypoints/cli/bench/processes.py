"""The processes that are measured: started, looked at from outside, stopped."""

import asyncio
import sys
from asyncio.subprocess import DEVNULL, PIPE, Process
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Final

import psutil

STOP_TIMEOUT_S: Final = 15.0
NUM_LOG_LINES: Final = 20
"""Of the log of a process that failed: enough to see why."""


class ProcessError(Exception):
    """A process ended or did not answer; the message has the end of its log."""

    def __init__(self, what: str, log: Path) -> None:
        lines = log.read_text(errors="replace").splitlines()[-NUM_LOG_LINES:]
        super().__init__("\n".join((f"{what}:", *lines)))


@asynccontextmanager
async def python_process(
    *arguments: str, log: Path, has_pipes: bool = False
) -> AsyncIterator[Process]:
    """Run `python -m ARGUMENTS` with the settings of this process, until the block is left.

    Args:
        arguments: the module and what it gets.
        log: file for what it writes.
        has_pipes: its standard input and output are for the caller.
    """
    with log.open("wb") as file:
        process = await asyncio.create_subprocess_exec(
            sys.executable,
            "-m",
            *arguments,
            stdin=PIPE if has_pipes else DEVNULL,
            stdout=PIPE if has_pipes else file,
            stderr=file,
        )
    try:
        yield process
    finally:
        await _stop(process)


async def _stop(process: Process) -> None:
    if process.returncode is not None:
        return
    process.terminate()
    try:
        async with asyncio.timeout(STOP_TIMEOUT_S):
            await process.wait()
    except TimeoutError:
        process.kill()
        await process.wait()


def resident_bytes(pid: int) -> int:
    """Resident memory of a process and all that it has started."""
    process = psutil.Process(pid)
    total: int = process.memory_info().rss
    for child in process.children(recursive=True):
        with suppress(psutil.NoSuchProcess):
            total += child.memory_info().rss
    return total
