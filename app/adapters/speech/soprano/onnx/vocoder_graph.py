"""Soprano's decoder as one ONNX graph that computes every frame once: frames in, spectra out.

Each convolution looks one frame to either side, so each carries its latest two input frames from
call to call and is one frame behind what it was given. The ends are as in the whole-sentence
decoder, where every convolution (not just the first) sees a frame of zeros: at the start of a
sentence the carried state is one frame of zeros instead of two frames, at its end one frame of
zeros comes after the last. Only lengths differ between start, middle and end, so one graph serves.
"""

from collections.abc import Mapping
from typing import Final

import numpy as np
from numpy.typing import NDArray

from app.adapters.speech.soprano.checkpoint.shapes import BLOCK_KERNEL_SIZE, N_FFT, DecoderShape
from app.adapters.speech.soprano.onnx.graph import GraphBuilder, Precision

Tensors = Mapping[str, NDArray[np.float32]]

NORM_EPSILON: Final = 1e-6  # of the package's layer norms
MIN_GELU: Final = -0.17  # below the least value of GELU, which is -0.16997

INPUT_STATE, BLOCK_STATES = "input_state", "block_states"


class VocoderGraph(GraphBuilder):
    """The graph of a checkpoint.

    Inputs: `frames` (rows, frames, channels); `tail` (rows, 1 or 0, 1), zeros, one at the end of a
    sentence; `block_states` (rows, blocks, 1 or 2, dim): zeros with a length of 1 at the start of a
    sentence, then what the last call gave; `input_state` (rows, 1 or 2, channels) as well, where
    the input kernel is 3. All float32. Outputs: `spectra` (rows, frames that are done, 2050), the
    logarithms of the magnitudes first, then the phases; `new_block_states`, `new_input_state`.

    The input kernel of `shape` is 1 or 3. `tensors` have the names of the package's SopranoDecoder.
    `precision` is that of the products; norms and convolutions of one channel are float32.
    """

    def __init__(self, shape: DecoderShape, tensors: Tensors, precision: Precision) -> None:
        super().__init__(precision)
        self._shape = shape
        self._tensors = tensors
        frames = self.input("frames", np.float32, ["rows", "frames", shape.input_channels])
        tail = self.input("tail", np.float32, ["rows", "tail", 1])
        states = self.input(
            BLOCK_STATES, np.float32, ["rows", shape.num_layers, "carried", shape.dim]
        )
        value = self._norm(self._embed(frames, tail), "decoder.norm")
        tail_of_blocks = self._widened(tail, shape.dim)
        new_states = []
        for index in range(shape.num_layers):
            state = self.node(
                "Gather", [states, self.constant(f"block_{index}", np.array(index))], axis=1
            )
            value, new_state = self._block(value, state, tail_of_blocks, index)
            new_states.append(self.node("Unsqueeze", [new_state, self.ints(1)]))
        spectra = self.linear(
            self._norm(value, "decoder.final_layer_norm"),
            "head.out",
            self._tensors["head.out.weight"],
            self._tensors["head.out.bias"],
        )
        self.output(spectra, "spectra", np.float32, ["rows", "done", N_FFT + 2])
        self.output(
            self.node("Concat", new_states, axis=1),
            f"new_{BLOCK_STATES}",
            np.float32,
            ["rows", shape.num_layers, 2, shape.dim],
        )

    def _embed(self, frames: str, tail: str) -> str:
        """The convolution over all channels, as one product of the frames side by side."""
        shape = self._shape
        weight = self._tensors["decoder.embed.weight"]  # (dim, channels, kernel)
        bias = self._tensors["decoder.embed.bias"]
        if shape.input_kernel_size > 1:
            state = self.input(INPUT_STATE, np.float32, ["rows", "carried", shape.input_channels])
            padded, new_state = self._padded(
                frames, state, self._widened(tail, shape.input_channels)
            )
            self.output(
                new_state, f"new_{INPUT_STATE}", np.float32, ["rows", 2, shape.input_channels]
            )
            frames = self.node("Concat", self._neighbours(padded), axis=-1)
        flat = weight.transpose(0, 2, 1).reshape(shape.dim, -1)
        return self.linear(frames, "decoder.embed", flat, bias)

    def _block(self, value: str, state: str, tail: str, index: int) -> tuple[str, str]:
        """A ConvNeXt block, and its state after these frames."""
        prefix = f"decoder.convnext.{index}"
        padded, new_state = self._padded(value, state, tail)
        # The convolution of each channel by itself: three shifted products.
        weight = self._tensors[f"{prefix}.dwconv.weight"]  # (dim, 1, kernel)
        bias = f"{prefix}.dwconv.bias"
        mixed = self.constant(bias, self._tensors[bias])
        for shift, part in enumerate(self._neighbours(padded)):
            factor = self.constant(f"{prefix}.dwconv.{shift}", weight[:, 0, shift])
            mixed = self.node("Add", [self.node("Mul", [part, factor]), mixed])
        wide = self.linear(
            self._norm(mixed, f"{prefix}.norm"),
            f"{prefix}.pwconv1",
            self._tensors[f"{prefix}.pwconv1.weight"],
            self._tensors[f"{prefix}.pwconv1.bias"],
        )
        activated = self.node("Gelu", [wide])
        # The layer scale is part of the second product.
        scale = self._tensors[f"{prefix}.gamma"]
        added = self.linear(
            activated,
            f"{prefix}.pwconv2",
            self._tensors[f"{prefix}.pwconv2.weight"] * scale[:, np.newaxis],
            self._tensors[f"{prefix}.pwconv2.bias"] * scale,
            floor=MIN_GELU,
        )
        return self.node("Add", [self.slice(padded, 1, 1, -1), added]), new_state

    def _padded(self, value: str, state: str, tail: str) -> tuple[str, str]:
        """The frames with what was carried before them and the tail behind; the new state."""
        padded = self.node("Concat", [state, value, tail], axis=1)
        return padded, self.slice(padded, 1, 1 - BLOCK_KERNEL_SIZE)

    def _neighbours(self, padded: str) -> list[str]:
        """The frame before each, the frame itself, the one after it."""
        last = BLOCK_KERNEL_SIZE - 1
        ends = [shift - last or None for shift in range(BLOCK_KERNEL_SIZE)]
        return [self.slice(padded, 1, shift, end) for shift, end in enumerate(ends)]

    def _norm(self, value: str, name: str) -> str:
        names = [f"{name}.weight", f"{name}.bias"]
        inputs = [value, *(self.constant(one, self._tensors[one]) for one in names)]
        return self.node("LayerNormalization", inputs, axis=-1, epsilon=NORM_EPSILON)

    def _widened(self, tail: str, size: int) -> str:
        """The tail with `size` channels."""
        zeros = self.constant(f"zeros_{size}", np.zeros(size, np.float32))
        return self.node("Add", [tail, zeros])
