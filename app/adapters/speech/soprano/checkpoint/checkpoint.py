"""What a checkpoint of Soprano is, and whether a directory holds one.

What passes has every file whole, every tensor in place and the tokenizer that belongs to it. No
weights are loaded for that, and nothing in the files is run.
"""

import hashlib
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Annotated, Any, Final

import msgspec
import numpy as np
from msgspec import Meta
from numpy.typing import NDArray

from app.adapters.speech.soprano.checkpoint.shapes import (
    FLOATING,
    DecoderShape,
    LanguageModelShape,
    Shape,
    TensorInfo,
)
from app.adapters.speech.soprano.checkpoint.tensor_files import (
    load_safetensors,
    load_torch,
    mismatch,
    read_json,
    read_safetensors_shapes,
    read_torch_shapes,
    unreadable,
)
from app.domain.errors import CheckpointError

CONFIG: Final = "config.json"
WEIGHTS: Final = "model.safetensors"
TOKENIZER: Final = "tokenizer.json"
TOKENIZER_CONFIG: Final = "tokenizer_config.json"
DECODER: Final = "decoder.pth"
REQUIRED_FILES: Final = (CONFIG, WEIGHTS, TOKENIZER, TOKENIZER_CONFIG, DECODER)

ARCHITECTURE: Final = "Qwen3ForCausalLM"

_Size = Annotated[int, Meta(ge=1, le=2**31)]
_Count = Annotated[int, Meta(ge=0)]
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
    """The shape of the language model; CheckpointError if the file describes another kind."""
    architectures = read_json(path, _Architectures).architectures
    if architectures != [ARCHITECTURE]:
        raise mismatch(path, "architectures", ARCHITECTURE, architectures)
    config = read_json(path, _Config)
    rope = config.rope_parameters or _Rope()
    # None of the options of the architecture that Soprano does not use.
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
    heads, kv_heads = config.num_attention_heads, config.num_key_value_heads
    if heads % kv_heads:
        raise mismatch(path, "num_attention_heads", f"a multiple of {kv_heads}", heads)
    if config.head_dim % 2:
        raise mismatch(path, "head_dim", "an even number", config.head_dim)
    # At the top level, or, as transformers 5 writes it, within `rope_parameters`.
    theta = config.rope_theta if rope.rope_theta is None else rope.rope_theta
    if theta is None:
        raise mismatch(path, "rope_theta", "a number", "none")
    eos = config.eos_token_id
    return LanguageModelShape(
        vocab_size=config.vocab_size,
        hidden_size=config.hidden_size,
        num_layers=config.num_hidden_layers,
        intermediate_size=config.intermediate_size,
        num_heads=heads,
        num_kv_heads=kv_heads,
        head_dim=config.head_dim,
        rope_theta=theta,
        rms_norm_eps=config.rms_norm_eps,
        eos_token_id=eos if isinstance(eos, int) else eos[0],
        is_head_tied=config.tie_word_embeddings,
    )


# By content, with their ids.
SPECIAL_TOKENS: Final = {"[UNK]": 0, "[TEXT]": 1, "[START]": 2, "[STOP]": 3}

STOP: Final = "[STOP]"


class _Token(msgspec.Struct, frozen=True):
    content: str


class _AddedToken(msgspec.Struct, frozen=True):
    id: _Count
    content: str


class _Model(msgspec.Struct, frozen=True):
    vocab: dict[str, _Count]


class _Tokenizer(msgspec.Struct, frozen=True):
    added_tokens: list[_AddedToken]
    model: _Model


class _TokenizerConfig(msgspec.Struct, frozen=True):
    eos_token: str | _Token | None = None


def _check_tokenizer(directory: Path, shape: LanguageModelShape) -> None:
    """Compare both files with what Soprano needs and with the language model."""
    path = directory / TOKENIZER
    tokenizer = read_json(path, _Tokenizer)
    ids = {token.content: token.id for token in tokenizer.added_tokens}
    for content, token_id in SPECIAL_TOKENS.items():
        if ids.get(content) != token_id:
            raise mismatch(path, f"id of {content}", token_id, ids.get(content, "no such token"))
    num_ids = max(*ids.values(), *tokenizer.model.vocab.values()) + 1
    if num_ids > shape.vocab_size:
        expected = f"at most {shape.vocab_size} (vocab_size in config.json)"
        raise mismatch(path, "size of the vocabulary", expected, num_ids)
    if shape.eos_token_id != SPECIAL_TOKENS[STOP]:
        expected = f"{SPECIAL_TOKENS[STOP]} ({STOP})"
        raise mismatch(directory / CONFIG, "eos_token_id", expected, shape.eos_token_id)
    config_path = directory / TOKENIZER_CONFIG
    eos = read_json(config_path, _TokenizerConfig).eos_token
    eos = eos.content if isinstance(eos, _Token) else eos
    if eos is not None and eos != STOP:
        raise mismatch(config_path, "eos_token", STOP, eos)


def load_tokenizer(directory: Path) -> Any:
    """The tokenizers.Tokenizer of a checkpoint; its `encode` neither pads nor truncates."""
    from tokenizers import Tokenizer

    tokenizer = Tokenizer.from_file(str(directory / TOKENIZER))
    tokenizer.no_padding()
    tokenizer.no_truncation()
    return tokenizer


