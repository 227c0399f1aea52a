"""From a worker thread to a coroutine, item by item."""

import asyncio
from collections.abc import AsyncGenerator
from typing import Generic, TypeVar

from app.domain.errors import SpeechError

T = TypeVar("T")


class Handover(Generic[T]):
    """Items on their way to the event loop in which it was made."""

    def __init__(self) -> None:
        self._items: asyncio.Queue[T | SpeechError | None] = asyncio.Queue()
        self._loop = asyncio.get_running_loop()

    def send(self, item: T | SpeechError | None) -> None:
        """Hand over, from any thread; an error or None is the end."""
        if not self._loop.is_closed():
            self._loop.call_soon_threadsafe(self._items.put_nowait, item)

    async def receive(self) -> AsyncGenerator[T, None]:
        """The items as they come; raises the error that ends them."""
        while (item := await self._items.get()) is not None:
            if isinstance(item, SpeechError):
                raise item
            yield item
