"""`soprano-api` that soon gives up a client which reads nothing: `python -m ... serve`."""

from typing import Final

from app.entrypoints.cli.main import main
from app.entrypoints.http import server

LIMIT_S: Final = 1.0

if __name__ == "__main__":
    server.SEND_TIMEOUT_S = LIMIT_S  # type: ignore[misc] # in this process
    main()
