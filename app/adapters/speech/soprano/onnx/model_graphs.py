"""Soprano's two networks as ONNX graphs: token ids to hidden states and logits, frames to spectra.

The language model: one graph reads prompts and steps alike, but where products in blocks are faster
for steps, which then have a graph of their own. Keys and values live in buffers that the caller
owns and that are bound as input and output at once: a step writes one position per row and copies
nothing.

The decoder computes every frame once. Each convolution looks one frame to either side, so each
carries its latest two input frames from call to call and is one frame behind what it was given. The
ends are as in the whole-sentence decoder, where every convolution (not just the first) sees a frame
of zeros: at the start of a sentence the carried state is one frame of zeros instead of two frames,
at its end one frame of zeros comes after the last. Only lengths differ between start, middle and
end, so one graph serves.
"""

from collections.abc import Mapping
from typing import Final

import numpy as np
from numpy.typing import NDArray

from app.adapters.speech.soprano.checkpoint.shapes import (
    BLOCK_KERNEL_SIZE,
    N_FFT,
    DecoderShape,
    LanguageModelShape,
)
from app.adapters.speech.soprano.onnx.graph import MICROSOFT, GraphBuilder, Precision, Rows

Tensors = Mapping[str, NDArray[np.float32]]

MAX_POSITIONS: Final = 1_024  # of prompt and output together: the longest the model was trained on


