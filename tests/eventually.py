"""Waiting for what happens soon, and failing if it does not."""

import asyncio
import time
from collections.abc import Callable
from typing import Final

PATIENCE_S: Final = 10.0
PROCESS_PATIENCE_S: Final = 100.0  # with another process


async def eventually(condition: Callable[[], bool]) -> None:
    """Return once that is so."""
    async with asyncio.timeout(PATIENCE_S):
        while not condition():
            await asyncio.sleep(0.002)


def wait_until(condition: Callable[[], bool], limit_s: float = PROCESS_PATIENCE_S) -> float:
    """Seconds until that is so, where there is no event loop."""
    begun = time.monotonic()
    while not condition():
        assert time.monotonic() - begun < limit_s
        time.sleep(0.02)
    return time.monotonic() - begun
