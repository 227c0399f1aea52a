"""The shapes of Soprano's two networks and of the tensors that hold their weights.

Names and shapes are those of transformers' `Qwen3ForCausalLM` and of the decoder in the package
soprano-tts. Knows nothing of files.
"""

import math
from collections.abc import Iterator
from typing import Final, TypeAlias

import msgspec
import numpy as np

Shape: TypeAlias = tuple[int, ...]

# Fixed by the model card and the package: other values would read other models.
SAMPLE_RATE: Final = 32_000  # Hz
SAMPLES_PER_TOKEN: Final = 2_048  # audio between two consecutive hidden states
MIN_AUDIO_STATES: Final = 2  # so fewer states have no audio
N_FFT: Final = 2_048  # samples of the decoder's inverse Fourier transform
BLOCK_KERNEL_SIZE: Final = 3  # frames, of the depthwise convolutions
WINDOW_NAME: Final = "head.istft.window"  # stored with the decoder's weights, but not learned

# In numpy's words, by the names of the safetensors format; bfloat16, which numpy lacks, as bits.
NUMPY_DTYPES: Final = {
    name: np.dtype(dtype)
    for name, dtype in (
        ("BOOL", "?"), ("U8", "u1"), ("I8", "i1"), ("I16", "<i2"), ("I32", "<i4"), ("I64", "<i8"),
        ("F16", "<f2"), ("BF16", "<u2"), ("F32", "<f4"), ("F64", "<f8"),
    )
}  # fmt: skip

FLOATING: Final = frozenset({"F16", "BF16", "F32", "F64"})


class TensorInfo(msgspec.Struct, frozen=True):
    """What is known of a tensor without reading its numbers; `dtype` is a key of NUMPY_DTYPES."""

    dtype: str
    shape: Shape


class LanguageModelShape(msgspec.Struct, frozen=True, kw_only=True):
    """The numbers of `config.json` that a language model is built from."""

    vocab_size: int
    hidden_size: int
    num_layers: int
    intermediate_size: int
    num_heads: int
    num_kv_heads: int
    head_dim: int
    rope_theta: float
    rms_norm_eps: float
    eos_token_id: int
    is_head_tied: bool = False

    @property
    def num_parameters(self) -> int:
        """Learned numbers."""
        return sum(math.prod(shape) for _, shape in self.tensor_shapes())

    def tensor_shapes(self) -> Iterator[tuple[str, Shape]]:
        """Every tensor by name; a tied head has none of its own."""
        hidden, mlp = self.hidden_size, self.intermediate_size
        query, key = self.num_heads * self.head_dim, self.num_kv_heads * self.head_dim
        yield "model.embed_tokens.weight", (self.vocab_size, hidden)
        if not self.is_head_tied:
            yield "lm_head.weight", (self.vocab_size, hidden)
        yield "model.norm.weight", (hidden,)
        for index in range(self.num_layers):
            prefix = f"model.layers.{index}"
            yield f"{prefix}.input_layernorm.weight", (hidden,)
            yield f"{prefix}.self_attn.q_proj.weight", (query, hidden)
            yield f"{prefix}.self_attn.k_proj.weight", (key, hidden)
            yield f"{prefix}.self_attn.v_proj.weight", (key, hidden)
            yield f"{prefix}.self_attn.o_proj.weight", (hidden, query)
            yield f"{prefix}.self_attn.q_norm.weight", (self.head_dim,)
            yield f"{prefix}.self_attn.k_norm.weight", (self.head_dim,)
            yield f"{prefix}.post_attention_layernorm.weight", (hidden,)
            yield f"{prefix}.mlp.gate_proj.weight", (mlp, hidden)
            yield f"{prefix}.mlp.up_proj.weight", (mlp, hidden)
            yield f"{prefix}.mlp.down_proj.weight", (hidden, mlp)


class DecoderShape(msgspec.Struct, frozen=True, kw_only=True):
    """The sizes in which published decoders differ, as found in `decoder.pth`."""

    dim: int
    intermediate_dim: int
    num_layers: int
    input_kernel_size: int
    input_channels: int

    @property
    def version(self) -> str:
        """Which release it is of."""
        return {1: "1.1", 3: "1.0"}.get(self.input_kernel_size, "unknown")

    @property
    def num_parameters(self) -> int:
        """Learned numbers; the window of the transform is none of them."""
        return sum(math.prod(shape) for name, shape in self.tensor_shapes() if name != WINDOW_NAME)

    def tensor_shapes(self) -> Iterator[tuple[str, Shape]]:
        """Every tensor by name, the window of the transform included."""
        dim, mlp = self.dim, self.intermediate_dim
        # Layers of a weight, with a bias as long as its first dimension.
        weights: dict[str, Shape] = {
            "decoder.embed": (dim, self.input_channels, self.input_kernel_size),
            "decoder.norm": (dim,),
            "decoder.final_layer_norm": (dim,),
            "head.out": (N_FFT + 2, dim),
        }
        for index in range(self.num_layers):
            prefix = f"decoder.convnext.{index}"
            yield f"{prefix}.gamma", (dim,)
            weights[f"{prefix}.dwconv"] = (dim, 1, BLOCK_KERNEL_SIZE)
            weights[f"{prefix}.norm"] = (dim,)
            weights[f"{prefix}.pwconv1"] = (mlp, dim)
            weights[f"{prefix}.pwconv2"] = (dim, mlp)
        for name, shape in weights.items():
            yield f"{name}.weight", shape
            yield f"{name}.bias", shape[:1]
        yield WINDOW_NAME, (N_FFT,)
