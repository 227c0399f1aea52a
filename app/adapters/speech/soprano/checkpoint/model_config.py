"""`config.json`: is it a Qwen3 language model as Soprano's is, and of what shape."""

from pathlib import Path
from typing import Annotated, Any, Final

import msgspec
from msgspec import Meta

from app.adapters.speech.soprano.checkpoint.files import mismatch, read_json
from app.adapters.speech.soprano.checkpoint.shapes import LanguageModelShape

ARCHITECTURE: Final = "Qwen3ForCausalLM"

_Size = Annotated[int, Meta(ge=1, le=2**31)]
_TokenId = Annotated[int, Meta(ge=0, le=2**31)]
_Base = Annotated[float, Meta(gt=0, le=1e12)]


class _Rope(msgspec.Struct, frozen=True):
    rope_theta: _Base | None = None
    rope_type: str = "default"


class _Config(msgspec.Struct, frozen=True, kw_only=True):
    """What is used of the file. Where fields have a default, it is transformers' own."""

    vocab_size: _Size
    hidden_size: _Size
    num_hidden_layers: _Size
    intermediate_size: _Size
    num_attention_heads: _Size
    num_key_value_heads: _Size
    head_dim: _Size
    rms_norm_eps: Annotated[float, Meta(gt=0, lt=1)]
    eos_token_id: _TokenId | Annotated[list[_TokenId], Meta(min_length=1, max_length=1)]
    tie_word_embeddings: bool = False
    rope_theta: _Base | None = None
    rope_parameters: _Rope | None = None
    rope_scaling: Any = None
    hidden_act: str = "silu"
    attention_bias: bool = False
    use_sliding_window: bool = False


class _Architectures(msgspec.Struct, frozen=True):
    architectures: list[str] | None = None


def read_model_config(path: Path) -> LanguageModelShape:
    """The shape of the language model.

    Raises:
        CheckpointError: the file cannot be read, or describes another kind of model.
    """
    architectures = read_json(path, _Architectures).architectures
    if architectures != [ARCHITECTURE]:
        raise mismatch(path, "architectures", ARCHITECTURE, architectures)
    config = read_json(path, _Config)
    _check_variant(path, config)
    _check_heads(path, config)
    eos = config.eos_token_id
    return LanguageModelShape(
        vocab_size=config.vocab_size,
        hidden_size=config.hidden_size,
        num_layers=config.num_hidden_layers,
        intermediate_size=config.intermediate_size,
        num_heads=config.num_attention_heads,
        num_kv_heads=config.num_key_value_heads,
        head_dim=config.head_dim,
        rope_theta=_rope_theta(path, config),
        rms_norm_eps=config.rms_norm_eps,
        eos_token_id=eos if isinstance(eos, int) else eos[0],
        is_head_tied=config.tie_word_embeddings,
    )


def _check_variant(path: Path, config: _Config) -> None:
    """None of the options of the architecture that Soprano does not use."""
    rope = config.rope_parameters or _Rope()
    expected_found = {
        "hidden_act": ("silu", config.hidden_act),
        "attention_bias": (False, config.attention_bias),
        "use_sliding_window": (False, config.use_sliding_window),
        "rope_scaling": (None, config.rope_scaling),
        "rope_parameters.rope_type": ("default", rope.rope_type),
    }
    for name, (expected, found) in expected_found.items():
        if found != expected:
            raise mismatch(path, name, expected, found)


def _check_heads(path: Path, config: _Config) -> None:
    heads, kv_heads = config.num_attention_heads, config.num_key_value_heads
    if heads % kv_heads:
        raise mismatch(path, "num_attention_heads", f"a multiple of {kv_heads}", heads)
    if config.head_dim % 2:
        raise mismatch(path, "head_dim", "an even number", config.head_dim)


def _rope_theta(path: Path, config: _Config) -> float:
    """At the top level, or, as transformers 5 writes it, within `rope_parameters`."""
    rope = config.rope_parameters or _Rope()
    theta = config.rope_theta if rope.rope_theta is None else rope.rope_theta
    if theta is None:
        raise mismatch(path, "rope_theta", "a number", "none")
    return theta
