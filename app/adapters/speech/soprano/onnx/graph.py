"""Builds ONNX graphs node by node, and writes them with their weights in a file beside.

`int8` quantises each row of the activations by itself: a row is divided by its largest magnitude,
rounded to 8 bits with a constant scale, multiplied with 8-bit weights (one scale per output
channel) and scaled back. One scale for the whole batch, as ONNX Runtime's dynamic quantisation
takes it, would make the sound of a sentence depend on which others share its step.

Products in blocks leave that to the runtime, with a scale for each block of a row. Where they are
fast, they are faster for few rows; but the last row of an odd number is summed in another order.
"""

import platform
from collections.abc import Sequence
from collections.abc import Set as AbstractSet
from pathlib import Path
from typing import Any, Final, Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray

Precision = Literal["fp32", "int8"]

MAX_LEVEL: Final = 127  # of a quantized number; symmetric, so that -128 is never used

# Of weights where the processor adds two products in 16 bits, which must not overflow:
# 2 * 255 * 63 < 2**15.
MAX_LEVEL_WITHOUT_DOT_PRODUCTS: Final = 63

# Flags of x86 processors that add products of 8 bits in 32 bits, and a maker, by Linux's names.
AVX512_FLAG: Final = "avx512_vnni"
DOT_PRODUCT_FLAGS: Final = frozenset({AVX512_FLAG, "avx_vnni", "amx_int8"})
AMD: Final = "AuthenticAMD"

# How the flags begin that decide how products are computed. Others change with the kernel.
VECTOR_FLAGS: Final = ("avx", "amx", "fma", "f16c", "asimd", "sve", "sme", "i8mm", "bf16")

BLOCK_SIZE: Final = 256  # numbers of a row that share a scale, the most that MatMulNBits takes
NUM_BITS: Final = 8
QUANTIZE_ACTIVATIONS: Final = 4  # accuracy level of MatMulNBits

# Of quantized activations, which are unsigned: that is the fastest product on x86.
ZERO_POINT: Final = 128

ALIGNMENT: Final = 4_096  # bytes: weights begin at a page, so that the runtime can map them

# Of a constant that is kept in the graph itself: only there shape inference reads it.
MAX_INLINE_BYTES: Final = 1_024

MICROSOFT: Final = "com.microsoft"


class Rows(NamedTuple):
    """Names of a value (..., size) and of a factor (..., 1) that is left to multiply it with.

    Without a name, the factor is 1.
    """

    value: str
    factor: str = ""


