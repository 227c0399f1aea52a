"""Files of a checkpoint, opened and decoded; whatever fails is a CheckpointError naming the file.

Knows nothing of what the files should hold.
"""

import os
import reprlib
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Any, BinaryIO, Final, TypeVar

import msgspec

from app.adapters.speech.soprano.checkpoint.shapes import LanguageModelShape
from app.domain.errors import CheckpointError

# The largest JSON file of a checkpoint is a tokenizer of a few megabytes.
MAX_JSON_BYTES: Final = 64 * 1024 * 1024

# Start of a file that git left in the place of a large one.
_LFS_POINTER: Final = b"version https://git-lfs"

T = TypeVar("T")


def mismatch(path: Path, what: str, expected: object, found: object) -> CheckpointError:
    """The error for a file that can be read and holds something else."""
    seen = found if isinstance(found, str) else reprlib.repr(found)
    return CheckpointError(f"{path}: {what}: expected {expected}, found {seen}.")


@contextmanager
def opened(path: Path) -> Iterator[BinaryIO]:
    """The file, open for reading at its start.

    Raises CheckpointError if it is missing, empty or no regular file, or cannot be read.
    """
    try:
        if not stat.S_ISREG(path.stat().st_mode):  # opening a named pipe would wait for its writer
            raise mismatch(path, "kind", "a regular file", "something else")
        with path.open("rb") as file:
            start = file.read(len(_LFS_POINTER))
            if not start:
                raise CheckpointError(f"{path}: the file is empty.")
            if start == _LFS_POINTER:
                raise CheckpointError(
                    f"{path} is a Git LFS pointer: fetch the file itself (git lfs pull)."
                )
            file.seek(0)
            yield file
    except FileNotFoundError as error:
        raise CheckpointError(f"{path}: the file is missing.") from error
    except OSError as error:
        raise unreadable(path, error) from error


def unreadable(path: Path, error: OSError) -> CheckpointError:
    """The error for what the operating system refuses."""
    reason = os.strerror(error.errno) if error.errno else type(error).__name__
    return CheckpointError(f"{path} cannot be read: {reason}.")


def read_json(path: Path, kind: type[T]) -> T:
    """The content of a JSON file as `kind`; raises CheckpointError."""
    with opened(path) as file:
        content = file.read(MAX_JSON_BYTES + 1)
    if len(content) > MAX_JSON_BYTES:
        raise mismatch(path, "size", f"at most {MAX_JSON_BYTES} bytes", "more")
    return decode_json(path, content, kind)


def decode_json(path: Path, content: bytes | msgspec.Raw, kind: type[T]) -> T:
    """JSON that is in `path`, as `kind`; raises CheckpointError."""
    try:
        # As text: fields that nobody asks for are skipped and would not be checked for UTF-8.
        return msgspec.json.decode(bytes(content).decode(), type=kind)
    except msgspec.ValidationError as error:
        raise CheckpointError(f"{path}: unexpected content: {error}.") from error
    except (ValueError, RecursionError) as error:
        raise CheckpointError(f"{path} is truncated or damaged: {error}.") from error


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

    Raises CheckpointError if the tokenizer is another one.
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
    config_path = directory / "tokenizer_config.json"
    eos = read_json(config_path, _TokenizerConfig).eos_token
    eos = eos.content if isinstance(eos, _Token) else eos
    if eos is not None and eos != STOP:
        raise mismatch(config_path, "eos_token", STOP, eos)


def load_tokenizer(directory: Path) -> Any:
    """The tokenizers.Tokenizer of a checkpoint; its `encode` neither pads nor truncates."""
    from tokenizers import Tokenizer

    tokenizer = Tokenizer.from_file(str(directory / TOKENIZER_FILE))
    tokenizer.no_padding()
    tokenizer.no_truncation()
    return tokenizer
