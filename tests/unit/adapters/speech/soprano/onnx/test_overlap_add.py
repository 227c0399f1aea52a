"""The inverse transform against the one of torch."""

import numpy as np
import pytest

from app.adapters.speech.soprano.onnx.sessions import OverlapAdd

WINDOW = np.hanning(2_049)[:-1].astype(np.float32)


def random_spectra(num_frames: int, level: float = 0.0) -> np.ndarray:
    rng = np.random.default_rng(num_frames)
    spectra = rng.standard_normal((1, num_frames, 2_050)).astype(np.float32)
    spectra[..., :1_025] += level
    return spectra


def transform(spectra: np.ndarray) -> np.ndarray:
    transform_ = OverlapAdd(WINDOW)
    carried = np.zeros((1, 3, 512), np.float32)
    samples, _ = transform_.push(spectra, carried, is_first=True, is_last=True)
    only: np.ndarray = samples[0]
    return only


@pytest.mark.integration  # torch
@pytest.mark.parametrize("num_frames", [5, 6, 9, 41])
def test_it_is_the_inverse_transform_of_torch(num_frames: int) -> None:
    torch = pytest.importorskip("torch")
    spectra = random_spectra(num_frames)
    magnitude, phase = np.exp(spectra[..., :1_025]), spectra[..., 1_025:]
    bins = torch.tensor((magnitude * np.exp(1j * phase)).astype(np.complex64)).transpose(1, 2)
    bins[:, [0, -1]] = 0
    expected = torch.istft(bins, 2_048, 512, 2_048, torch.tensor(WINDOW), center=True)[0].numpy()
    ours = transform(spectra)
    assert len(ours) == (num_frames - 1) * 512
    np.testing.assert_allclose(ours, expected, atol=1e-5 * np.abs(expected).max())


def test_magnitudes_are_limited_as_in_the_package() -> None:
    assert np.array_equal(transform(random_spectra(9, 50.0)), transform(random_spectra(9, 60.0)))
