"""An encoder per format: a resampler, then a writer."""

from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from app.adapters.encoding.ffmpeg import CODECS, FfmpegWriter
from app.adapters.encoding.pcm import PcmWriter, Resampler, WavWriter
from app.domain.audio import AudioChunk, AudioEncoding, AudioFormat
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
