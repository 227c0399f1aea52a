"""One utterance of the speech socket: what has been written of it, and how much has been sent."""

import asyncio
from typing import Final

from app.domain.audio import AudioFormat
from app.domain.errors import InputTooLongError
from app.domain.services.prefetch import LiveText
from app.domain.services.speech_stream import SpeechStream
from app.domain.speech import SpeechOptions
from app.entrypoints.http.live_messages import Cancelled, End, Flush, Text

BYTES_PER_SAMPLE: Final = 2


class Utterance:
    """Takes text from the reader of the socket, for whoever speaks it.

    Args:
        number: of the utterance on its socket.
        options: how it is spoken.
        max_chars: that may wait here, in code points.

    Attributes:
        has_ended: whether all that was written has been handed on.
        is_over: whether the client was told that the file is whole.
    """

    def __init__(self, number: int, options: SpeechOptions, max_chars: int) -> None:
        self.number = number
        self.options = options
        self.has_ended = False
        self.is_over = False
        self._max_chars = max_chars
        self._num_waiting_chars = 0
        self._last: Text | Flush | End | None = None
        self._written: asyncio.Queue[Text | Flush | End] = asyncio.Queue()
        self._stream: SpeechStream | None = None
        self._num_bytes = 0

    def write(self, message: Text | Flush | End) -> None:
        """Take what was written; raises InputTooLongError, and then has taken nothing."""
        if message == Text("") or message == self._last == Flush():
            return  # says nothing, and would only fill the memory
        if isinstance(message, Text):
            num_waiting = self._num_waiting_chars + len(message.text)
            if num_waiting > self._max_chars:
                raise InputTooLongError(num_waiting, self._max_chars)
            self._num_waiting_chars = num_waiting
        self._last = message
        self._written.put_nowait(message)

    async def hand_next(self, text: LiveText) -> None:
        """Hand the next thing written to `text`.

        Raises:
            InputTooLongError: too much of it is not spoken yet; these characters are lost.
        """
        match await self._written.get():
            case Text(text=piece):
                self._num_waiting_chars -= len(piece)
                await text.write(piece)
            case Flush():
                await text.flush()
            case End():
                self.has_ended = True
                await text.finish()

    def sends(self, stream: SpeechStream) -> None:
        """Note what it is spoken by."""
        self._stream = stream

    def sent(self, part: bytes) -> None:
        """Note that a part of the file has been sent."""
        self._num_bytes += len(part)

    def num_samples(self) -> int:
        """Samples sent: counted where the format shows them, else those the encoder has taken."""
        if self._stream is None:
            return 0
        encoding, head = self._stream.encoding, len(self._stream.head())
        if encoding.format in (AudioFormat.PCM, AudioFormat.WAV):
            return max(0, self._num_bytes - head) // BYTES_PER_SAMPLE
        return round(self._stream.report.audio_s * encoding.sample_rate) if self._num_bytes else 0

    def describe_cancel(self) -> Cancelled:
        """Where it broke off."""
        if self._stream is None:
            return Cancelled(self.number)
        stream, num_samples = self._stream, self.num_samples()
        return Cancelled(
            self.number,
            num_samples,
            num_samples / stream.encoding.sample_rate,
            " ".join(caption.text for caption in stream.captions),
            stream.current_segment.text if stream.current_segment else "",
        )
