from pathlib import Path

import numpy as np
import onnx
import pytest

from app.adapters.speech.onnx_session import open_session
from app.adapters.speech.soprano.onnx.graph import (
    BLOCK_SIZE,
    GraphBuilder,
    Precision,
    Rows,
    choose_int8,
    processor_features,
    quantize_blocks,
    quantize_channels,
)


def test_levels_times_scale_are_within_half_a_level() -> None:
    weight = np.random.default_rng(0).standard_normal((7, 33)).astype(np.float32)
    levels, scales = quantize_channels(weight)
    assert np.abs(levels).max() == 127
    assert (np.abs(levels * scales[:, None] - weight) <= scales[:, None] * 0.501).all()


def test_a_channel_of_zeros_stays_zero() -> None:
    levels, scales = quantize_channels(np.zeros((2, 5), np.float32))
    assert not levels.any()
    assert np.isfinite(scales).all()


def test_blocks_times_scale_are_within_half_a_level_and_the_last_is_filled_with_zeros() -> None:
    weight = np.random.default_rng(1).standard_normal((3, BLOCK_SIZE + 44)).astype(np.float32)
    weight[:, BLOCK_SIZE:] *= 100  # so that a scale of the whole row would be far off
    levels, scales = quantize_blocks(weight)
    assert levels.shape == (3, 2, BLOCK_SIZE)
    values = (levels.astype(np.int16) - 128) * scales.reshape(3, 2, 1)
    padded = np.pad(weight, ((0, 0), (0, BLOCK_SIZE - 44))).reshape(levels.shape)
    assert (np.abs(values - padded) <= scales.reshape(3, 2, 1) * 0.501).all()
    assert not values[:, 1, 44:].any()


@pytest.mark.parametrize(
    ("machine", "features", "int8"),
    [
        ("x86_64", "AuthenticAMD avx2 avx512_vnni", (127, True)),
        ("x86_64", "AuthenticAMD avx2 avx512_vnni avx_vnni", (127, True)),
        ("x86_64", "AuthenticAMD avx2", (63, False)),
        ("x86_64", "GenuineIntel avx2 avx512_vnni avx_vnni", (127, False)),
        ("x86_64", "GenuineIntel avx2 avx512_vnni amx_int8", (127, False)),
        ("AMD64", "avx2 avx_vnni", (127, False)),
        ("x86_64", "fpu sse avx2 avx512f", (63, False)),
        ("AMD64", "", (63, False)),
        ("aarch64", "", (127, False)),
        ("arm64", "avx512_vnni", (127, False)),
    ],
)
def test_weights_have_seven_bits_where_products_of_eight_would_overflow_and_blocks_where_fast(
    machine: str, features: str, int8: tuple[int, bool]
) -> None:
    assert choose_int8(machine, set(features.split())) == int8


@pytest.mark.parametrize(
    ("cpuinfo", "features"),
    [
        (
            (
                "processor : 0\nvendor_id : AuthenticAMD\nflags : fpu avx2 avx512_vnni\n"
                "vmx flags : vnmi\n\nprocessor : 1\nvendor_id : other\nflags : avx\n"
            ),
            {"AuthenticAMD", "avx2", "avx512_vnni"},
        ),
        ("Processor : ARMv7\n\nFeatures : fp asimd sve\n", {"asimd", "sve"}),
        ("", set()),
        (None, set()),
    ],
)
def test_what_a_processor_can_compute_is_read_from_linux(
    cpuinfo: str | None, features: set[str], tmp_path: Path
) -> None:
    if cpuinfo is not None:
        (tmp_path / "proc").mkdir()
        (tmp_path / "proc" / "cpuinfo").write_text(cpuinfo)
    assert processor_features(tmp_path) == features


@pytest.fixture(scope="module")
def int8_layer(tmp_path_factory: pytest.TempPathFactory) -> object:
    rng = np.random.default_rng(3)
    builder = GraphBuilder("int8")
    x = builder.input("x", np.float32, ["rows", 64])
    weight = rng.standard_normal((48, 64)).astype(np.float32)
    builder.output(builder.linear(x, "layer", weight), "y", np.float32, ["rows", 48])
    path = tmp_path_factory.mktemp("graph") / "layer.onnx"
    builder.save(path)
    return open_session(path, 1), weight


