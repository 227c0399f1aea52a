"""Whether new speech is taken in: before the server ends it is not, and what runs may finish."""

import asyncio

from app.domain.errors import ServerDrainingError


class Intake:
    """Open at first, then draining, then over; there is no way back."""

    def __init__(self) -> None:
        self._draining = asyncio.Event()
        self._over = asyncio.Event()

    @property
    def is_draining(self) -> bool:
        """Whether nothing new is taken in; what runs is to finish."""
        return self._draining.is_set()

    @property
    def is_over(self) -> bool:
        """Whether what still runs must end now."""
        return self._over.is_set()

    def check(self) -> None:
        """Return if something new may begin; raises ServerDrainingError."""
        if self.is_draining:
            raise ServerDrainingError

    def drain(self) -> None:
        """Take in nothing new."""
        self._draining.set()

    def end(self) -> None:
        """Let nothing go on, either."""
        self._draining.set()
        self._over.set()

    async def wait_until_draining(self) -> None:
        """Return once nothing new is taken in."""
        await self._draining.wait()

    async def wait_until_over(self) -> None:
        """Return once nothing may go on."""
        await self._over.wait()
