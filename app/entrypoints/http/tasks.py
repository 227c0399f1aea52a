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


class EndedError(Exception):
    """Work was cancelled because something else ended it."""


async def unless(work: Coroutine[Any, Any, T], *ends: asyncio.Future[None]) -> T:
    """The result of `work`, which is cancelled when one of `ends` is done; they are not.

    Raises:
        EndedError: one of them was done first.
    """
    task: asyncio.Task[Any] = asyncio.current_task()  # type: ignore[assignment] # there is one
    num_cancels, is_working, has_ended = task.cancelling(), True, False

    def end(_: asyncio.Future[None]) -> None:
        nonlocal has_ended
        if is_working and not has_ended:
            has_ended = True
            task.cancel()

    for future in ends:
        future.add_done_callback(end)
    try:
        return await work
    except asyncio.CancelledError:
        if has_ended and task.uncancel() <= num_cancels:
            raise EndedError from None
        raise
    finally:
        is_working = False
        for future in ends:
            future.remove_done_callback(end)


async def until_disconnect(receive: Receive, work: Coroutine[Any, Any, T]) -> T:
    """The result of `work`, which is cancelled when `receive` ends first.

    Args:
        receive: of a request whose body has been read.
        work: is awaited in the task of the caller.

    Raises:
        ClientDisconnectedError: the client left.
        InvalidApiKeyError: its key was revoked.
        ServerDrainingError: the server's time to stop is over.
    """
    task: asyncio.Task[Any] = asyncio.current_task()  # type: ignore[assignment] # there is one
    num_cancels = task.cancelling()
    reason: Exception | None = None

    async def watch() -> None:
        nonlocal reason
        try:
            while (await receive())["type"] != "http.disconnect":
                pass
            reason = ClientDisconnectedError()
        except Exception as error:  # noqa: BLE001 - raised below
            reason = error
        task.cancel()

    watching = asyncio.create_task(watch())
    try:
        return await work
    except asyncio.CancelledError:
        if reason is None or task.uncancel() > num_cancels:
            raise
        try:
            raise reason from None
        finally:
            reason = None  # it holds this frame, and the frame it
    finally:
        watching.cancel()
        await asyncio.wait({watching})
