"""An encoder per format: a resampler, then a writer."""

import struct
from typing import Any, Final, Protocol

import numpy as np
from numpy.typing import NDArray

from app.adapters.encoding.ffmpeg import CODECS, FfmpegWriter
from app.domain.audio import AudioChunk, AudioEncoding, AudioFormat, to_pcm16
from app.domain.errors import EncodingError, UnsupportedSampleRateError
from app.ports.audio_encoder import AudioEncoder


class Writer(Protocol):
    """Samples at the file's own rate in, bytes out."""

    def write(self, samples: NDArray[np.float32]) -> bytes: ...
    def finish(self) -> bytes: ...
    def head(self) -> bytes: ...


class ResamplingEncoder:
    """AudioEncoder: resamples each chunk where the rates (in Hz) differ, then writes it."""

    def __init__(self, writer: Writer, input_rate: int, output_rate: int) -> None:
        self._writer = writer
        self._input_rate = input_rate
        self._resampler: Any = None
        if input_rate != output_rate:
            import soxr

            self._resampler = soxr.ResampleStream(input_rate, output_rate, 1, dtype="float32")

    def encode(self, chunk: AudioChunk) -> bytes:
        if chunk.sample_rate != self._input_rate:
            raise EncodingError("The sample rate changed within a stream.")
        return self._write(chunk.samples)

    def finish(self) -> bytes:
        return self._write(np.zeros(0, np.float32), is_last=True) + self._writer.finish()

    def head(self) -> bytes:
        return self._writer.head()

    def _write(self, samples: NDArray[np.float32], *, is_last: bool = False) -> bytes:
        if self._resampler is not None:
            samples = self._resampler.resample_chunk(samples, last=is_last)
        return self._writer.write(samples) if len(samples) else b""


class StreamingEncoders:
    """AudioEncoders for all formats."""

    def open(self, encoding: AudioEncoding, model_rate: int) -> AudioEncoder:
        rate = encoding.sample_rate
        writer: Writer
        if encoding.format is AudioFormat.PCM:
            writer = PcmWriter()
        elif encoding.format is AudioFormat.WAV:
            writer = WavWriter(rate)
        else:
            codec = CODECS[encoding.format]
            if codec.sample_rates and rate not in codec.sample_rates:
                raise UnsupportedSampleRateError(rate, encoding.format, codec.sample_rates)
            writer = FfmpegWriter(codec, rate)
        return ResamplingEncoder(writer, model_rate, rate)


UNKNOWN_SIZE: Final = 0xFFFF_FFFF
HEADER_SIZE: Final = 44
BYTES_PER_SAMPLE: Final = 2


def wav_header(sample_rate: int, num_data_bytes: int | None) -> bytes:
    """The 44 bytes before the samples of a plain (tag 1) mono file; None is an unknown length."""
    if num_data_bytes is None or num_data_bytes > UNKNOWN_SIZE - HEADER_SIZE:
        riff_size = data_size = UNKNOWN_SIZE
    else:
        riff_size, data_size = num_data_bytes + HEADER_SIZE - 8, num_data_bytes
    return struct.pack(
        "<4sI4s4sIHHIIHH4sI",
        b"RIFF", riff_size, b"WAVE",
        b"fmt ", 16, 1, 1, sample_rate, sample_rate * BYTES_PER_SAMPLE, BYTES_PER_SAMPLE, 16,
        b"data", data_size,
    )  # fmt: skip


class PcmWriter:
    """Raw samples."""

    def write(self, samples: NDArray[np.float32]) -> bytes:
        """(num_samples,) float32 as 16 bit little-endian."""
        return to_pcm16(samples).astype("<i2", copy=False).tobytes()

    def finish(self) -> bytes:
        return b""

    def head(self) -> bytes:
        return b""


class WavWriter(PcmWriter):
    """Raw samples behind a header."""

    def __init__(self, sample_rate: int) -> None:
        self._sample_rate = sample_rate
        self._num_data_bytes = 0
        self._header = wav_header(sample_rate, None)

    def write(self, samples: NDArray[np.float32]) -> bytes:
        """The same, after the header the first time."""
        data = super().write(samples)
        self._num_data_bytes += len(data)
        header, self._header = self._header, b""
        return header + data

    def finish(self) -> bytes:
        """The header, if nothing was ever written."""
        header, self._header = self._header, b""
        return header

    def head(self) -> bytes:
        """The header with exact sizes."""
        return wav_header(self._sample_rate, self._num_data_bytes)
