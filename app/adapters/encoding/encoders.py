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
    """AudioEncoder: resamples each chunk, then writes it."""

    def __init__(self, writer: Writer, input_rate: int, output_rate: int) -> None:
        self._writer = writer
        self._input_rate = input_rate
        self._resampler = Resampler(input_rate, output_rate)

    def encode(self, chunk: AudioChunk) -> bytes:
        if chunk.sample_rate != self._input_rate:
            raise EncodingError("The sample rate changed within a stream.")
        samples = self._resampler.push(chunk.samples)
        return self._writer.write(samples) if len(samples) else b""

    def finish(self) -> bytes:
        samples = self._resampler.finish()
        rest = self._writer.write(samples) if len(samples) else b""
        return rest + self._writer.finish()

    def head(self) -> bytes:
        return self._writer.head()


class StreamingEncoders:
    """AudioEncoders for all formats."""

    def open(self, encoding: AudioEncoding, model_rate: int) -> AudioEncoder:
        return ResamplingEncoder(_open_writer(encoding), model_rate, encoding.sample_rate)


def _open_writer(encoding: AudioEncoding) -> Writer:
    match encoding.format:
        case AudioFormat.PCM:
            return PcmWriter()
        case AudioFormat.WAV:
            return WavWriter(encoding.sample_rate)
        case AudioFormat.MP3 | AudioFormat.OPUS | AudioFormat.AAC | AudioFormat.FLAC:
            return _open_ffmpeg_writer(encoding)


def _open_ffmpeg_writer(encoding: AudioEncoding) -> FfmpegWriter:
    codec = CODECS[encoding.format]
    if codec.sample_rates and encoding.sample_rate not in codec.sample_rates:
        raise UnsupportedSampleRateError(encoding.sample_rate, encoding.format, codec.sample_rates)
    return FfmpegWriter(codec, encoding.sample_rate)


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
        """Nothing: raw samples have no end mark."""
        return b""

    def head(self) -> bytes:
        """Nothing: raw samples have no header."""
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


class Resampler:
    """Samples at one rate in, at another out; passes them through where the rates are equal."""

    def __init__(self, input_rate: int, output_rate: int) -> None:
        self._stream: Any = None
        if input_rate != output_rate:
            import soxr

            self._stream = soxr.ResampleStream(input_rate, output_rate, 1, dtype="float32")

    def push(self, samples: NDArray[np.float32]) -> NDArray[np.float32]:
        """Take (num_samples,) float32; what is ready comes back, maybe nothing yet."""
        return self._run(samples, is_last=False)

    def finish(self) -> NDArray[np.float32]:
        """What the filter still holds."""
        return self._run(np.zeros(0, np.float32), is_last=True)

    def _run(self, samples: NDArray[np.float32], *, is_last: bool) -> NDArray[np.float32]:
        if self._stream is None:
            return samples
        resampled: NDArray[np.float32] = self._stream.resample_chunk(samples, last=is_last)
        return resampled
