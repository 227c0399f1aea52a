"""A text that is still being written: its sentences leave as soon as they are whole."""

import asyncio
from collections.abc import Callable

from app.domain.errors import InputTooLongError
from app.domain.segment import TextSegment
from app.domain.services.prefetch import Prefetcher
from app.domain.speech import SpeechReport
from app.domain.text.splitting import cut_whole_sentences


class LiveText:
    """Takes the pieces of one text. Calls must not overlap.

    Args:
        split: into the segments that the model speaks.
        prefetcher: where they go.
        max_chars: that may wait to be spoken, in code points.
        min_chars: fewer wait for the next sentence; a voice may garble what is very short.
        report: counts the characters.
    """

    def __init__(
        self,
        split: Callable[[str], list[TextSegment]],
        prefetcher: Prefetcher,
        max_chars: int,
        report: SpeechReport,
        *,
        min_chars: int = 0,
    ) -> None:
        self._split = split
        self._prefetcher = prefetcher
        self._max_chars = max_chars
        self._report = report
        self._min_chars = min_chars
        self._rest = ""

    async def write(self, piece: str) -> None:
        """Take the next characters.

        Raises:
            InputTooLongError: too many wait to be spoken; none of `piece` was taken.
        """
        num_waiting = len(self._rest) + self._prefetcher.num_waiting_chars + len(piece)
        if num_waiting > self._max_chars:
            raise InputTooLongError(num_waiting, self._max_chars)
        self._report.num_chars += len(piece)
        whole, rest = cut_whole_sentences(self._rest + piece)
        if len(whole.strip()) < self._min_chars:
            whole, rest = "", whole + rest
        self._rest = rest
        await self._push(whole)

    async def flush(self) -> None:
        """Speak what is there, whole or not."""
        rest, self._rest = self._rest, ""
        await self._push(rest)

    async def finish(self) -> None:
        """The same, and no more will come, even if this raises."""
        try:
            await self.flush()
        finally:
            self._prefetcher.finish()

    def abandon(self) -> None:
        """No more will come, and what is not whole is not spoken."""
        self._prefetcher.finish()

    async def _push(self, text: str) -> None:
        if text:
            segments = await asyncio.to_thread(self._split, text)
            self._prefetcher.push(segments)
