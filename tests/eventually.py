"""Waiting for what happens soon, and failing if it does not."""

import asyncio
from collections.abc import Callable
from typing import Final

PATIENCE_S: Final = 10.0


async def eventually(condition: Callable[[], bool]) -> None:
    """Return once that is so."""
    async with asyncio.timeout(PATIENCE_S):
        while not condition():
            await asyncio.sleep(0.002)
