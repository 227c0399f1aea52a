"""Random weights for the decoder that turns hidden states into audio, of either published shape."""

from typing import Literal

import msgspec
import numpy as np
from numpy.typing import NDArray

_INPUT_SIZE = 512
_NUM_BLOCKS = 8
_BLOCK_KERNEL = 3
_N_FFT = 2_048
_NUM_BINS = _N_FFT // 2 + 1

_MAGNITUDE_BIAS = 1.2
"""Lifts the peak of the audio to about 0.3; magnitudes are exponentials of what the head gives."""

_MAGNITUDE_GAIN, _PHASE_GAIN = 0.4, 1.5


class DecoderShape(msgspec.Struct, frozen=True):
    """What differs between the versions."""

    dim: int
    mlp_size: int
    input_kernel: int


SHAPES: dict[Literal["1.0", "1.1"], DecoderShape] = {
    "1.0": DecoderShape(512, 1_536, 3),
    "1.1": DecoderShape(768, 2_304, 1),
}


def build_decoder(
    rng: np.random.Generator, version: Literal["1.0", "1.1"]
) -> dict[str, NDArray[np.float32]]:
    """All tensors under the names of the package's `SopranoDecoder`, float32, with its window."""
    shape = SHAPES[version]
    tensors = {
        "decoder.embed.weight": _weights(rng, shape.dim, _INPUT_SIZE, shape.input_kernel),
        "decoder.embed.bias": _bias(rng, shape.dim),
        **_norm(rng, "decoder.norm", shape.dim),
    }
    for index in range(_NUM_BLOCKS):
        tensors |= _block(rng, f"decoder.convnext.{index}", shape)
    return (
        tensors
        | _norm(rng, "decoder.final_layer_norm", shape.dim)
        | _head(rng, shape.dim)
        | {"head.istft.window": _hann_window()}
    )


def _block(
    rng: np.random.Generator, prefix: str, shape: DecoderShape
) -> dict[str, NDArray[np.float32]]:
    return {
        f"{prefix}.gamma": _scatter(rng, shape.dim, _NUM_BLOCKS**-0.5),
        f"{prefix}.dwconv.weight": _weights(rng, shape.dim, 1, _BLOCK_KERNEL),
        f"{prefix}.dwconv.bias": _bias(rng, shape.dim),
        **_norm(rng, f"{prefix}.norm", shape.dim),
        f"{prefix}.pwconv1.weight": _weights(rng, shape.mlp_size, shape.dim),
        f"{prefix}.pwconv1.bias": _bias(rng, shape.mlp_size),
        f"{prefix}.pwconv2.weight": _weights(rng, shape.dim, shape.mlp_size),
        f"{prefix}.pwconv2.bias": _bias(rng, shape.dim),
    }


def _head(rng: np.random.Generator, dim: int) -> dict[str, NDArray[np.float32]]:
    """Logarithms of the magnitudes first, then the phases in radians."""
    weight, bias = _weights(rng, 2 * _NUM_BINS, dim), _bias(rng, 2 * _NUM_BINS)
    weight[:_NUM_BINS] *= np.float32(_MAGNITUDE_GAIN)
    weight[_NUM_BINS:] *= np.float32(_PHASE_GAIN)
    bias[:_NUM_BINS] += np.float32(_MAGNITUDE_BIAS)
    return {"head.out.weight": weight, "head.out.bias": bias}


def _norm(rng: np.random.Generator, name: str, dim: int) -> dict[str, NDArray[np.float32]]:
    return {f"{name}.weight": _scatter(rng, dim, 1.0), f"{name}.bias": _bias(rng, dim)}


def _weights(rng: np.random.Generator, *shape: int) -> NDArray[np.float32]:
    """Weights that keep the size of their input."""
    return rng.standard_normal(shape, np.float32) * np.float32(np.prod(shape[1:]) ** -0.5)


def _scatter(rng: np.random.Generator, length: int, around: float) -> NDArray[np.float32]:
    return (around * rng.uniform(0.8, 1.2, length)).astype(np.float32)


def _bias(rng: np.random.Generator, length: int) -> NDArray[np.float32]:
    return rng.standard_normal(length, np.float32) * np.float32(0.1)


def _hann_window() -> NDArray[np.float32]:
    """The periodic one, as `torch.hann_window` makes it."""
    return np.hanning(_N_FFT + 1)[:-1].astype(np.float32)