class GraphBuilder:
    """A graph under construction. Values are named by the node that gives them.

    `precision` is that of all linear layers. `in_blocks` is how int8 computes them.
    """

    def __init__(self, precision: Precision, *, in_blocks: bool = False) -> None:
        self._precision = precision
        self._in_blocks = precision == "int8" and in_blocks
        self._max_level = int8_here().max_level
        self._nodes: list[Any] = []
        self._weights: dict[str, NDArray[Any]] = {}
        self._inputs: list[Any] = []
        self._outputs: list[Any] = []
        self._levels: dict[str, tuple[str, str]] = {}

    def input(self, name: str, dtype: type[np.generic], shape: Sequence[int | str]) -> str:
        """An input; dimensions with the same name are equal."""
        self._inputs.append(_value_info(name, dtype, shape))
        return name

    def output(
        self, value: str, name: str, dtype: type[np.generic], shape: Sequence[int | str]
    ) -> None:
        """Give out `value` under `name`."""
        if value != name:
            self.node("Identity", [value], outputs=[name])
        self._outputs.append(_value_info(name, dtype, shape))

    def constant(self, name: str, array: NDArray[Any]) -> str:
        """A weight; an equal name is the same weight."""
        self._weights[name] = np.asarray(array, order="C")
        return name

    def node(
        self,
        kind: str,
        inputs: Sequence[str],
        *,
        outputs: Sequence[str] = (),
        domain: str = "",
        **attributes: Any,
    ) -> str:
        """Add a node; gives the name of its first output."""
        from onnx import helper

        names = list(outputs) or [f"{kind}_{len(self._nodes)}"]
        self._nodes.append(helper.make_node(kind, list(inputs), names, domain=domain, **attributes))
        return names[0]

    def ints(self, *values: int) -> str:
        """A constant vector of int64."""
        name = "ints_" + "_".join(map(str, values)).replace("-", "m")
        return self.constant(name, np.array(values, np.int64))

    def slice(self, value: str, axis: int, start: int, end: int | None = None) -> str:
        """`value[start:end]` along `axis`; negative numbers count from the end."""
        stop = np.iinfo(np.int64).max if end is None else end
        return self.node("Slice", [value, self.ints(start), self.ints(int(stop)), self.ints(axis)])

    def linear(
        self,
        value: str,
        name: str,
        weight: NDArray[np.float32],
        bias: NDArray[np.float32] | None = None,
        *,
        floor: float | None = None,
    ) -> str:
        """`value @ weight.T + bias`, for (..., num_in), (num_out, num_in) and (num_out,) float32.

        No number of `value` is below `floor`, which is negative, if that is known.
        """
        product = self.multiplied(self.product(Rows(value), name, weight, floor=floor))
        if bias is None:
            return product
        return self.node("Add", [product, self.constant(f"{name}.bias", bias)])

    def product(
        self, rows: Rows, name: str, weight: NDArray[np.float32], *, floor: float | None = None
    ) -> Rows:
        """`rows @ weight.T`, of which a factor per row may be left to multiply; see `linear`."""
        if self._precision == "fp32":
            product = self.node("MatMul", [rows.value, self.constant(name, weight.T)])
            return Rows(product, rows.factor)
        if self._in_blocks:
            return Rows(self._product_in_blocks(rows.value, name, weight), rows.factor)
        last = self.ints(-1)
        unit = self.constant("activation_scale", np.array(1 / MAX_LEVEL, np.float32))
        zero = self.constant("activation_zero_point", np.array(ZERO_POINT, np.uint8))
        if rows.value not in self._levels:  # products that take the same value share its levels
            if floor is None:
                peak = self.node("ReduceMax", [self.node("Abs", [rows.value]), last], keepdims=1)
            else:
                largest = self.node("ReduceMax", [rows.value, last], keepdims=1)
                least = self.constant(f"least_peak_{-floor}", np.array(-floor, np.float32))
                peak = self.node("Max", [largest, least])
            # A row of zeros becomes 0/0, some level, and after its product with its peak 0 again.
            normed = self.node("Div", [rows.value, peak])
            levels = self.node("QuantizeLinear", [normed, unit, zero])
            self._levels[rows.value] = levels, peak
        levels, peak = self._levels[rows.value]
        weight_levels, scales = quantize_channels(weight, self._max_level)
        product = self.node(
            "MatMulIntegerToFloat",
            [
                levels,
                self.constant(name, weight_levels.T),
                unit,
                self.constant(f"{name}.scale", scales),
                zero,
                self.constant(f"{name}.zero_point", np.zeros(len(scales), np.int8)),
            ],
            domain=MICROSOFT,
        )
        return Rows(product, self.node("Mul", [peak, rows.factor]) if rows.factor else peak)

    def _product_in_blocks(self, value: str, name: str, weight: NDArray[np.float32]) -> str:
        num_out, num_in = weight.shape
        levels, scales = quantize_blocks(weight)
        return self.node(
            "MatMulNBits",
            [value, self.constant(name, levels), self.constant(f"{name}.scale", scales)],
            domain=MICROSOFT,
            K=num_in,
            N=num_out,
            bits=NUM_BITS,
            block_size=BLOCK_SIZE,
            accuracy_level=QUANTIZE_ACTIVATIONS,
        )

    def multiplied(self, rows: Rows) -> str:
        """Rows with nothing left to multiply."""
        return self.node("Mul", rows) if rows.factor else rows.value

    def save(self, path: Path) -> None:
        """Write the graph to `path` and its weights to `path` + ".data"."""
        from onnx import TensorProto, helper, numpy_helper

        data_path = path.with_name(f"{path.name}.data")
        initializers = []
        with data_path.open("wb") as file:
            for name, array in self._weights.items():
                if array.nbytes <= MAX_INLINE_BYTES:
                    initializers.append(numpy_helper.from_array(array, name))
                    continue
                file.write(bytes(-file.tell() % ALIGNMENT))
                tensor = TensorProto(
                    name=name,
                    data_type=helper.np_dtype_to_tensor_dtype(array.dtype),
                    dims=array.shape,
                    data_location=TensorProto.EXTERNAL,
                )
                place = ("location", data_path.name), ("offset", file.tell())
                for key, value in (*place, ("length", array.nbytes)):
                    tensor.external_data.add(key=key, value=str(value))
                initializers.append(tensor)
                file.write(array.data)
        graph = helper.make_graph(self._nodes, path.stem, self._inputs, self._outputs, initializers)
        model = helper.make_model(
            graph,
            ir_version=9,
            # 20 is the first version with Gelu.
            opset_imports=[helper.make_opsetid("", 20), helper.make_opsetid(MICROSOFT, 1)],
        )
        path.write_bytes(model.SerializeToString())


