"""Checkpoints in the layout of Soprano-80M, made up on the spot: random weights, a known length.

The arithmetic is the real model's and only what it says is arranged (`language_model.py`), so an
engine can be held against the author's package without the published weights. Knows nothing of any
engine. Needs numpy alone; torch, where it is installed, writes `decoder.pth`.
"""

import argparse
import json
from pathlib import Path
from typing import Literal

import numpy as np

from tests.checkpoints.decoder import build_decoder
from tests.checkpoints.language_model import (
    FULL,
    LOOP_TOKENS,
    TINY,
    Chain,
    CheckpointSize,
    Crowds,
    build_language_model,
    draw_chain,
    draw_crowds,
)
from tests.checkpoints.tensor_files import write_safetensors, write_state_dict
from tests.checkpoints.tokenizer import STOP, audio_ids, tokenizer_config, tokenizer_json

__all__ = [
    "FULL",
    "LOOP_TOKENS",
    "MAX_TOKENS_PER_SENTENCE",
    "SAMPLES_PER_TOKEN",
    "TINY",
    "CheckpointSize",
    "build_checkpoint",
    "expected_samples",
]

SAMPLES_PER_TOKEN = 2_048
"""Hop length 512, four decoder frames between two hidden states."""

MAX_TOKENS_PER_SENTENCE = 511
"""The package generates at most 512 tokens, and the last of them has to be [STOP]."""

SIZES = {"tiny": TINY, "full": FULL}

_MAX_POSITIONS = 1_024
_RMS_NORM_EPS = 1e-6


def build_checkpoint(  # noqa: PLR0913 - one argument for each thing a test may want to differ
    directory: Path,
    size: CheckpointSize = TINY,
    *,
    tokens_per_sentence: int = 12,
    decoder_version: Literal["1.0", "1.1"] = "1.1",
    loops: bool | Literal["greedily"] = False,
    never_stops: bool = False,
    says: Literal["chain", "anything"] = "chain",
    seed: int = 0,
) -> Path:
    """Write every file of a checkpoint into `directory` (made if missing) and return it.

    Whatever the text, decoding gives `tokens_per_sentence` tokens and then [STOP], greedily as well
    as at the temperatures in use; the text colours the hidden states. Equal arguments write equal
    files.

    Args:
        directory: where the files go; files of the same names are overwritten.
        size: shape of the language model; the decoder's follows `decoder_version`.
        tokens_per_sentence: tokens before [STOP], 2 to 511 with those of the loop; at one token the
            package fails, see `expected_samples`.
        decoder_version: "1.1" is what the package loads; "1.0" is narrower, its input kernel is 3.
        loops: say LOOP_TOKENS more, whose hidden states are nearly the same, before [STOP]; the
            package's detector takes that for a hallucination. "greedily" is the loop alone where
            the likeliest token is taken, and about every other time no loop where others are drawn.
        never_stops: start over where [STOP] would come, until the limit of 512 tokens. Neighbouring
            hidden states still differ as in any sentence.
        says: "anything" is other tokens for every text, each chosen by all that came before, and
            `tokens_per_sentence` of them only about (half of them at least); greedy decoding only.
        seed: of all that is random.
    """
    num_tokens = tokens_per_sentence + (LOOP_TOKENS if loops else 0)
    if not 2 <= num_tokens <= MAX_TOKENS_PER_SENTENCE:
        raise ValueError(f"{num_tokens} tokens per sentence, not 2 to {MAX_TOKENS_PER_SENTENCE}")
    directory.mkdir(parents=True, exist_ok=True)
    model_rng, decoder_rng = np.random.default_rng(seed).spawn(2)
    ids = audio_ids(size.vocab_size)
    spoken: Chain | Crowds
    if says == "anything":
        spoken = draw_crowds(model_rng, ids, num_crowds=num_tokens)
    else:
        spoken = draw_chain(
            model_rng,
            ids,
            num_tokens=num_tokens,
            num_looping=LOOP_TOKENS if loops else 0,
            never_stops=never_stops,
            loops_greedily=loops == "greedily",
        )
    weights = build_language_model(model_rng, size, spoken)
    write_safetensors(directory / "model.safetensors", weights)
    write_state_dict(directory / "decoder.pth", build_decoder(decoder_rng, decoder_version))
    _write_json(directory / "config.json", _config(size))
    _write_json(directory / "generation_config.json", {"eos_token_id": STOP})
    _write_json(directory / "tokenizer.json", tokenizer_json(size.vocab_size))
    _write_json(directory / "tokenizer_config.json", tokenizer_config(size.vocab_size))
    return directory


def expected_samples(tokens: int) -> int:
    """Samples of a sentence of `tokens` tokens, [STOP] not counted: `(tokens - 1) * 2048`.

    The package keeps the hidden state that predicted each token and drops the one that predicted
    [STOP], which leaves `tokens` states; audio spans the gaps between them. A sentence cut at the
    limit keeps the states of all 512 tokens. One state has no gap, and the package fails on it.
    """
    return (tokens - 1) * SAMPLES_PER_TOKEN


def _config(size: CheckpointSize) -> dict[str, object]:
    return {
        "architectures": ["Qwen3ForCausalLM"],
        "attention_bias": False,
        "attention_dropout": 0.0,
        "dtype": "float32",
        "eos_token_id": STOP,
        "head_dim": size.head_dim,
        "hidden_act": "silu",
        "hidden_size": size.hidden_size,
        "intermediate_size": size.mlp_size,
        "max_position_embeddings": _MAX_POSITIONS,
        "model_type": "qwen3",
        "num_attention_heads": size.num_heads,
        "num_hidden_layers": size.num_layers,
        "num_key_value_heads": size.num_kv_heads,
        "rms_norm_eps": _RMS_NORM_EPS,
        "rope_scaling": None,
        "rope_theta": size.rope_theta,
        "sliding_window": None,
        "tie_word_embeddings": False,
        "use_cache": True,
        "use_sliding_window": False,
        "vocab_size": size.vocab_size,
    }


def _write_json(path: Path, content: object) -> None:
    path.write_text(json.dumps(content, indent=2) + "\n", encoding="utf-8")


def main(arguments: list[str] | None = None) -> None:
    """Write a checkpoint from the command line."""
    parser = argparse.ArgumentParser("python -m tests.checkpoints.build", description=__doc__)
    parser.add_argument("directory", type=Path)
    parser.add_argument("--size", choices=SIZES, default="tiny", help="of the language model")
    parser.add_argument("--tokens", type=int, default=12, help="of each sentence")
    given = parser.parse_args(arguments)
    build_checkpoint(given.directory, SIZES[given.size], tokens_per_sentence=given.tokens)


if __name__ == "__main__":
    main()
