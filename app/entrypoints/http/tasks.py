"""Work beside other work, in tasks that never outlive it."""

import asyncio
from collections.abc import AsyncIterator, Coroutine
from contextlib import asynccontextmanager
from typing import Any, TypeVar

from litestar.types import Receive

from app.entrypoints.http.errors import ClientDisconnectedError

T = TypeVar("T")


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


async def until_disconnect(receive: Receive, work: Coroutine[Any, Any, T]) -> T:
    """The result of `work`; cancelled, and waited for, when `receive` ends first.

    Args:
        receive: of a request whose body has been read.
        work: runs in a task of its own.

    Raises:
        ClientDisconnectedError: the client left.
        InvalidApiKeyError: its key was revoked.
        ServerDrainingError: the server's time to stop is over.
    """
    async with running(work, _client_leaves(receive)) as (working, leaving):
        await first_of(working, leaving)
        if working.done():
            result: T = working.result()
            return result
        try:
            leaving.result()
        finally:
            del leaving  # it holds what is raised here, which holds this frame, and the work
        raise ClientDisconnectedError


async def _client_leaves(receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass
