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


def build_language_model_graph(
    shape: LanguageModelShape, tensors: Tensors, precision: Precision
) -> GraphBuilder:
    """The graph of a checkpoint.

    Inputs: `ids` (rows, length) int64; `last_positions` (rows,) int32, of each row's last id;
    `total_length` () int32, the largest of them plus 1; `key_I` and `value_I` (rows, heads,
    MAX_POSITIONS, head size) float32 per layer. Outputs, of the last id of each row: `state`
    (rows, hidden), after the final norm, and `logits` (rows, vocabulary); `new_key_I` and
    `new_value_I`, to be bound to the memory of the inputs.

    Args:
        shape: of the model.
        tensors: under the names of transformers' Qwen3ForCausalLM.
        precision: of its products; embeddings, norms and attention are float32.
    """
    return _LanguageModelGraph(shape, tensors, precision).build()


class _LanguageModelGraph:
    def __init__(self, shape: LanguageModelShape, tensors: Tensors, precision: Precision) -> None:
        self._shape = shape
        self._tensors = tensors
        self._graph = GraphBuilder(precision)
        cosines, sines = rotations(shape)
        self._cosines = self._graph.constant("cosines", cosines)
        self._sines = self._graph.constant("sines", sines)

    def build(self) -> GraphBuilder:
        graph, shape = self._graph, self._shape
        ids = graph.input("ids", np.int64, ["rows", "length"])
        graph.input("last_positions", np.int32, ["rows"])
        graph.input("total_length", np.int32, [])
        stream = graph.node("Gather", [self._weight("model.embed_tokens"), ids])
        added = ""  # what a layer adds to the stream; joined to it by the next norm
        for index in range(shape.num_layers):
            prefix = f"model.layers.{index}"
            normed, stream = self._norm(stream, added, self._weight(f"{prefix}.input_layernorm"))
            attended = self._attention(normed, index)
            weight = self._weight(f"{prefix}.post_attention_layernorm")
            normed, stream = self._norm(stream, attended, weight)
            gate_weight, up_weight, down_weight = (
                self._tensors[f"{prefix}.mlp.{name}_proj.weight"] for name in ("gate", "up", "down")
            )
            gate = graph.linear(normed, f"{prefix}.mlp.gate", gate_weight)
            activated = graph.node("QuickGelu", [gate], domain=MICROSOFT, alpha=1.0)  # is SiLU
            up = graph.product(Rows(normed), f"{prefix}.mlp.up", up_weight)
            gated = Rows(graph.node("Mul", [activated, up.value]), up.factor)
            added = graph.multiplied(graph.product(gated, f"{prefix}.mlp.down", down_weight))
        states, _ = self._norm(stream, added, self._weight("model.norm"))
        # (rows, length, hidden) to (rows, hidden)
        state = graph.node("Gather", [states, graph.constant("last", np.array(-1))], axis=1)
        head = "model.embed_tokens" if shape.is_head_tied else "lm_head"
        logits = graph.linear(state, "head", self._tensors[f"{head}.weight"])
        graph.output(state, "state", np.float32, ["rows", shape.hidden_size])
        graph.output(logits, "logits", np.float32, ["rows", shape.vocab_size])
        return graph

    def _weight(self, name: str) -> str:
        return self._graph.constant(name, self._tensors[f"{name}.weight"])

    def _norm(self, stream: str, added: str, weight: str) -> tuple[str, str]:
        """Root-mean-square norm of `stream + added`, and that sum."""
        graph, epsilon = self._graph, self._shape.rms_norm_eps
        if not added:
            normed = graph.node(
                "SimplifiedLayerNormalization", [stream, weight], axis=-1, epsilon=epsilon
            )
            return normed, stream
        outputs = [f"{weight}.normed", "", "", f"{weight}.sum"]
        graph.node(
            "SkipSimplifiedLayerNormalization",
            [stream, added, weight],
            outputs=outputs,
            domain=MICROSOFT,
            epsilon=epsilon,
        )
        return outputs[0], outputs[-1]

    def _attention(self, value: str, index: int) -> str:
        graph, shape = self._graph, self._shape
        prefix = f"model.layers.{index}.self_attn"
        fused = np.concatenate([self._tensors[f"{prefix}.{x}_proj.weight"] for x in "qkv"])
        projected = graph.linear(value, f"{prefix}.qkv", fused)
        num_query, num_key = shape.num_heads * shape.head_dim, shape.num_kv_heads * shape.head_dim
        query, key, states = f"{prefix}.query", f"{prefix}.key", f"{prefix}.value"
        graph.node(
            "Split",
            [projected, graph.ints(num_query, num_key, num_key)],
            outputs=[query, key, states],
            axis=-1,
        )
        cache_shape: list[int | str] = ["rows", shape.num_kv_heads, MAX_POSITIONS, shape.head_dim]
        past_key = graph.input(f"key_{index}", np.float32, cache_shape)
        past_value = graph.input(f"value_{index}", np.float32, cache_shape)
        present = [f"new_key_{index}", f"new_value_{index}"]
        attended = graph.node(
            "GroupQueryAttention",
            [
                self._head_norm(query, self._query_weight(f"{prefix}.q_norm"), shape.num_heads),
                self._head_norm(key, self._weight(f"{prefix}.k_norm"), shape.num_kv_heads),
                states,
                past_key,
                past_value,
                "last_positions",
                "total_length",
                self._cosines,
                self._sines,
            ],
            outputs=[f"{prefix}.attended", *present],
            domain=MICROSOFT,
            num_heads=shape.num_heads,
            kv_num_heads=shape.num_kv_heads,
            do_rotary=1,
            scale=1.0,  # see _query_weight
        )
        for name in present:
            graph.output(name, name, np.float32, cache_shape)
        return graph.linear(attended, f"{prefix}.o_proj", self._tensors[f"{prefix}.o_proj.weight"])

    def _query_weight(self, name: str) -> str:
        """Of the norm of queries, with the scale of attention, 1 / sqrt(head size), in it.

        Rotation keeps it; and the runtime has a faster product for one token without a scale.
        """
        weight = self._tensors[f"{name}.weight"]
        scale = np.float32(1 / np.sqrt(self._shape.head_dim))
        return self._graph.constant(f"{name}.scaled", weight * scale)

    def _head_norm(self, value: str, weight: str, num_heads: int) -> str:
        """Root-mean-square norm of each head by itself."""
        graph, head_dim = self._graph, self._shape.head_dim
        if num_heads == 1:
            return self._norm(value, "", weight)[0]
        heads = graph.node("Reshape", [value, graph.ints(0, 0, num_heads, head_dim)])
        normed, _ = self._norm(heads, "", weight)
        return graph.node("Reshape", [normed, graph.ints(0, 0, num_heads * head_dim)])


def rotations(shape: LanguageModelShape) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Cosines and sines of rotary position embeddings (Su et al., 2021), half-split form.

    Two arrays (MAX_POSITIONS, head_dim / 2), computed in float32 as transformers does, so that both
    agree to the last bit.
    """
    exponents = np.arange(0, shape.head_dim, 2, dtype=np.float32) / np.float32(shape.head_dim)
    frequencies = np.float32(1) / np.float32(shape.rope_theta) ** exponents
    angles = np.arange(MAX_POSITIONS, dtype=np.float32)[:, None] * frequencies
    return np.cos(angles), np.sin(angles)
