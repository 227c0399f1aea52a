"""`tokenizer.json` and `tokenizer_config.json`: is the tokenizer the one that Soprano learned with.

Only what the prompt and the end of speech hang on is looked at.
"""

from pathlib import Path
from typing import Annotated, Any, Final

import msgspec

from app.adapters.speech.soprano.checkpoint.files import mismatch, read_json
from app.adapters.speech.soprano.checkpoint.shapes import LanguageModelShape

# By content, with their ids.
SPECIAL_TOKENS: Final = {"[UNK]": 0, "[TEXT]": 1, "[START]": 2, "[STOP]": 3}

STOP: Final = "[STOP]"

TOKENIZER_FILE: Final = "tokenizer.json"

_TokenId = Annotated[int, msgspec.Meta(ge=0)]


class _Token(msgspec.Struct, frozen=True):
    content: str


class _AddedToken(msgspec.Struct, frozen=True):
    id: _TokenId
    content: str


class _Model(msgspec.Struct, frozen=True):
    vocab: dict[str, _TokenId]


class _Tokenizer(msgspec.Struct, frozen=True):
    added_tokens: list[_AddedToken]
    model: _Model


class _TokenizerConfig(msgspec.Struct, frozen=True):
    eos_token: str | _Token | None = None


def check_tokenizer(directory: Path, shape: LanguageModelShape) -> None:
    """Compare both files with what Soprano needs and with the language model.

    Raises:
        CheckpointError: a file cannot be read, or the tokenizer is another one.
    """
    path = directory / TOKENIZER_FILE
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
        raise mismatch(directory / "config.json", "eos_token_id", expected, shape.eos_token_id)
    _check_config(directory / "tokenizer_config.json")


def _check_config(path: Path) -> None:
    eos = read_json(path, _TokenizerConfig).eos_token
    content = eos.content if isinstance(eos, _Token) else eos
    if content is not None and content != STOP:
        raise mismatch(path, "eos_token", STOP, content)


def load_tokenizer(directory: Path) -> Any:
    """The tokenizers.Tokenizer of a checkpoint; its `encode` neither pads nor truncates."""
    from tokenizers import Tokenizer

    tokenizer = Tokenizer.from_file(str(directory / TOKENIZER_FILE))
    tokenizer.no_padding()
    tokenizer.no_truncation()
    return tokenizer
