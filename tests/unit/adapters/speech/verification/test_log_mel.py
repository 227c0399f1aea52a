"""The log-mel distance, on sounds whose distance is known."""

import numpy as np
import pytest
from numpy.typing import NDArray

from app.adapters.speech.soprano.checkpoint.shapes import SAMPLE_RATE
from app.adapters.speech.verification import (
    hertz_to_mel,
    log_mel_distance_db,
    mel_filters,
    mel_powers,
    mel_to_hertz,
)

RNG = np.random.default_rng(0)
NOISE = RNG.standard_normal(SAMPLE_RATE).astype(np.float32) * np.float32(0.1)


def tone(frequency: float) -> NDArray[np.float32]:
    times = np.arange(SAMPLE_RATE) / SAMPLE_RATE
    return np.sin(2 * np.pi * frequency * times).astype(np.float32)


def test_a_sound_is_0_db_from_itself() -> None:
    assert log_mel_distance_db(NOISE, NOISE) == 0.0


@pytest.mark.parametrize(("factor", "distance_db"), [(10**0.5, 10.0), (0.1, 20.0), (-1.0, 0.0)])
def test_the_same_sound_at_another_level_is_as_far_as_the_levels_are(
    factor: float, distance_db: float
) -> None:
    distance = log_mel_distance_db(NOISE, NOISE * np.float32(factor))
    assert distance == pytest.approx(distance_db, abs=0.01)


def test_only_the_common_length_counts() -> None:
    assert log_mel_distance_db(NOISE[:20_000], NOISE) == 0.0


def test_silence_is_0_db_from_silence_and_80_db_from_a_click() -> None:
    silence = np.zeros(2_048, np.float32)
    assert log_mel_distance_db(silence, silence) == 0.0
    assert log_mel_distance_db(silence[:0], silence[:0]) == 0.0
    click = silence.copy()
    click[1_024] = 1.0  # all bands are as loud as they are wide
    distance = log_mel_distance_db(click, silence)
    assert 10 < distance <= 80


def test_what_is_80_db_below_the_loudest_is_not_heard() -> None:
    loud = tone(1_000.0)
    assert log_mel_distance_db(loud, loud + NOISE * np.float32(1e-7)) == pytest.approx(0.0, abs=0.1)


@pytest.mark.parametrize(("frequency", "mel"), [(0.0, 0.0), (700.0, 781.17), (1_000.0, 999.99)])
def test_the_mel_scale_goes_through_its_known_points(frequency: float, mel: float) -> None:
    """700 Hz is 2595 log10(2); 1000 Hz is about 1000 mel by design."""
    assert hertz_to_mel(np.array(frequency)) == pytest.approx(mel, abs=0.01)
    assert mel_to_hertz(hertz_to_mel(np.array(frequency))) == pytest.approx(frequency)


def test_neighbouring_bands_add_up_to_1_between_the_first_centre_and_the_last() -> None:
    filters = mel_filters()
    assert filters.shape == (80, 1_025)
    assert filters.min() >= 0
    assert filters.max() <= 1
    assert (filters.max(axis=1) > 0).all()
    first, last = filters[0].argmax() + 1, filters[-1].argmax()
    assert filters[:, first:last].sum(axis=0) == pytest.approx(1.0)


@pytest.mark.parametrize("frequency", [200.0, 1_000.0, 5_000.0, 12_000.0])
def test_a_tone_is_loudest_in_the_band_around_it(frequency: float) -> None:
    powers = mel_powers(tone(frequency))
    assert powers.shape == (SAMPLE_RATE // 512 + 1, 80)
    centres = mel_to_hertz(np.linspace(0.0, hertz_to_mel(np.array(16_000.0)), 82))[1:-1]
    loudest = centres[powers[30].argmax()]
    assert abs(hertz_to_mel(loudest) - hertz_to_mel(np.array(frequency))) < 44
