"""A checkpoint as small as the format allows: right in every name and shape, silent as a model.

Names and shapes are spelled out here once more, so that a slip in the reader cannot hide.
"""

import json
import shutil
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tests.checkpoints.tensor_files import write_plain_state_dict, write_safetensors

FILES = (
    "config.json",
    "model.safetensors",
    "tokenizer.json",
    "tokenizer_config.json",
    "decoder.pth",
)

CONFIG: dict[str, Any] = {
    "architectures": ["Qwen3ForCausalLM"],
    "model_type": "qwen3",
    "vocab_size": 16,
    "hidden_size": 6,
    "num_hidden_layers": 2,
    "intermediate_size": 10,
    "num_attention_heads": 2,
    "num_key_value_heads": 1,
    "head_dim": 4,
    "rope_theta": 10_000.0,
    "rms_norm_eps": 1e-6,
    "eos_token_id": 3,
    "tie_word_embeddings": False,
    "hidden_act": "silu",
    "use_cache": True,
}

LAYER_SHAPES = {
    "input_layernorm.weight": (6,),
    "self_attn.q_proj.weight": (8, 6),
    "self_attn.k_proj.weight": (4, 6),
    "self_attn.v_proj.weight": (4, 6),
    "self_attn.o_proj.weight": (6, 8),
    "self_attn.q_norm.weight": (4,),
    "self_attn.k_norm.weight": (4,),
    "post_attention_layernorm.weight": (6,),
    "mlp.gate_proj.weight": (10, 6),
    "mlp.up_proj.weight": (10, 6),
    "mlp.down_proj.weight": (6, 10),
}

LANGUAGE_MODEL_SHAPES: dict[str, tuple[int, ...]] = {
    "model.embed_tokens.weight": (16, 6),
    "model.norm.weight": (6,),
    "lm_head.weight": (16, 6),
    **{f"model.layers.0.{name}": shape for name, shape in LAYER_SHAPES.items()},
    **{f"model.layers.1.{name}": shape for name, shape in LAYER_SHAPES.items()},
}

BLOCK_SHAPES = {
    "gamma": (3,),
    "dwconv.weight": (3, 1, 3),
    "dwconv.bias": (3,),
    "norm.weight": (3,),
    "norm.bias": (3,),
    "pwconv1.weight": (5, 3),
    "pwconv1.bias": (5,),
    "pwconv2.weight": (3, 5),
    "pwconv2.bias": (3,),
}

DECODER_SHAPES: dict[str, tuple[int, ...]] = {
    "decoder.embed.weight": (3, 6, 1),
    "decoder.embed.bias": (3,),
    "decoder.norm.weight": (3,),
    "decoder.norm.bias": (3,),
    **{f"decoder.convnext.0.{name}": shape for name, shape in BLOCK_SHAPES.items()},
    **{f"decoder.convnext.1.{name}": shape for name, shape in BLOCK_SHAPES.items()},
    "decoder.final_layer_norm.weight": (3,),
    "decoder.final_layer_norm.bias": (3,),
    "head.out.weight": (2_050, 3),
    "head.out.bias": (2_050,),
    "head.istft.window": (2_048,),
}

TOKENS = ("[UNK]", "[TEXT]", "[START]", "[STOP]", *"abcdefghijkl")

TOKENIZER: dict[str, Any] = {
    "version": "1.0",
    "added_tokens": [
        {"id": index, "content": token, "special": True} for index, token in enumerate(TOKENS[:4])
    ],
    "model": {
        "type": "BPE",
        "vocab": {token: index for index, token in enumerate(TOKENS)},
        "merges": [],
    },
}

TOKENIZER_CONFIG: dict[str, Any] = {
    "tokenizer_class": "PreTrainedTokenizerFast",
    "eos_token": "[STOP]",
    "pad_token": "[STOP]",
}


def write_small_checkpoint(directory: Path) -> Path:
    """Write all files into `directory`, made if missing, and return it."""
    directory.mkdir(parents=True, exist_ok=True)
    write_json(directory / "config.json", CONFIG)
    write_json(directory / "tokenizer.json", TOKENIZER)
    write_json(directory / "tokenizer_config.json", TOKENIZER_CONFIG)
    write_safetensors(directory / "model.safetensors", tensors_of(LANGUAGE_MODEL_SHAPES))
    write_plain_state_dict(directory / "decoder.pth", tensors_of(DECODER_SHAPES))
    return directory


def write_json(path: Path, content: object) -> None:
    path.write_text(json.dumps(content))


def tensors_of(shapes: Mapping[str, tuple[int, ...]]) -> dict[str, NDArray[np.float32]]:
    """Random numbers in these shapes; the seed is 0."""
    rng = np.random.default_rng(0)
    return {name: rng.standard_normal(shape, np.float32) for name, shape in shapes.items()}


def rewrite_archive(
    path: Path, changes: Mapping[str, bytes | None], compression: int = zipfile.ZIP_STORED
) -> None:
    """Replace entries of a ZIP archive, by their names below its root; None removes."""
    with zipfile.ZipFile(path) as archive:
        contents = {name: archive.read(name) for name in archive.namelist()}
    root = next(iter(contents)).partition("/")[0]
    contents |= {f"{root}/{name}": content for name, content in changes.items() if content}
    for name, content in changes.items():
        if content is None:
            del contents[f"{root}/{name}"]
    with zipfile.ZipFile(path, "w", compression) as archive:
        for name, content in contents.items():
            archive.writestr(name, content)


COMMIT = "0123456789abcdef0123456789abcdef01234567"


def cache_small_checkpoint(
    cache_dir: Path, repo: str, ref: str = "main", commit: str = COMMIT
) -> Path:
    """Lay a checkpoint down as the Hugging Face hub's cache keeps it; gives its snapshot."""
    storage = cache_dir / f"models--{repo.replace('/', '--')}"
    blobs, snapshot = storage / "blobs", storage / "snapshots" / commit
    blobs.mkdir(parents=True, exist_ok=True)
    snapshot.mkdir(parents=True)
    (storage / "refs").mkdir(exist_ok=True)
    (storage / "refs" / ref).write_text(commit)
    originals = write_small_checkpoint(cache_dir.parent / f"{cache_dir.name}-originals")
    for name in FILES:
        blob = blobs / f"{commit[:4]}-{name}"
        shutil.copy(originals / name, blob)
        (snapshot / name).symlink_to(Path("../../blobs") / blob.name)
    return snapshot
