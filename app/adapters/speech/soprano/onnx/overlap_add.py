"""Spectra to sound, piece by piece: the inverse short-time Fourier transform with its overlap.

Frame i of 2048 samples begins 1024 samples before sample 512 i (the transform is centred), so it
adds to the four blocks of 512 samples from i - 2 to i + 1, and block i - 2 is done once frame i is
there. Blocks before sample 0 are cut off; the sum of the squared windows, by which samples are
divided, lacks one frame in the first block and in the last one (as in `torch.istft`).
"""

from typing import Final

import numpy as np
from numpy.typing import NDArray

from app.adapters.speech.soprano.checkpoint.shapes import N_FFT

HOP_LENGTH: Final = 512  # samples between frames; fixed by the package

OVERLAP: Final = N_FFT // HOP_LENGTH  # frames that add to each block

NUM_CUT_BLOCKS: Final = OVERLAP // 2  # blocks before sample 0

NUM_CARRIED: Final = OVERLAP - 1  # blocks that wait for frames to come

MAX_MAGNITUDE: Final = 100.0  # of a bin, as in the package

Blocks = NDArray[np.float32]  # (rows, blocks, 512) samples


class OverlapAdd:
    """The transform of one decoder.

    Args:
        window: (2048,) of the checkpoint.
    """

    def __init__(self, window: NDArray[np.float32]) -> None:
        self._window = window
        quarters = (window**2).reshape(OVERLAP, HOP_LENGTH)
        self._weight = quarters.sum(axis=0)
        self._first_weight = quarters[:-1].sum(axis=0)
        self._last_weight = quarters[1:].sum(axis=0)

    def start(self) -> Blocks:
        """What is carried before the first frame, (3, 512)."""
        return np.zeros((NUM_CARRIED, HOP_LENGTH), np.float32)

    def push(
        self, spectra: NDArray[np.float32], carried: Blocks, *, is_first: bool, is_last: bool
    ) -> tuple[NDArray[np.float32], Blocks]:
        """Sound that is done, and what is carried on.

        Args:
            spectra: (rows, frames, 2050), logarithms of the magnitudes first, then the phases; at
                least 3 frames if `is_first`.
            carried: (rows, 3, 512), as the last call gave it.
            is_first: whether these are the first frames of their sentences.
            is_last: whether these are the last ones.

        Returns:
            (rows, samples) and (rows, 3, 512).
        """
        num_frames = spectra.shape[1]
        frames = self._frames(spectra)  # (rows, frames, 4, 512)
        blocks = np.zeros((len(spectra), num_frames + NUM_CARRIED, HOP_LENGTH), np.float32)
        blocks[:, :NUM_CARRIED] = carried
        # Earlier frames are added first, so that the sums are the same however frames are grouped.
        for quarter in reversed(range(OVERLAP)):
            blocks[:, quarter : quarter + num_frames] += frames[:, :, quarter]
        start = NUM_CUT_BLOCKS if is_first else 0
        end = num_frames + 1 if is_last else num_frames
        done = blocks[:, start:end] / self._weight
        if is_first:
            done[:, 0] = blocks[:, start] / self._first_weight
        if is_last:
            done[:, -1] = blocks[:, end - 1] / self._last_weight
        return done.reshape(len(done), -1), blocks[:, num_frames:].copy()

    def _frames(self, spectra: NDArray[np.float32]) -> NDArray[np.float32]:
        """The windowed frames of the samples, in quarters.

        Row by row: so what is computed on the way stays in the processor's cache.
        """
        from scipy.fft import irfft

        num_bins = spectra.shape[-1] // 2
        frames = np.empty((*spectra.shape[:-1], N_FFT), np.float32)
        for row, row_frames in zip(spectra, frames, strict=True):
            magnitude = np.exp(row[:, :num_bins])
            np.minimum(magnitude, np.float32(MAX_MAGNITUDE), out=magnitude)
            phase = row[:, num_bins:]
            bins = np.empty(magnitude.shape, np.complex64)
            np.multiply(magnitude, np.cos(phase), out=bins.real)
            np.multiply(magnitude, np.sin(phase), out=bins.imag)
            bins[:, [0, -1]] = 0  # the package drops the constant and the highest frequency
            samples = irfft(bins, N_FFT, axis=-1, overwrite_x=True)
            np.multiply(samples, self._window, out=row_frames)
        return frames.reshape(*spectra.shape[:-1], OVERLAP, HOP_LENGTH)