class LanguageModelGraph(GraphBuilder):
    """The graph of a checkpoint.

    Inputs: `ids` (rows, length) int64; `last_positions` (rows,) int32, of each row's last id;
    `total_length` () int32, the largest of them plus 1; `key_I` and `value_I` (rows, heads,
    MAX_POSITIONS, head size) float32 per layer. Outputs, of the last id of each row: `state`
    (rows, hidden), after the final norm, and `logits` (rows, vocabulary); `new_key_I` and
    `new_value_I`, to be bound to the memory of the inputs.

    `tensors` have the names of transformers' Qwen3ForCausalLM. `precision` and `in_blocks` are
    those of the products; embeddings, norms and attention are float32. In blocks, an odd number of
    rows has its first row twice, but for attention: so each row of a step has the same bits,
    whatever the number of rows.
    """

    def __init__(
        self,
        shape: LanguageModelShape,
        tensors: Tensors,
        precision: Precision,
        *,
        in_blocks: bool = False,
    ) -> None:
        super().__init__(precision, in_blocks=in_blocks)
        self._shape = shape
        self._tensors = tensors
        cosines, sines = rotations(shape)
        self._rotations = self.constant("cosines", cosines), self.constant("sines", sines)
        ids = self.input("ids", np.int64, ["rows", "length"])
        self.input("last_positions", np.int32, ["rows"])
        self.input("total_length", np.int32, [])
        if self._in_blocks:
            self._number_rows(ids)
        stream = self._paired(self.node("Gather", [self._weight("model.embed_tokens"), ids]))
        added = ""  # what a layer adds to the stream; joined to it by the next norm
        for index in range(shape.num_layers):
            prefix = f"model.layers.{index}"
            normed, stream = self._norm(stream, added, self._weight(f"{prefix}.input_layernorm"))
            attended = self._attention(normed, index)
            weight = self._weight(f"{prefix}.post_attention_layernorm")
            normed, stream = self._norm(stream, attended, weight)
            added = self._perceptron(normed, f"{prefix}.mlp")
        states, _ = self._norm(stream, added, self._weight("model.norm"))
        # (rows, length, hidden) to (rows, hidden)
        state = self.node("Gather", [states, self.constant("last", np.array(-1))], axis=1)
        head = "model.embed_tokens" if shape.is_head_tied else "lm_head"
        logits = self.linear(state, "head", self._tensors[f"{head}.weight"])
        self.output(self._unpaired(state), "state", np.float32, ["rows", shape.hidden_size])
        self.output(self._unpaired(logits), "logits", np.float32, ["rows", shape.vocab_size])

    def _number_rows(self, ids: str) -> None:
        """The number of rows, and which are computed: an even number."""
        zero, one, two = (self.constant(f"int_{n}", np.array(n, np.int64)) for n in range(3))
        num_rows = self.node("Gather", [self.node("Shape", [ids]), zero])
        num_computed = self.node("Add", [num_rows, self.node("Mod", [num_rows, two])])
        numbers = self.node("Range", [zero, num_computed, one])
        self._computed_rows = self.node("Mod", [numbers, num_rows])
        self._num_rows = self.node("Unsqueeze", [num_rows, self.ints(0)])

    def _paired(self, value: str) -> str:
        """An even number of rows, for products in blocks."""
        return self.node("Gather", [value, self._computed_rows]) if self._in_blocks else value

    def _unpaired(self, value: str) -> str:
        """The rows without the one that made their number even."""
        if not self._in_blocks:
            return value
        return self.node("Slice", [value, self.ints(0), self._num_rows, self.ints(0)])

    def _perceptron(self, value: str, prefix: str) -> str:
        gate_weight, up_weight, down_weight = (
            self._tensors[f"{prefix}.{name}_proj.weight"] for name in ("gate", "up", "down")
        )
        fused = np.concatenate([gate_weight, up_weight])
        both = self.product(Rows(value), f"{prefix}.gate_up", fused)
        gate, up, half = f"{prefix}.gate", f"{prefix}.up", len(up_weight)
        self.node("Split", [both.value, self.ints(half, half)], outputs=[gate, up], axis=-1)
        gate = self.multiplied(Rows(gate, both.factor))
        activated = self.node("QuickGelu", [gate], domain=MICROSOFT, alpha=1.0)  # is SiLU
        gated = Rows(self.node("Mul", [activated, up]), both.factor)
        return self.multiplied(self.product(gated, f"{prefix}.down", down_weight))

    def _weight(self, name: str) -> str:
        return self.constant(name, self._tensors[f"{name}.weight"])

    def _norm(self, stream: str, added: str, weight: str) -> tuple[str, str]:
        """Root-mean-square norm of `stream + added`, and that sum."""
        epsilon = self._shape.rms_norm_eps
        if not added:
            normed = self.node(
                "SimplifiedLayerNormalization", [stream, weight], axis=-1, epsilon=epsilon
            )
            return normed, stream
        outputs = [f"{weight}.normed", "", "", f"{weight}.sum"]
        self.node(
            "SkipSimplifiedLayerNormalization",
            [stream, added, weight],
            outputs=outputs,
            domain=MICROSOFT,
            epsilon=epsilon,
        )
        return outputs[0], outputs[-1]

    def _attention(self, value: str, index: int) -> str:
        shape = self._shape
        prefix = f"model.layers.{index}.self_attn"
        fused = np.concatenate([self._tensors[f"{prefix}.{x}_proj.weight"] for x in "qkv"])
        projected = self._unpaired(self.linear(value, f"{prefix}.qkv", fused))
        num_query, num_key = shape.num_heads * shape.head_dim, shape.num_kv_heads * shape.head_dim
        query, key, states = f"{prefix}.query", f"{prefix}.key", f"{prefix}.value"
        self.node(
            "Split",
            [projected, self.ints(num_query, num_key, num_key)],
            outputs=[query, key, states],
            axis=-1,
        )
        cache_shape: list[int | str] = ["rows", shape.num_kv_heads, MAX_POSITIONS, shape.head_dim]
        past = [self.input(f"{x}_{index}", np.float32, cache_shape) for x in ("key", "value")]
        present = [f"new_key_{index}", f"new_value_{index}"]
        # The scale of attention is part of the norm of queries: rotation keeps it, and the runtime
        # has a faster product for one token without a scale.
        scale = np.float32(1 / np.sqrt(shape.head_dim))
        query_weight = self.constant(
            f"{prefix}.q_norm.scaled", self._tensors[f"{prefix}.q_norm.weight"] * scale
        )
        attended = self.node(
            "GroupQueryAttention",
            [
                self._head_norm(query, query_weight, shape.num_heads),
                self._head_norm(key, self._weight(f"{prefix}.k_norm"), shape.num_kv_heads),
                states,
                *past,
                "last_positions",
                "total_length",
                *self._rotations,
            ],
            outputs=[f"{prefix}.attended", *present],
            domain=MICROSOFT,
            num_heads=shape.num_heads,
            kv_num_heads=shape.num_kv_heads,
            do_rotary=1,
            scale=1.0,
        )
        for name in present:
            self.output(name, name, np.float32, cache_shape)
        weight = self._tensors[f"{prefix}.o_proj.weight"]
        return self.linear(self._paired(attended), f"{prefix}.o_proj", weight)

    def _head_norm(self, value: str, weight: str, num_heads: int) -> str:
        """Root-mean-square norm of each head by itself."""
        head_dim = self._shape.head_dim
        if num_heads == 1:
            return self._norm(value, "", weight)[0]
        heads = self.node("Reshape", [value, self.ints(0, 0, num_heads, head_dim)])
        normed, _ = self._norm(heads, "", weight)
        return self.node("Reshape", [normed, self.ints(0, 0, num_heads * head_dim)])


def rotations(shape: LanguageModelShape) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Cosines and sines of rotary position embeddings (Su et al., 2021), half-split form.

    Two arrays (MAX_POSITIONS, head_dim / 2), computed in float32 as transformers does, so that both
    agree to the last bit.
    """
    exponents = np.arange(0, shape.head_dim, 2, dtype=np.float32) / np.float32(shape.head_dim)
    frequencies = np.float32(1) / np.float32(shape.rope_theta) ** exponents
    angles = np.arange(MAX_POSITIONS, dtype=np.float32)[:, None] * frequencies
    return np.cos(angles), np.sin(angles)


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
