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
    """The result of `work`; cancelled, and waited for, after `limit_s` seconds.

    Args:
        clock: that waits.
        limit_s: may be infinite.
        work: runs in a task of its own.
        on_expiry: called before it is cancelled for its time.

    Raises:
        TimeoutError: it took longer. What `work` itself gives or raises goes before.
    """
    if math.isinf(limit_s):
        return await work
    working = asyncio.ensure_future(work)
    timer = asyncio.ensure_future(clock.sleep(limit_s))
    try:
        await asyncio.wait({working, timer}, return_when=asyncio.FIRST_COMPLETED)
        if not working.done():
            on_expiry()
            raise TimeoutError
        return working.result()
    finally:
        working.cancel()
        timer.cancel()
        await asyncio.gather(working, timer, return_exceptions=True)
