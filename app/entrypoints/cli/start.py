"""The first thing that runs. A server can be stopped while its modules are still being loaded.

Whatever is imported here delays the handlers; `typing` alone would take longer than the rest.
"""

import os
import signal
import sys


def main() -> object:
    """Run the command line."""
    if sys.argv[1:2] == ["serve"]:
        for number in (signal.SIGINT, signal.SIGTERM):  # nothing has begun that must be ended
            signal.signal(number, lambda *_: os._exit(0))
    from app.entrypoints.cli.main import main as run  # noqa: PLC0415 - takes most of a second

    return run()
