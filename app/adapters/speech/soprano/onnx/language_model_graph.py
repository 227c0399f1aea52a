"""Soprano's language model as one ONNX graph: token ids in, hidden states and logits out.

One graph reads prompts and steps alike. Keys and values live in buffers that the caller owns and
that are bound as input and output at once: a step writes one position per row and copies nothing.
"""

from collections.abc import Mapping
from typing import Final

import numpy as np
from numpy.typing import NDArray

from app.adapters.speech.soprano.checkpoint.shapes import LanguageModelShape
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

    `tensors` have the names of transformers' Qwen3ForCausalLM. `precision` is that of the products;
    embeddings, norms and attention are float32.
    """

    def __init__(self, shape: LanguageModelShape, tensors: Tensors, precision: Precision) -> None:
        super().__init__(precision)
        self._shape = shape
        self._tensors = tensors
        cosines, sines = rotations(shape)
        self._rotations = self.constant("cosines", cosines), self.constant("sines", sines)
        ids = self.input("ids", np.int64, ["rows", "length"])
        self.input("last_positions", np.int32, ["rows"])
        self.input("total_length", np.int32, [])
        stream = self.node("Gather", [self._weight("model.embed_tokens"), ids])
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
        self.output(state, "state", np.float32, ["rows", shape.hidden_size])
        self.output(logits, "logits", np.float32, ["rows", shape.vocab_size])

    def _perceptron(self, value: str, prefix: str) -> str:
        gate_weight, up_weight, down_weight = (
            self._tensors[f"{prefix}.{name}_proj.weight"] for name in ("gate", "up", "down")
        )
        gate = self.linear(value, f"{prefix}.gate", gate_weight)
        activated = self.node("QuickGelu", [gate], domain=MICROSOFT, alpha=1.0)  # is SiLU
        up = self.product(Rows(value), f"{prefix}.up", up_weight)
        gated = Rows(self.node("Mul", [activated, up.value]), up.factor)
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
        projected = self.linear(value, f"{prefix}.qkv", fused)
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
        return self.linear(attended, f"{prefix}.o_proj", self._tensors[f"{prefix}.o_proj.weight"])

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
