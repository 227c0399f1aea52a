"""How far apart two recordings are to the ear, roughly: the distance of their log-mel spectrograms.

It does not hear phases, which differ freely between recordings that sound alike.
"""

from typing import Final

import numpy as np
from numpy.typing import NDArray

SAMPLE_RATE: Final = 32_000  # Hz, of Soprano

WINDOW_LENGTH: Final = 2_048
HOP_LENGTH: Final = 512  # samples; those of the decoder's own transform

NUM_BANDS: Final = 80

# Below the loudest band of the reference; what is softer counts as silence.
DYNAMIC_RANGE_DB: Final = 80.0

SMALLEST_POWER: Final = 1e-20  # keeps silence finite; far below 24 bits


def log_mel_distance_db(
    reference: NDArray[np.float32], samples: NDArray[np.float32]
) -> float | None:
    """Mean absolute difference of the two log-mel spectrograms over the length both have, in dB.

    Args:
        reference: (num_samples,) at 32 000 Hz.
        samples: (num_samples,) at 32 000 Hz; the length may differ.

    Returns:
        0 for equal samples; None where one of them is empty.
    """
    length = min(len(reference), len(samples))
    if length == 0:
        return None
    expected, found = mel_powers(reference[:length]), mel_powers(samples[:length])
    floor = max(SMALLEST_POWER, float(expected.max()) * 10 ** (-DYNAMIC_RANGE_DB / 10))
    differences = np.log10(np.maximum(expected, floor)) - np.log10(np.maximum(found, floor))
    return float(10 * np.abs(differences).mean())


def mel_powers(samples: NDArray[np.float32]) -> NDArray[np.float64]:
    """Power in each mel band of centred Hann windows, zeros beyond the ends: (frames, 80)."""
    half = WINDOW_LENGTH // 2
    padded = np.pad(samples.astype(np.float64), half)
    windows = np.lib.stride_tricks.sliding_window_view(padded, WINDOW_LENGTH)[::HOP_LENGTH]
    spectra = np.fft.rfft(windows * np.hanning(WINDOW_LENGTH + 1)[:-1], axis=1)
    powers: NDArray[np.float64] = np.abs(spectra) ** 2 @ mel_filters().T
    return powers


def mel_filters() -> NDArray[np.float64]:
    """Triangles of height 1, evenly spaced on the mel scale from 0 Hz to half the sample rate.

    Davis and Mermelstein, Comparison of Parametric Representations for Monosyllabic Word
    Recognition, 1980: each band rises from its lower neighbour's centre and falls to the upper's.

    Returns:
        (80, 1025).
    """
    top = hertz_to_mel(np.array(SAMPLE_RATE / 2))
    corners = mel_to_hertz(np.linspace(0.0, top, NUM_BANDS + 2))
    lower, centre, upper = (corners[i : i + NUM_BANDS, np.newaxis] for i in range(3))
    frequencies = np.fft.rfftfreq(WINDOW_LENGTH, 1 / SAMPLE_RATE)
    rising = (frequencies - lower) / (centre - lower)
    falling = (upper - frequencies) / (upper - centre)
    return np.maximum(0.0, np.minimum(rising, falling))


def hertz_to_mel(frequencies: NDArray[np.float64]) -> NDArray[np.float64]:
    """2595 log10(1 + f / 700); O'Shaughnessy, Speech Communication, 1987; as in HTK."""
    mels: NDArray[np.float64] = 2_595.0 * np.log10(1.0 + frequencies / 700.0)
    return mels


def mel_to_hertz(mels: NDArray[np.float64]) -> NDArray[np.float64]:
    """The inverse of `hertz_to_mel`."""
    frequencies: NDArray[np.float64] = 700.0 * (10.0 ** (mels / 2_595.0) - 1.0)
    return frequencies
