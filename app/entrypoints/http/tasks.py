"""Work beside other work, in tasks that never outlive it."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Coroutine
from contextlib import asynccontextmanager
from typing import Any, TypeVar

from litestar.types import Receive

from app.domain.services.time_limit import unless
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


async def until_disconnect(receive: Receive, work: Awaitable[T]) -> T:
    """The result of `work`, which is cancelled when `receive` ends first.

    Args:
        receive: of a request whose body has been read.
        work: is awaited in the task of the caller.

    Raises:
        ClientDisconnectedError: the client left.
        InvalidApiKeyError: its key was revoked.
        ServerDrainingError: the server's time to stop is over.
    """
    reason: Exception | None = None

    async def watch() -> None:
        nonlocal reason
        try:
            while (await receive())["type"] != "http.disconnect":
                pass
        except Exception as error:  # noqa: BLE001 - raised by `unless`
            reason = error

    watching = asyncio.create_task(watch())
    try:
        return await unless(work, {watching: lambda: reason or ClientDisconnectedError()})
    finally:
        watching.cancel()
        await asyncio.wait({watching})
        reason = None  # it holds this frame, which must not hold it
