import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as st_numpy

from app.domain.audio import AudioChunk, AudioFormat, choose_sample_rate, silence, to_pcm16
from app.domain.errors import InvalidAudioError


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_samples_that_are_not_finite_are_refused(bad: float) -> None:
    with pytest.raises(InvalidAudioError):
        AudioChunk(np.array([0.0, bad], np.float32), 24_000)


@pytest.mark.parametrize(
    ("samples", "rate"),
    [
        (np.zeros((2, 2), np.float32), 24_000),
        (np.zeros(2, np.float64), 24_000),
        (np.zeros(2, np.int16), 24_000),
        (np.zeros(2, np.float32), 0),
    ],
)
def test_audio_of_another_shape_dtype_or_rate_is_refused(samples: np.ndarray, rate: int) -> None:
    with pytest.raises(InvalidAudioError):
        AudioChunk(samples, rate)


def test_duration_is_samples_over_rate() -> None:
    assert silence(0.25, 8_000).num_samples == 2_000
    assert silence(0.25, 8_000).duration_s == 0.25


def test_loud_samples_are_clipped_and_never_wrap() -> None:
    samples = np.array([2.0, 1.0, 0.0, -1.0, -5.0], np.float32)
    assert to_pcm16(samples).tolist() == [32767, 32767, 0, -32767, -32767]


@given(st_numpy.arrays(np.float32, 16, elements=st.floats(-100, 100, width=32)))
def test_sixteen_bit_samples_keep_the_sign_and_order_of_the_originals(samples: np.ndarray) -> None:
    pcm = to_pcm16(samples)
    assert (np.sign(pcm) * np.sign(samples) >= 0).all()
    assert (np.diff(pcm[np.argsort(samples)].astype(int)) >= 0).all()


@pytest.mark.parametrize(
    ("audio_format", "asked", "expected"),
    [
        (AudioFormat.PCM, None, 24_000),
        (AudioFormat.OPUS, None, 48_000),
        (AudioFormat.MP3, None, 32_000),
        (AudioFormat.WAV, None, 32_000),
        (AudioFormat.AAC, None, 32_000),
        (AudioFormat.FLAC, None, 32_000),
        (AudioFormat.PCM, 16_000, 16_000),
        (AudioFormat.WAV, 8_000, 8_000),
    ],
)
def test_the_sample_rate_is_the_one_asked_for_else_the_rule_of_the_format(
    audio_format: AudioFormat, asked: int | None, expected: int
) -> None:
    assert choose_sample_rate(audio_format, asked, 32_000) == expected
