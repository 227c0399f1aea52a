"""Ears for tests: decode any answer of the speech endpoint to samples."""

import io

import av
import numpy as np
from numpy.typing import NDArray

CODEC_PADDING = 3 * 1_152
"""Samples that a frame codec may add: its delay and the rest of the last frame (MP3: 1152 each)."""


def decode_pcm(body: bytes) -> NDArray[np.float32]:
    """Raw 16 bit samples as (num_samples,) float32."""
    return np.frombuffer(body, "<i2").astype(np.float32) / np.float32(32_767)


def decode_file(
    body: bytes, raw: str | None = None, sample_rate: int = 8_000
) -> tuple[NDArray[np.float32], int, int]:
    """Samples as (num_samples,) float32, sample rate in Hz, number of channels.

    `raw` is the codec of a file that has no header, `sample_rate` its rate.
    """
    options = {"sample_rate": str(sample_rate)} if raw else {}
    with av.open(io.BytesIO(body), "r", format=raw, options=options) as container:
        stream = container.streams.audio[0]
        resampler = av.AudioResampler(format="flt")
        frames = [
            frame.to_ndarray()[0]
            for decoded in container.decode(stream)
            for frame in resampler.resample(decoded)
        ]
        return np.concatenate(frames), stream.rate, stream.channels
