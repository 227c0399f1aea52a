"""Work that is given so much time and no more, or that something else may end."""

import asyncio
import math
from collections.abc import Awaitable, Callable, Mapping
from typing import Any, TypeVar

from app.ports.clock import Clock

T = TypeVar("T")


async def unless(
    work: Awaitable[T], ends: Mapping[asyncio.Future[Any], Callable[[], Exception]]
) -> T:
    """The result of `work`, which is cancelled when one of `ends` is done; they are not.

    `work` is awaited in the task of the caller. What it gives or raises goes before. Each of `ends`
    has what makes the error to be raised, which is called before `work` is cancelled.
    """
    task: asyncio.Task[Any] = asyncio.current_task()  # type: ignore[assignment] # there is one
    num_cancels, is_working = task.cancelling(), True
    reason: Exception | None = None

    def end(future: asyncio.Future[Any]) -> None:
        nonlocal reason
        if is_working and reason is None and not future.cancelled():
            reason = ends[future]()
            task.cancel()

    for each in ends:
        each.add_done_callback(end)
    try:
        return await work
    except asyncio.CancelledError:
        if reason is None or task.uncancel() > num_cancels:
            raise
        raise reason from None
    finally:
        is_working = False
        for each in ends:
            each.remove_done_callback(end)
        reason = None  # it holds this frame, which must not hold it


async def within(
    clock: Clock, limit_s: float, work: Awaitable[T], on_expiry: Callable[[], None] = lambda: None
) -> T:
    """The result of `work`, which is cancelled after `limit_s` seconds with a TimeoutError.

    `on_expiry` is called before. What the work gives or raises goes before.
    """
    if math.isinf(limit_s):
        return await work

    def expire() -> TimeoutError:
        on_expiry()
        return TimeoutError()

    timer = asyncio.ensure_future(clock.sleep(limit_s))
    try:
        return await unless(work, {timer: expire})
    finally:
        timer.cancel()
