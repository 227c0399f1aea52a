"""Speech that is kept while it is spoken.

A store that fails is told at the end, and stops nothing.
"""

from collections.abc import AsyncGenerator
from contextlib import aclosing

from app.domain.errors import StoreError
from app.domain.file_name import choose_stem
from app.domain.services.library import AudioLibrary
from app.domain.services.speech_stream import Kept, Part, SpeechStream
from app.domain.speech import SpeechOptions


class Keeping:
    """A wish to keep one answer.

    Args:
        library: keeps it.
        owner: whose file it will be; None where nobody is told apart.
        file_name: that was asked for, as in `choose_stem`.
        options: of the speech.

    Raises:
        InvalidFileNameError: by the name.
    """

    def __init__(
        self,
        library: AudioLibrary,
        owner: str | None,
        file_name: str | None,
        options: SpeechOptions,
    ) -> None:
        self._library = library
        self._owner = owner
        self._stem = choose_stem(file_name, options.format)

    def apply_to(self, stream: SpeechStream) -> None:
        """Keep what `stream` gives; its last part then tells what became of the file."""

        async def keep(parts: AsyncGenerator[Part, None]) -> AsyncGenerator[Part, None]:
            audio_format = stream.encoding.format
            async with (
                aclosing(parts),
                self._library.record(self._owner, self._stem, audio_format) as recording,
            ):
                async for part in parts:
                    if isinstance(part, bytes):
                        await recording.write(part)
                    yield part
                captions = stream.transcript.captions
                try:
                    file = await recording.finish(head=stream.head(), captions=captions)
                except StoreError as error:
                    yield Kept(None, error)
                else:
                    yield Kept(file)

        stream.pass_through(keep)
