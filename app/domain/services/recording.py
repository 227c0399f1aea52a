"""A copy of speech, on its way into the store while it is spoken. It never harms the speech.

The store works in a task of its own, a few parts behind. Whatever happens to it is remembered and
told by `finish`; until then parts are taken and dropped.
"""

import asyncio
from collections.abc import AsyncGenerator, AsyncIterable, Callable, Sequence
from typing import Any, Final, Protocol

from app.domain.captions import Caption
from app.domain.errors import StoreError
from app.ports.audio_store import StoredAudio
from app.ports.clock import Clock

MAX_WAITING_PARTS: Final = 16
"""Parts that the store may lag behind; then the speech waits for it."""

MAX_WAIT_S: Final = 10.0
"""For how many seconds, before the store is given up."""

MAX_FINISH_S: Final = 60.0
"""The same at the end, when the whole file is pressed onto the disk."""


class Save(Protocol):
    """AudioStore.save with stem and format filled in."""

    async def __call__(
        self,
        parts: AsyncIterable[bytes],
        *,
        head: Callable[[], bytes],
        captions: Callable[[], Sequence[Caption]],
    ) -> StoredAudio:
        """Keep the joined `parts`; raises StoreError."""
        ...


class Recording:
    """One file being made. Begun by `AudioLibrary.record`; whoever has it closes it.

    Args:
        save: keeps the file.
        clock: of the patience with the store.
        on_failure: told, at most once, why nothing will be kept.

    Attributes:
        error: why nothing will be kept; None while all is well.
    """

    def __init__(self, save: Save, clock: Clock, on_failure: Callable[[StoreError], None]) -> None:
        self.error: StoreError | None = None
        self._clock = clock
        self._on_failure = on_failure
        self._parts: asyncio.Queue[bytes | None] = asyncio.Queue(MAX_WAITING_PARTS)
        self._head = b""
        self._captions: Sequence[Caption] = ()
        self._saved: StoredAudio | None = None
        self._has_stalled = False
        self._saving = asyncio.create_task(self._save(save), name="save-audio")

    async def write(self, part: bytes) -> None:
        """Take the next bytes of the file; waits while the store lags behind. Never raises."""
        await self._put(part)

    async def finish(self, *, head: bytes = b"", captions: Sequence[Caption] = ()) -> StoredAudio:
        """Keep the file: it is safe on the disk when this returns. Call once, after all parts.

        Args:
            head: replaces the first bytes.
            captions: kept beside the file, if there are any.

        Raises:
            StoreFullError: no space or no number was left.
            StoreError: the store failed, now or at any time before.
        """
        self._head, self._captions = head, captions
        await self._put(None)
        if self.error is None:
            await self._wait(self._saving, MAX_FINISH_S)
        if self._saved is None:
            raise self.error or StoreError("The recording was stopped.")
        return self._saved

    async def aclose(self) -> None:
        """Keep nothing, unless `finish` has."""
        self._saving.cancel()
        if not self._has_stalled:
            await self._wait(self._saving, MAX_WAIT_S)

    async def _save(self, save: Save) -> None:
        try:
            self._saved = await save(
                self._taken(), head=lambda: self._head, captions=lambda: self._captions
            )
        except Exception as error:  # noqa: BLE001 - the speech goes on, whatever it was
            self._give_up(as_store_error(error))

    async def _taken(self) -> AsyncGenerator[bytes, None]:
        while (part := await self._parts.get()) is not None:
            yield part

    async def _put(self, part: bytes | None) -> None:
        if self.error is not None:
            return
        try:
            self._parts.put_nowait(part)
        except asyncio.QueueFull:
            await self._wait(asyncio.ensure_future(self._parts.put(part)), MAX_WAIT_S)

    async def _wait(self, work: "asyncio.Future[Any]", max_wait_s: float) -> None:
        """Return when `work` is over, whatever its result, or the store is given up."""
        limit = asyncio.ensure_future(self._clock.sleep(max_wait_s))
        try:
            await asyncio.wait({work, limit}, return_when=asyncio.FIRST_COMPLETED)
            if not work.done():
                self._has_stalled = True
                self._give_up(StoreError("The store of finished audio does not answer."))
        finally:
            limit.cancel()
            work.cancel()

    def _give_up(self, error: StoreError) -> None:
        if self.error is None:
            self.error = error
            self._on_failure(error)
        # A writer may wait for room.
        while not self._parts.empty():
            self._parts.get_nowait()


def as_store_error(error: Exception) -> StoreError:
    """The same as a StoreError; what the port does not allow is named by its kind only."""
    if isinstance(error, StoreError):
        return error
    wrapped = StoreError(f"The store of finished audio failed: {type(error).__name__}.")
    wrapped.__cause__ = error
    return wrapped
