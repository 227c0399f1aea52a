"""The ports to containers and codecs."""

from typing import Protocol

from app.domain.audio import AudioChunk, AudioEncoding


class AudioEncoder(Protocol):
    """Audio chunks in, bytes of one continuous file out.

    Holds the state of one stream; dropping it frees the codec. Calls take CPU time, so they belong
    in a worker thread; they may move between threads but never overlap.
    """

    def encode(self, chunk: AudioChunk) -> bytes:
        """Bytes that can leave now: maybe none yet, the codec keeps what it needs.

        Raises:
            EncodingError: the codec refused, or the chunk's rate is not that of the stream.
        """

    def finish(self) -> bytes:
        """The remaining bytes. Called once, last."""

    def head(self) -> bytes:
        """What the first bytes of the file should be now that its length is known.

        Empty where the format needs no correction. Call after `finish`; a caller that holds the
        whole file writes it over the beginning.
        """


class AudioEncoders(Protocol):
    """Makes an encoder per stream."""

    def open(self, encoding: AudioEncoding, model_rate: int) -> AudioEncoder:
        """An encoder that takes chunks at `model_rate` Hz and resamples where the rates differ.

        Raises:
            UnsupportedSampleRateError: the format cannot hold `encoding.sample_rate`.
            EncodingError: the codec is missing.
        """
