"""Writes tensors in the two formats of a published checkpoint, little-endian float32.

safetensors is a length, a JSON header and the bytes (github.com/huggingface/safetensors, README).
`.pth` is the ZIP of `torch.save`: a pickle that names storages, and every storage as raw bytes.
torch writes it where it is installed; else it holds a plainer pickle, which `torch.load` reads too.
"""

import json
import pickle
import struct
import zipfile
from collections.abc import Mapping
from importlib.util import find_spec
from pathlib import Path
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

Tensors: TypeAlias = Mapping[str, NDArray[np.float32]]

_HEADER_ALIGNMENT = 8
_ZIP_EPOCH = (1980, 1, 1, 0, 0, 0)
"""The earliest date a ZIP entry can carry; the clock would make equal files differ."""


def write_safetensors(path: Path, tensors: Tensors) -> None:
    """Tensors in the order given, marked as torch's (`format: pt`), which transformers asks for."""
    header: dict[str, object] = {"__metadata__": {"format": "pt"}}
    start = 0
    for name, tensor in tensors.items():
        end = start + tensor.nbytes
        header[name] = {"dtype": "F32", "shape": tensor.shape, "data_offsets": (start, end)}
        start = end
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % _HEADER_ALIGNMENT)
    with path.open("wb") as file:
        file.write(struct.pack("<Q", len(text)) + text)
        for tensor in tensors.values():
            file.write(_raw(tensor))


def write_state_dict(path: Path, tensors: Tensors) -> None:
    """The tensors as the state of a torch module, under their dotted names."""
    if find_spec("torch") is None:
        write_plain_state_dict(path, tensors)
        return
    import torch

    root = torch.nn.Module()
    for name, tensor in tensors.items():
        *parents, leaf = name.split(".")
        node = root
        for parent in parents:
            if parent not in dict(node.named_children()):
                node.add_module(parent, torch.nn.Module())
            node = node.get_submodule(parent)
        node.register_buffer(leaf, torch.from_numpy(tensor))
    torch.save(root.state_dict(), path)


def write_plain_state_dict(path: Path, tensors: Tensors) -> None:
    """What `write_state_dict` writes where there is no torch."""
    tensors = {name: np.ascontiguousarray(tensor) for name, tensor in tensors.items()}
    with zipfile.ZipFile(path, "w") as archive:
        for name, content in {
            "data.pkl": _pickle(tensors),
            "byteorder": b"little",
            **{f"data/{key}": _raw(tensor) for key, tensor in enumerate(tensors.values())},
            "version": b"3\n",
        }.items():
            archive.writestr(zipfile.ZipInfo(f"{path.stem}/{name}", _ZIP_EPOCH), content)


def _pickle(tensors: Tensors) -> bytes:
    """A dict of calls that rebuild tensors, by opcodes: a pickler needs the functions it names."""
    items = b"".join(
        _text(name) + _rebuilt_tensor(key, tensor)
        for key, (name, tensor) in enumerate(tensors.items())
    )
    start = pickle.PROTO + b"\x02" + pickle.EMPTY_DICT + pickle.MARK
    return start + items + pickle.SETITEMS + pickle.STOP


def _rebuilt_tensor(key: int, tensor: NDArray[np.float32]) -> bytes:
    """The call `_rebuild_tensor_v2(storage, offset, size, stride, requires_grad, hooks)`."""
    storage = _tuple(
        _text("storage"),
        _global("torch", "FloatStorage"),
        _text(str(key)),
        _text("cpu"),
        _integer(tensor.size),
    )
    strides = (stride // tensor.itemsize for stride in tensor.strides)
    arguments = _tuple(
        storage + pickle.BINPERSID,
        _integer(0),
        _tuple(*map(_integer, tensor.shape)),
        _tuple(*map(_integer, strides)),
        pickle.NEWFALSE,
        _global("collections", "OrderedDict") + pickle.EMPTY_TUPLE + pickle.REDUCE,
    )
    return _global("torch._utils", "_rebuild_tensor_v2") + arguments + pickle.REDUCE


def _tuple(*items: bytes) -> bytes:
    return pickle.MARK + b"".join(items) + pickle.TUPLE


def _text(text: str) -> bytes:
    return pickle.BINUNICODE + struct.pack("<I", len(text.encode())) + text.encode()


def _integer(number: int) -> bytes:
    return pickle.BININT + struct.pack("<i", number)


def _global(module: str, name: str) -> bytes:
    return pickle.GLOBAL + f"{module}\n{name}\n".encode()


def _raw(tensor: NDArray[np.float32]) -> bytes:
    return tensor.astype("<f4").tobytes()
