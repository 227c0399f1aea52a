"""Kept audio: saved while it is spoken, listed, opened, deleted, cleaned up; each owner's alone.

Knows nothing of where the store is. A store that fails is told to the observer and tried again; it
never stops the server or a speech.
"""

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager, suppress
from typing import Any, Final

import msgspec

from app.domain.audio import AudioFormat
from app.domain.errors import StoreError, UnknownCursorError
from app.domain.segment import Caption
from app.domain.services.time_limit import within
from app.ports.audio_store import AudioStores, StoredAudio
from app.ports.clock import Clock
from app.ports.telemetry import SpeechObserver, StoreAction

MAX_WAITING_PARTS: Final = 16  # parts that the store may lag behind; then the speech waits for it
MAX_WAIT_S: Final = 10.0  # for how many seconds, before the store is given up
MAX_FINISH_S: Final = 60.0  # the same at the end, when the whole file is pressed onto the disk
CLEAN_UP_INTERVAL_S: Final = 300.0  # between two looks at the limits of the store


class Recording:
    """One file being made. Begun by `AudioLibrary.record`; the caller closes it."""

    def __init__(
        self, library: "AudioLibrary", owner: str | None, stem: str, audio_format: AudioFormat
    ) -> None:
        self.error: StoreError | None = None  # why nothing will be kept; None while all is well
        self._library = library
        self._parts: asyncio.Queue[bytes | None] = asyncio.Queue(MAX_WAITING_PARTS)
        self._head = b""
        self._captions: Sequence[Caption] = ()
        self._saved: StoredAudio | None = None
        self._has_stalled = False
        self._saving = asyncio.create_task(self._save(owner, stem, audio_format), name="save-audio")

    async def write(self, part: bytes | None) -> None:
        """Take the next bytes of the file; waits while the store lags behind. Never raises."""
        if self.error is not None:
            return
        try:
            self._parts.put_nowait(part)
        except asyncio.QueueFull:
            await self._wait(asyncio.ensure_future(self._parts.put(part)), MAX_WAIT_S)

    async def finish(self, *, head: bytes = b"", captions: Sequence[Caption] = ()) -> StoredAudio:
        """Keep the file: it is safe on the disk when this returns. Call once, after all parts.

        `head` replaces the first bytes; `captions` are kept beside the file, if there are any.
        Raises StoreError if the store failed, now or at any time before.
        """
        self._head, self._captions = head, captions
        await self.write(None)
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

    async def _save(self, owner: str | None, stem: str, audio_format: AudioFormat) -> None:
        async def parts() -> AsyncIterator[bytes]:
            while (part := await self._parts.get()) is not None:
                yield part

        try:
            store = await self._library.stores.for_owner(owner)
            self._saved = await store.save(
                parts(),
                stem=stem,
                audio_format=audio_format,
                head=lambda: self._head,
                captions=lambda: self._captions,
            )
            self._library.error = None
        except Exception as error:  # noqa: BLE001 - the speech goes on, whatever it was
            self._give_up(as_store_error(error))

    async def _wait(self, work: "asyncio.Future[Any]", max_wait_s: float) -> None:
        """Return when `work` is over, whatever its result, or the store is given up."""
        try:
            await within(self._library.clock, max_wait_s, asyncio.wait({work}))
        except TimeoutError:
            self._has_stalled = True
            self._give_up(StoreError("The store of finished audio does not answer."))
        finally:
            work.cancel()

    def _give_up(self, error: StoreError) -> None:
        if self.error is None:
            self.error = self._library.error = error
            self._library.observer.store_failed("save", error)
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


class Page(msgspec.Struct, frozen=True):
    """A part of a list, and whether more follows it."""

    files: Sequence[StoredAudio]
    has_more: bool


def choose_page(
    files: Sequence[StoredAudio], limit: int, after: str | None, *, is_newest_first: bool
) -> Page:
    """At most `limit` of `files`, which are given oldest first; raises UnknownCursorError.

    `after` is the name of the last file of the page before; None begins the list.
    """
    ordered = files[::-1] if is_newest_first else files
    names = [file.name for file in ordered]
    if after is not None and after not in names:
        raise UnknownCursorError(after)
    start = 0 if after is None else names.index(after) + 1
    end = start + limit
    return Page(ordered[start:end], has_more=end < len(ordered))


class AudioLibrary:
    """What may be done with kept audio; single files are read and deleted in the owner's store."""

    def __init__(self, stores: AudioStores, clock: Clock, observer: SpeechObserver) -> None:
        self.stores = stores
        self.clock = clock
        self.observer = observer
        # why the store could not be opened or cleaned at the last try, or could not keep a file
        # since; None if it could
        self.error: StoreError | None = None

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """Open the store and keep it within its limits, in the background."""

        async def tend() -> None:
            while True:
                await self.clean_up()
                await self.clock.sleep(CLEAN_UP_INTERVAL_S)

        tending = asyncio.create_task(tend(), name="clean-up-store")
        try:
            yield
        finally:
            tending.cancel()
            with suppress(asyncio.CancelledError):
                await tending

    def record(self, owner: str | None, stem: str, audio_format: AudioFormat) -> Recording:
        """Begin to store audio while it is made; `stem` comes from `choose_stem`."""
        return Recording(self, owner, stem, audio_format)

    async def clean_up(self) -> None:
        """Bring every owner's files within the limits. Never raises: failures are told."""
        action: StoreAction = "open"
        first: StoreError | None = None
        try:
            await self.stores.for_owner(None)
            owners = await self.stores.owners()
            action = "clean_up"
            for owner in owners:
                try:
                    store = await self.stores.for_owner(owner)
                    if num_removed := await store.clean_up():
                        self.observer.store_cleaned(num_removed)
                except Exception as error:  # noqa: BLE001 - the others' turn comes all the same
                    first = first or as_store_error(error)
        except Exception as error:  # noqa: BLE001 - a later try may succeed, whatever it was
            first = as_store_error(error)
        if first is not None and str(first) != str(self.error):
            self.observer.store_failed(action, first)
        self.error = first
