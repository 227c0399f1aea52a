"""Builds ONNX graphs node by node, and writes them with their weights in a file beside.

`int8` quantises each row of the activations by itself: a row is divided by its largest magnitude,
rounded to 8 bits with a constant scale, multiplied with 8-bit weights (one scale per output
channel) and scaled back. One scale for the whole batch, as ONNX Runtime's dynamic quantisation
takes it, would make the sound of a sentence depend on which others share its step.
"""

import platform
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final, Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray

Precision = Literal["fp32", "int8"]

MAX_LEVEL: Final = 127  # of a quantized number; symmetric, so that -128 is never used

# Of weights where the processor adds two products in 16 bits, which must not overflow:
# 2 * 255 * 63 < 2**15.
MAX_LEVEL_WITHOUT_DOT_PRODUCTS: Final = 63

# Of x86 processors that add products of 8 bits in 32 bits, by Linux's names.
DOT_PRODUCT_FLAGS: Final = frozenset({"avx512_vnni", "avx_vnni", "amx_int8"})

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

    `precision` is that of all linear layers.
    """

    def __init__(self, precision: Precision) -> None:
        self._precision = precision
        self._max_level = weight_level_here()
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


def weight_level_here() -> int:
    """`max_weight_level` of this machine."""
    try:
        cpu_info = Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace")
    except OSError:  # not Linux
        cpu_info = ""
    return max_weight_level(platform.machine(), cpu_info)


def max_weight_level(machine: str, cpu_info: str) -> int:
    """The largest level of quantised weights whose products this processor adds without overflow.

    ONNX Runtime documents the overflow: "Quantize ONNX models", on U8S8 and AVX2. `machine` is as
    `platform.machine` says, `cpu_info` the content of /proc/cpuinfo.
    """
    is_x86 = machine.lower() in ("x86_64", "amd64", "i686", "x86")
    if not is_x86 or DOT_PRODUCT_FLAGS & set(cpu_info.split()):
        return MAX_LEVEL
    return MAX_LEVEL_WITHOUT_DOT_PRODUCTS


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


def _value_info(name: str, dtype: type[np.generic], shape: Sequence[int | str]) -> Any:
    from onnx import helper

    kind = helper.np_dtype_to_tensor_dtype(np.dtype(dtype))
    return helper.make_tensor_value_info(name, kind, shape)
