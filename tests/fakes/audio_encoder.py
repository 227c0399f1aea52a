"""AudioEncoders whose files can be read by eye: a head, then the number of samples per chunk."""

from app.domain.audio import AudioChunk, AudioEncoding, AudioFormat
from app.domain.errors import EncodingError, UnsupportedSampleRateError

SUPPORTED_RATES = range(8_000, 48_001)


class FakeAudioEncoder:
    """`<0000>` then `[n]` per chunk of n samples, then `!`; the head becomes `<total>`."""

    def __init__(self, model_rate: int) -> None:
        self.model_rate = model_rate
        self.chunks: list[AudioChunk] = []
        self.is_finished = False

    def encode(self, chunk: AudioChunk) -> bytes:
        if chunk.sample_rate != self.model_rate:
            raise EncodingError("another rate")
        head = b"" if self.chunks else b"<000000>"
        self.chunks.append(chunk)
        return head + f"[{chunk.num_samples}]".encode()

    def finish(self) -> bytes:
        self.is_finished = True
        return b"!"

    def head(self) -> bytes:
        return f"<{sum(chunk.num_samples for chunk in self.chunks):06d}>".encode()


class FakeAudioEncoders:
    """Remembers what it was asked to open.

    Attributes:
        opened: the encoders, oldest first.
        encodings: what they write.
        unsupported: formats with sample rates in Hz that they cannot write.
    """

    def __init__(self) -> None:
        self.opened: list[FakeAudioEncoder] = []
        self.encodings: list[AudioEncoding] = []
        self.unsupported: set[tuple[AudioFormat, int]] = set()

    def open(self, encoding: AudioEncoding, model_rate: int) -> FakeAudioEncoder:
        is_supported = (encoding.format, encoding.sample_rate) not in self.unsupported
        if encoding.sample_rate not in SUPPORTED_RATES or not is_supported:
            raise UnsupportedSampleRateError(encoding.sample_rate, encoding.format, [8_000, 48_000])
        self.encodings.append(encoding)
        self.opened.append(FakeAudioEncoder(model_rate))
        return self.opened[-1]
