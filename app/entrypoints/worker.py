"""The process in which one instance of the model lives: `python -m app.entrypoints.worker SOCKET`.

Only the server starts it, and it never outlives the server. SOCKET is the number of a descriptor
over which it is told what to be; it leaves signals to the server, which ends it over the same way.
"""

import asyncio
import ctypes
import os
import signal
import sys
from functools import partial
from socket import socket
from typing import Final

import structlog

from app.entrypoints.bootstrap.instances import build_assigned, open_worker
from app.entrypoints.log import configure_logging
from app.entrypoints.memory import tune_allocation

EXIT_ORPHANED: Final = 1
PR_SET_PDEATHSIG: Final = 1  # prctl(2): the signal that this process gets when its parent dies


def main() -> None:
    """Serve the model over the socket whose number is the argument."""
    for number in (signal.SIGINT, signal.SIGTERM):  # a supervisor may send them to all of us
        signal.signal(number, signal.SIG_IGN)
    if sys.platform == "linux":  # also if the event loop stands still; else the socket says enough
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
    tune_allocation()
    asyncio.run(_serve(int(sys.argv[1])))


async def _serve(descriptor: int) -> None:
    end = socket(fileno=descriptor)
    end.set_inheritable(False)
    assignment, server = await open_worker(end)
    configure_logging(assignment.log)
    structlog.contextvars.bind_contextvars(instance=assignment.index, pid=os.getpid())
    if not await server.run(partial(build_assigned, assignment)):
        os._exit(EXIT_ORPHANED)  # nobody waits for what blocks in threads


if __name__ == "__main__":
    main()
