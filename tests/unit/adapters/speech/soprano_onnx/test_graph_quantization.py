import numpy as np
import pytest

from app.adapters.speech.onnx_session import open_session
from app.adapters.speech.soprano_onnx.graph import (
    GraphBuilder,
    max_weight_level,
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


@pytest.mark.parametrize(
    ("machine", "flags", "level"),
    [
        ("x86_64", "fpu sse avx2 avx512_vnni", 127),
        ("AMD64", "avx2 avx_vnni", 127),
        ("x86_64", "fpu sse avx2 avx512f", 63),
        ("AMD64", "", 63),
        ("aarch64", "", 127),
        ("arm64", "", 127),
    ],
)
def test_weights_have_seven_bits_where_products_of_eight_would_overflow(
    machine: str, flags: str, level: int
) -> None:
    assert max_weight_level(machine, f"processor : 0\nflags : {flags}\n") == level


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
