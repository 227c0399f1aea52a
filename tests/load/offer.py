"""Two ways to offer load: as many listeners as there are, or as many requests as come."""

import asyncio
import time
from collections.abc import Iterator, Mapping
from typing import Any

from tests.load.exchange import SPEECH, Exchange, exchange, request_bytes

REFUSED_PAUSE_S = 0.05
"""After which a listener that was refused asks again; much sooner than it was told to."""


class Offer:
    """Listeners of one server.

    Args:
        url: of the server.
        texts: what they ask for.
        fields: of every request.
        headers: likewise.

    Attributes:
        done: what became of their requests, as they ended.
        num_unsent: requests that were due while too many were open.
    """

    def __init__(
        self,
        url: str,
        texts: Iterator[str],
        fields: Mapping[str, Any] | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> None:
        self.done: list[Exchange] = []
        self.num_unsent = 0
        self._url = url
        self._texts = texts
        self._fields = {"response_format": "pcm", **(fields or {})}
        self._headers = dict(headers or {})

    async def closed(self, num_clients: int, duration_s: float) -> None:
        """So many listeners, each of which asks again when it has heard all."""
        end = time.monotonic() + duration_s
        await asyncio.gather(*(self._listen(end) for _ in range(num_clients)))

    async def open(self, rate: float, duration_s: float, max_open: int = 2_000) -> None:
        """`rate` requests per second, whatever becomes of those before; returns when all ended."""
        started = time.monotonic()
        asking: set[asyncio.Task[Exchange]] = set()
        for number in range(round(rate * duration_s)):
            await asyncio.sleep(max(0.0, started + number / rate - time.monotonic()))
            if len(asking) >= max_open:
                self.num_unsent += 1
                continue
            task = asyncio.create_task(self.ask())
            asking.add(task)
            task.add_done_callback(asking.discard)
        await asyncio.gather(*asking)

    async def ask(self) -> Exchange:
        """One request."""
        body = {**self._fields, "input": next(self._texts)}
        sent = request_bytes(self._url, SPEECH, body, self._headers)
        result, _ = await exchange(self._url, sent)
        self.done.append(result)
        return result

    async def _listen(self, end: float) -> None:
        while time.monotonic() < end:
            result = await self.ask()
            if not result.is_spoken:
                await asyncio.sleep(REFUSED_PAUSE_S)