_EMBED: Final = "decoder.embed.weight"
_FIRST_LINEAR: Final = "decoder.convnext.0.pwconv1.weight"
_BLOCK = re.compile(r"decoder\.convnext\.(\d{1,9})\.")


class Checkpoint(msgspec.Struct, frozen=True):
    """A directory that holds a whole Soprano model."""

    directory: Path
    language_model: LanguageModelShape
    decoder: DecoderShape

    @property
    def num_bytes(self) -> int:
        """Of the files on disk."""
        return sum((self.directory / name).stat().st_size for name in REQUIRED_FILES)

    def load_language_model(self) -> dict[str, NDArray[np.float32]]:
        """The weights by the names of `language_model.tensor_shapes`; raises CheckpointError."""
        return _as_float32(load_safetensors(self.directory / WEIGHTS))

    def load_decoder(self) -> dict[str, NDArray[np.float32]]:
        """The weights by the names of `decoder.tensor_shapes`; raises CheckpointError."""
        return _as_float32(load_torch(self.directory / DECODER))


def file_states(directory: Path) -> list[tuple[str, int, int]]:
    """Name, bytes and time of change in ns of each file; raises CheckpointError."""
    try:
        found = [(name, (directory / name).stat()) for name in REQUIRED_FILES]
    except OSError as error:
        raise unreadable(directory, error) from error
    return [(name, status.st_size, status.st_mtime_ns) for name, status in found]


def file_digests(directory: Path) -> list[tuple[str, str]]:
    """Name and SHA-256 of each file, which are read whole; raises CheckpointError."""
    digests = []
    try:
        for name in REQUIRED_FILES:
            with (directory / name).open("rb") as file:
                digests.append((name, hashlib.file_digest(file, "sha256").hexdigest()))
    except OSError as error:
        raise unreadable(directory, error) from error
    return digests


def _as_float32(tensors: Mapping[str, NDArray[Any]]) -> dict[str, NDArray[np.float32]]:
    return {name: tensor.astype(np.float32, copy=False) for name, tensor in tensors.items()}


def read_checkpoint(directory: Path) -> Checkpoint:
    """The checkpoint in `directory`.

    Raises CheckpointError if it is none, or a file is missing, damaged or does not fit the others.
    """
    if missing := missing_files(directory):
        raise CheckpointError(
            f"{directory} is no Soprano checkpoint: it has no {', '.join(missing)}."
        )
    language_model = read_model_config(directory / CONFIG)
    weights = directory / WEIGHTS
    _check_tensors(weights, read_safetensors_shapes(weights), language_model.tensor_shapes())
    _check_tokenizer(directory, language_model)
    decoder = _read_decoder(directory / DECODER, language_model.hidden_size)
    return Checkpoint(directory, language_model, decoder)


def missing_files(directory: Path) -> list[str]:
    """Which files of a checkpoint are not in `directory`; raises CheckpointError if it is none."""
    try:
        if not directory.is_dir():
            found = "no directory" if directory.exists() else "not there"
            raise CheckpointError(f"{directory} is {found}: expected a directory of model files.")
        return [name for name in REQUIRED_FILES if not (directory / name).exists()]
    except OSError as error:
        raise unreadable(directory, error) from error


def _check_tensors(
    path: Path, found: Mapping[str, TensorInfo], expected: Iterator[tuple[str, Shape]]
) -> None:
    """Every expected tensor is there, has its shape, and numbers that are not whole."""
    for name, shape in expected:
        info = found.get(name)
        if info is None:
            raise CheckpointError(f"{path}: the tensor {name} is missing.")
        if info.shape != shape:
            raise mismatch(path, f"shape of {name}", list(shape), list(info.shape))
        if info.dtype not in FLOATING:
            raise mismatch(path, f"dtype of {name}", "floating-point numbers", info.dtype)


def _read_decoder(path: Path, hidden_size: int) -> DecoderShape:
    """The decoder's shape: sizes from a few tensors, with which all others have to agree."""
    found = read_torch_shapes(path)
    dim, _, input_kernel_size = _dims(path, found, _EMBED, 3)
    intermediate_dim, _ = _dims(path, found, _FIRST_LINEAR, 2)
    shape = DecoderShape(
        dim=dim,
        intermediate_dim=intermediate_dim,
        num_layers=1 + max(int(match[1]) for match in map(_BLOCK.match, found) if match),
        input_kernel_size=input_kernel_size,
        input_channels=hidden_size,
    )
    if input_kernel_size % 2 == 0:
        raise mismatch(path, f"kernel of {_EMBED}", "an odd size", input_kernel_size)
    _check_tensors(path, found, shape.tensor_shapes())
    return shape


def _dims(path: Path, found: Mapping[str, TensorInfo], name: str, num_dims: int) -> Shape:
    info = found.get(name)
    if info is None:
        raise CheckpointError(f"{path}: the tensor {name} is missing.")
    if len(info.shape) != num_dims or 0 in info.shape:
        raise mismatch(path, f"shape of {name}", f"{num_dims} sizes above 0", list(info.shape))
    return info.shape
