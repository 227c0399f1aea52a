"""The first thing that runs. A server can be stopped while its modules are still being loaded.

Whatever is imported here delays the handlers; `typing` alone would take longer than the rest.
"""

import gc
import os
import signal
import sys

INTERRUPTED = 130  # as shells have it


def main() -> object:
    """Run the command line."""
    is_server = sys.argv[1:2] == ["serve"]
    for number in (signal.SIGINT, signal.SIGTERM) if is_server else (signal.SIGINT,):
        # Nothing has begun that must be ended.
        signal.signal(number, lambda *_: os._exit(0 if is_server else INTERRUPTED))
    gc.disable()  # until the command is imported: a tenth of that went to looking for garbage
    from app.entrypoints.cli.main import main as run  # noqa: PLC0415 - takes most of a second

    if not is_server:
        signal.signal(signal.SIGINT, signal.default_int_handler)
    return run()
