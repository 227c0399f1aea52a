"""Starts the process of a worker, and sees to its end."""

import asyncio
import socket
import subprocess
from collections.abc import Mapping, Sequence
from contextlib import suppress
from signal import Signals
from typing import Final, Protocol

import msgspec
import structlog

from app.adapters.speech.worker.channel import Channel, open_channel
from app.adapters.speech.worker.messages import Begin, FromWorker
from app.domain.errors import InstanceDeadError

STANDARD_ERROR: Final = 2

_log = structlog.get_logger(__name__)


class Process(Protocol):
    """The part of subprocess.Popen that is used."""

    @property
    def pid(self) -> int:
        """Of the process."""
        ...

    def kill(self) -> None:
        """End it at once, unless it has ended."""
        ...

    def wait(self, timeout: float | None = None) -> int:
        """Wait for its end, and give its exit code, or the negative number of its signal.

        Raises:
            subprocess.TimeoutExpired: it has not ended after so many seconds.
        """
        ...


class Worker(msgspec.Struct, frozen=True, eq=False):
    """A process, the channel to it, and which instance of the model it is."""

    index: int
    process: Process
    channel: Channel[FromWorker]


async def start_worker(
    command: Sequence[str], environment: Mapping[str, str], assignment: bytes, index: int
) -> Worker:
    """Start a process that finds a socket under the descriptor that is its last argument.

    It has no signals from our terminal, nothing to read, and writes where we write our log.

    Raises:
        InstanceDeadError: the machine has no room for a process.
    """
    try:
        ours, theirs = socket.socketpair()
    except OSError as error:
        raise InstanceDeadError(reason="crashed") from error
    channel = await open_channel(ours, FromWorker)
    with theirs:
        try:
            # Quick, and in this thread: with the one that started it, Linux ends the process.
            process = subprocess.Popen(  # noqa: ASYNC220, S603
                [*command, str(theirs.fileno())],
                env=dict(environment),
                pass_fds=[theirs.fileno()],
                stdin=subprocess.DEVNULL,
                stdout=STANDARD_ERROR,
                start_new_session=True,
            )
        except OSError as error:
            await channel.close()
            raise InstanceDeadError(reason="crashed") from error
    channel.send(Begin(assignment))
    _log.info("worker.started", instance=index, pid=process.pid)
    return Worker(index, process, channel)


async def stop_process(process: Process, limit_s: float) -> int:
    """Wait for the end of a process, kill it if it does not come in time; gives its exit code."""
    with suppress(subprocess.TimeoutExpired):
        return await asyncio.to_thread(process.wait, limit_s)
    process.kill()
    return await asyncio.to_thread(process.wait)


def describe_exit(code: int) -> str:
    """An exit code, or the name of the signal, in words."""
    if code >= 0:
        return f"code {code}"
    with suppress(ValueError):
        return Signals(-code).name
    return f"signal {-code}"
