"""The pickle inside `decoder.pth`, run in a machine that can do nothing but describe tensors.

A pickle is a program that may call anything; this one gets a few inert stand-ins for torch's names
and is refused the rest. Knows nothing of ZIP files or of the numbers.
"""

import io
import math
import pickle
import pickletools
import reprlib
from collections.abc import Callable, Mapping
from typing import Annotated, Any, Final

import msgspec

# fmt: off
# What `torch.save` writes for a dict of tensors, in pickle's protocols 2 to 4.
OPCODES: Final = frozenset({
    "PROTO", "FRAME", "STOP", "MARK", "GLOBAL", "STACK_GLOBAL", "REDUCE", "BUILD", "BINPERSID",
    "NONE", "NEWTRUE", "NEWFALSE", "BININT", "BININT1", "BININT2", "LONG1",
    "BINUNICODE", "SHORT_BINUNICODE", "EMPTY_DICT", "SETITEM", "SETITEMS",
    "EMPTY_TUPLE", "TUPLE", "TUPLE1", "TUPLE2", "TUPLE3",
    "BINPUT", "LONG_BINPUT", "MEMOIZE", "BINGET", "LONG_BINGET",
})
# fmt: on

# Classes of the module torch, with the dtype in the words of safetensors.
STORAGE_DTYPES: Final = {
    "BoolStorage": "BOOL", "ByteStorage": "U8", "CharStorage": "I8", "ShortStorage": "I16",
    "IntStorage": "I32", "LongStorage": "I64", "HalfStorage": "F16", "BFloat16Storage": "BF16",
    "FloatStorage": "F32", "DoubleStorage": "F64",
}  # fmt: skip

MAX_DIMS: Final = 8  # of one tensor
MAX_SHOWN_CHARS: Final = 80  # of a rejected name in a message

_Count = Annotated[int, msgspec.Meta(ge=0, lt=2**62)]
_Counts = Annotated[tuple[_Count, ...], msgspec.Meta(max_length=MAX_DIMS)]


class RefusedPickleError(Exception):
    """The pickle asks for something that is no tensor."""


class Storage(msgspec.Struct, frozen=True):
    """A run of numbers, kept under `key`."""

    dtype: str
    key: str
    num_items: _Count


class StoredTensor(msgspec.Struct, frozen=True):
    """A view into a storage; offset and strides count numbers."""

    storage: Storage
    offset: _Count
    shape: _Counts
    strides: _Counts

    @property
    def is_within_storage(self) -> bool:
        """Whether no number lies outside of the storage, nor is used twice."""
        num_items = math.prod(self.shape)
        if num_items == 0:
            return True
        last = self.offset + sum(
            (length - 1) * stride for length, stride in zip(self.shape, self.strides, strict=True)
        )
        return max(last + 1, num_items) <= self.storage.num_items


def run_tensor_program(program: bytes) -> dict[str, StoredTensor]:
    """What the pickle says: tensors by name; RefusedPickleError if it asks for anything else."""
    _check_opcodes(program)
    try:
        result = _Machine(io.BytesIO(program)).load()
    except RefusedPickleError:
        raise
    except Exception as error:  # a damaged program may raise almost anything
        raise RefusedPickleError(f"its pickle is damaged ({type(error).__name__})") from error
    if not isinstance(result, dict) or not result:
        raise RefusedPickleError("its pickle is no dict of tensors")
    for name, tensor in result.items():
        if not isinstance(name, str) or not isinstance(tensor, StoredTensor):
            raise RefusedPickleError(f"its pickle has {reprlib.repr(name)}, which is no tensor")
    return dict(result)


def _check_opcodes(program: bytes) -> None:
    """Before anything runs: some instructions allocate, or find functions past `find_class`."""
    try:
        for opcode, argument, _ in pickletools.genops(program):
            if opcode.name not in OPCODES:
                raise RefusedPickleError(f"its pickle uses {opcode.name}")
            # The memo is a list as long as the largest number in it.
            if opcode.name == "LONG_BINPUT" and int(argument or 0) > len(program):
                raise RefusedPickleError("its pickle is damaged (memo)")
    except ValueError as error:
        raise RefusedPickleError(f"its pickle is damaged ({error})") from error


class _Machine(pickle.Unpickler):
    """Pickle's machine with stand-ins for the names that tensors need.

    None of them can be changed by the program (BUILD sets attributes): their instances are frozen.
    """

    def find_class(self, module: str, name: str, /) -> Any:
        if module == "torch" and name in STORAGE_DTYPES:
            return _StorageType(STORAGE_DTYPES[name])
        if (module, name) not in _FUNCTIONS:
            asked = f"{module}.{name}"[:MAX_SHOWN_CHARS]
            raise RefusedPickleError(f"its pickle asks for {asked!r}")
        return _Function(_FUNCTIONS[module, name])

    def persistent_load(self, pid: Any, /) -> Storage:
        kind, storage_type, key, _location, num_items = pid
        if kind != "storage":
            raise RefusedPickleError(f"its pickle asks for {reprlib.repr(kind)}")
        fields = {"dtype": storage_type.dtype, "key": key, "num_items": num_items}
        return msgspec.convert(fields, Storage)


class _StorageType(msgspec.Struct, frozen=True):
    dtype: str


class _Function(msgspec.Struct, frozen=True):
    """Calls `function`, and is not it: a program could set attributes of a function."""

    function: Callable[..., Any]

    def __call__(self, *args: Any) -> Any:
        return self.function(*args)


class _StateDict(dict[str, Any]):
    """Stands in for OrderedDict."""

    def __setstate__(self, _: object) -> None:
        """Drop the versions of modules that torch attaches."""


def _rebuild_tensor(
    storage: Storage, offset: int, shape: object, strides: object, *_: object
) -> StoredTensor:
    fields = {"storage": storage, "offset": offset, "shape": shape, "strides": strides}
    tensor = msgspec.convert(fields, StoredTensor)
    if len(tensor.shape) != len(tensor.strides) or not tensor.is_within_storage:
        raise RefusedPickleError("its pickle has a tensor that exceeds its storage")
    return tensor


_FUNCTIONS: Final[Mapping[tuple[str, str], Callable[..., Any]]] = {
    ("collections", "OrderedDict"): _StateDict,
    ("torch._utils", "_rebuild_tensor_v2"): _rebuild_tensor,
    ("torch._utils", "_rebuild_parameter"): lambda tensor, *_: tensor,
}