def test_a_row_is_quantized_by_itself(int8_layer: tuple[object, np.ndarray]) -> None:
    """A neighbour whose values are thousand times larger changes not one bit."""
    session, weight = int8_layer
    rows = np.random.default_rng(4).standard_normal((16, 64)).astype(np.float32)
    loud = rows.copy()
    loud[1:] *= 1_000
    alone = session.run(None, {"x": rows[:1]})[0]  # type: ignore[attr-defined]
    beside_loud = session.run(None, {"x": loud})[0][:1]  # type: ignore[attr-defined]
    assert np.array_equal(alone, beside_loud)
    exact = rows[:1] @ weight.T
    assert np.abs(alone - exact).max() < 0.03 * np.abs(exact).max()


def test_a_row_of_zeros_gives_zeros(int8_layer: tuple[object, np.ndarray]) -> None:
    session, _ = int8_layer
    result = session.run(None, {"x": np.zeros((2, 64), np.float32)})[0]  # type: ignore[attr-defined]
    assert not result.any()


@pytest.mark.parametrize(
    ("precision", "in_blocks"), [("fp32", False), ("int8", False), ("int8", True)]
)
def test_a_factor_of_rows_can_be_left_until_after_the_next_product(
    tmp_path: Path, *, precision: Precision, in_blocks: bool
) -> None:
    """Rows of very different size, so that a factor lost or taken twice shows."""
    rng = np.random.default_rng(5)
    up, down = (rng.standard_normal((48, 48)).astype(np.float32) for _ in range(2))
    builder = GraphBuilder(precision, in_blocks=in_blocks)
    x = builder.input("x", np.float32, ["rows", 48])
    product = builder.product(builder.product(Rows(x), "up", up), "down", down)
    builder.output(builder.multiplied(product), "y", np.float32, ["rows", 48])
    builder.save(tmp_path / "layers.onnx")
    sizes = np.array([[0.01], [1], [100]], np.float32)
    rows = rng.standard_normal((3, 48)).astype(np.float32) * sizes
    result = open_session(tmp_path / "layers.onnx", 1).run(None, {"x": rows})[0]
    exact = rows @ up.T @ down.T
    assert (np.abs(result - exact) < 0.05 * np.abs(exact).max(axis=1, keepdims=True)).all()


def test_products_of_one_value_quantize_it_once(tmp_path: Path) -> None:
    builder = GraphBuilder("int8")
    x = builder.input("x", np.float32, ["rows", 8])
    for name in ("gate", "up"):
        weight = np.eye(8, dtype=np.float32)
        builder.output(builder.linear(x, name, weight), f"{name}_y", np.float32, ["rows", 8])
    builder.save(tmp_path / "layers.onnx")
    kinds = [node.op_type for node in onnx.load(tmp_path / "layers.onnx").graph.node]
    assert (kinds.count("QuantizeLinear"), kinds.count("MatMulIntegerToFloat")) == (1, 2)


def test_values_that_are_known_to_have_a_floor_are_quantized_as_well(tmp_path: Path) -> None:
    rng = np.random.default_rng(6)
    weight = rng.standard_normal((48, 64)).astype(np.float32)
    builder = GraphBuilder("int8")
    x = builder.input("x", np.float32, ["rows", 64])
    builder.output(builder.linear(x, "layer", weight, floor=-0.2), "y", np.float32, ["rows", 48])
    builder.save(tmp_path / "layer.onnx")
    session = open_session(tmp_path / "layer.onnx", 1)
    rows = rng.uniform(-0.2, [[0.0], [0.1], [30.0]], (3, 64)).astype(np.float32)
    exact = rows @ weight.T
    result = session.run(None, {"x": rows})[0]
    assert (np.abs(result - exact) < 0.03 * np.abs(exact).max(axis=1, keepdims=True)).all()
