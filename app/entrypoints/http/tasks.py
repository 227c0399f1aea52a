"""Work beside other work, in tasks that never outlive it."""

import asyncio
from collections.abc import AsyncIterator, Coroutine
from contextlib import asynccontextmanager
from typing import Any


@asynccontextmanager
async def running(*works: Coroutine[Any, Any, Any]) -> AsyncIterator[list[asyncio.Task[Any]]]:
    """A task for each of `works`; at the end of the block they are cancelled and waited for."""
    tasks = [asyncio.create_task(work) for work in works]
    try:
        yield tasks
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


async def first_of(*tasks: asyncio.Future[Any]) -> None:
    """Return when one of them is done, however it ended."""
    await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
