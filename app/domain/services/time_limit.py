"""Work that is given so much time and no more."""

import asyncio
import math
from collections.abc import Callable, Coroutine
from typing import Any, TypeVar

from app.ports.clock import Clock

T = TypeVar("T")


async def within(
    clock: Clock,
    limit_s: float,
    work: Coroutine[Any, Any, T],
    on_expiry: Callable[[], None] = lambda: None,
) -> T:
    """The result of `work`, which is cancelled after `limit_s` seconds.

    Args:
        clock: that waits.
        limit_s: may be infinite.
        work: is awaited in the task of the caller.
        on_expiry: called before it is cancelled for its time.

    Raises:
        TimeoutError: it took longer. What `work` itself gives or raises goes before.
    """
    if math.isinf(limit_s):
        return await work
    task: asyncio.Task[Any] = asyncio.current_task()  # type: ignore[assignment] # there is one
    num_cancels, has_expired = task.cancelling(), False

    async def expire() -> None:
        nonlocal has_expired
        await clock.sleep(limit_s)
        has_expired = True
        on_expiry()
        task.cancel()

    timer = asyncio.create_task(expire())
    try:
        return await work
    except asyncio.CancelledError:
        if has_expired and task.uncancel() <= num_cancels:
            raise TimeoutError from None
        raise
    finally:
        timer.cancel()
