"""The first thing that runs. A server can be stopped while its modules are still being loaded.

Whatever is imported here delays the handlers; `typing` alone would take longer than the rest.
"""

import os
import signal
import sys


def main() -> object:
    """Run the command line."""
    if sys.argv[1:2] == ["serve"]:
        for number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(number, _leave)
    from app.entrypoints.cli.main import main as run  # noqa: PLC0415 - takes most of a second

    return run()


def _leave(*_: object) -> None:
    os._exit(0)  # nothing has begun that would have to be ended
