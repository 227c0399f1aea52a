"""What a checkpoint of Soprano is, and whether a directory holds one.

Reads descriptions only: no weights are loaded and nothing in the files is run. What passes here has
every file whole, every tensor in place and the tokenizer that belongs to it.
"""

import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Final

import msgspec
import numpy as np
from numpy.typing import NDArray

from app.adapters.speech.soprano.checkpoint.files import mismatch, unreadable
from app.adapters.speech.soprano.checkpoint.model_config import read_model_config
from app.adapters.speech.soprano.checkpoint.safetensors import load_safetensors, read_header
from app.adapters.speech.soprano.checkpoint.shapes import (
    FLOATING,
    DecoderShape,
    LanguageModelShape,
    Shape,
    TensorInfo,
)
from app.adapters.speech.soprano.checkpoint.tokenizer import check_tokenizer
from app.adapters.speech.soprano.checkpoint.torch_zip import load_tensors, read_tensor_shapes
from app.domain.errors import CheckpointError

CONFIG: Final = "config.json"
WEIGHTS: Final = "model.safetensors"
DECODER: Final = "decoder.pth"
REQUIRED_FILES: Final = (CONFIG, WEIGHTS, "tokenizer.json", "tokenizer_config.json", DECODER)

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
        """The weights of the language model, by the names of `language_model.tensor_shapes`.

        Raises:
            CheckpointError: the file cannot be read any more.
        """
        return _as_float32(load_safetensors(self.directory / WEIGHTS))

    def load_decoder(self) -> dict[str, NDArray[np.float32]]:
        """The weights of the decoder, by the names of `decoder.tensor_shapes`.

        Raises:
            CheckpointError: the file cannot be read any more, or a checksum in it is wrong.
        """
        return _as_float32(load_tensors(self.directory / DECODER))


def file_states(directory: Path) -> list[tuple[str, int, int]]:
    """Name, bytes and time of change in ns of each file: other files have other ones.

    Raises:
        CheckpointError: a file is missing or cannot be looked at.
    """
    try:
        found = [(name, (directory / name).stat()) for name in REQUIRED_FILES]
    except OSError as error:
        raise unreadable(directory, error) from error
    return [(name, status.st_size, status.st_mtime_ns) for name, status in found]


def _as_float32(tensors: Mapping[str, NDArray[Any]]) -> dict[str, NDArray[np.float32]]:
    return {name: tensor.astype(np.float32, copy=False) for name, tensor in tensors.items()}


def read_checkpoint(directory: Path) -> Checkpoint:
    """The checkpoint in `directory`, checked.

    Raises:
        CheckpointError: it is none, or a file is missing, damaged or does not fit the others.
    """
    missing = missing_files(directory)
    if missing:
        raise CheckpointError(
            f"{directory} is no Soprano checkpoint: it has no {', '.join(missing)}."
        )
    language_model = read_model_config(directory / CONFIG)
    weights = directory / WEIGHTS
    _check_tensors(weights, read_header(weights), language_model.tensor_shapes())
    check_tokenizer(directory, language_model)
    decoder = _read_decoder(directory / DECODER, language_model.hidden_size)
    return Checkpoint(directory, language_model, decoder)


def missing_files(directory: Path) -> list[str]:
    """Which files of a checkpoint are not in `directory`.

    Raises:
        CheckpointError: it is no directory, or cannot be read.
    """
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
    found = read_tensor_shapes(path)
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