class Int8(NamedTuple):
    """How a processor computes int8.

    Attributes:
        max_level: the largest level of quantised weights whose products it adds without overflow.
        has_fast_blocks: few rows are faster in blocks.
    """

    max_level: int
    has_fast_blocks: bool


def int8_here() -> Int8:
    """`choose_int8` of this machine."""
    return choose_int8(platform.machine(), processor_features())


def processor_features(root: Path = Path("/")) -> frozenset[str]:
    """What decides how products are computed, by Linux's names; empty elsewhere.

    The maker of an x86 processor, and what the processor can compute with vectors.
    """
    try:
        text = (root / "proc/cpuinfo").read_text(encoding="utf-8", errors="replace")
    except OSError:
        return frozenset()
    fields: dict[str, str] = {}
    for line in text.splitlines():
        name, _, value = line.partition(":")
        fields.setdefault(name.strip(), value)  # that of the first core
    # "flags" of x86, "Features" of ARM
    flags = (fields.get("flags") or fields.get("Features", "")).split()
    vectors = (flag for flag in flags if flag.startswith(VECTOR_FLAGS))
    return frozenset([*fields.get("vendor_id", "").split(), *vectors])


def choose_int8(machine: str, features: AbstractSet[str]) -> Int8:
    """How int8 is computed on a processor; docs/adr/0028 and 0029 have the measurements.

    ONNX Runtime documents the overflow: "Quantize ONNX models", on U8S8 and AVX2. `machine` is as
    `platform.machine` says, `features` as `processor_features`.
    """
    is_x86 = machine.lower() in ("x86_64", "amd64", "i686", "x86")
    has_dot_products = not is_x86 or bool(DOT_PRODUCT_FLAGS & features)
    return Int8(
        MAX_LEVEL if has_dot_products else MAX_LEVEL_WITHOUT_DOT_PRODUCTS,
        is_x86 and {AMD, AVX512_FLAG} <= features,
    )


def quantize_channels(
    weight: NDArray[np.float32], max_level: int = MAX_LEVEL
) -> tuple[NDArray[np.int8], NDArray[np.float32]]:
    """Round each row of a weight (num_out, num_in) to 8 bits, symmetric around 0.

    Returns:
        Levels (num_out, num_in) in [-max_level, max_level] and scales (num_out,); levels times
        scale is near the weight.
    """
    peaks = np.abs(weight).max(axis=1, keepdims=True)
    scales = np.where(peaks > 0, peaks / max_level, 1).astype(np.float32)
    return np.rint(weight / scales).astype(np.int8), scales[:, 0]


def quantize_blocks(
    weight: NDArray[np.float32],
) -> tuple[NDArray[np.uint8], NDArray[np.float32]]:
    """Round each block of each row of a weight (num_out, num_in) to 8 bits, as MatMulNBits has it.

    Returns:
        Levels (num_out, blocks, BLOCK_SIZE) around ZERO_POINT, which also fills the last block, and
        scales (num_out * blocks,).
    """
    num_out, num_in = weight.shape
    blocks = np.pad(weight, ((0, 0), (0, -num_in % BLOCK_SIZE))).reshape(num_out, -1, BLOCK_SIZE)
    levels, scales = quantize_channels(blocks.reshape(-1, BLOCK_SIZE))
    return (levels.astype(np.int16) + ZERO_POINT).astype(np.uint8).reshape(blocks.shape), scales


def _value_info(name: str, dtype: type[np.generic], shape: Sequence[int | str]) -> Any:
    from onnx import helper

    kind = helper.np_dtype_to_tensor_dtype(np.dtype(dtype))
    return helper.make_tensor_value_info(name, kind, shape)
