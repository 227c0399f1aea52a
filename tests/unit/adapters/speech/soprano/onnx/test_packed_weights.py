"""Graphs with packed weights compute the same, and need nothing of what they were made from."""

from pathlib import Path

import numpy as np
import pytest

from app.adapters.speech.onnx_session import open_session, save_packed
from app.adapters.speech.soprano.onnx.graph import GraphBuilder, Precision


def write_layer(path: Path, precision: Precision, *, in_blocks: bool) -> None:
    rng = np.random.default_rng(5)
    builder = GraphBuilder(precision, in_blocks=in_blocks)
    x = builder.input("x", np.float32, ["rows", 256])
    weight = rng.standard_normal((128, 256)).astype(np.float32)
    builder.output(builder.linear(x, "layer", weight), "y", np.float32, ["rows", 128])
    builder.save(path)


@pytest.mark.parametrize(
    ("precision", "in_blocks"), [("fp32", False), ("int8", False), ("int8", True)]
)
def test_a_packed_graph_computes_the_same_to_the_last_bit(
    tmp_path: Path, *, precision: Precision, in_blocks: bool
) -> None:
    unpacked, packed = tmp_path / "unpacked.onnx", tmp_path / "packed.onnx"
    write_layer(unpacked, precision, in_blocks=in_blocks)
    rows = np.random.default_rng(6).standard_normal((4, 256)).astype(np.float32)
    (expected,) = open_session(unpacked, 1).run(None, {"x": rows})
    save_packed(unpacked, packed)
    sizes = [path.with_name(f"{path.name}.data").stat().st_size for path in (unpacked, packed)]
    assert sizes[1] > 1.5 * sizes[0]  # the packed weights are beside the others
    for left in tmp_path.glob("unpacked*"):
        left.unlink()
    (found,) = open_session(packed, 2).run(None, {"x": rows})
    assert np.array_equal(expected, found)


def test_a_graph_that_cannot_be_written_is_an_os_error_that_says_what_is_free(
    tmp_path: Path,
) -> None:
    write_layer(tmp_path / "layer.onnx", "int8", in_blocks=False)
    message = r"packed\.onnx cannot be written \(\d+ MB are free\)"
    with pytest.raises(OSError, match=message):
        save_packed(tmp_path / "layer.onnx", tmp_path / "nowhere" / "packed.onnx")
