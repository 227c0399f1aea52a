import hashlib
from typing import Any

import msgspec
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from app.adapters.speech.cache_levels import checksum, from_bytes, to_bytes
from app.domain.audio import AudioChunk

FINITE = st.floats(allow_nan=False, allow_infinity=False, width=32)
KEY = "5e" * 32
FIELDS = AudioChunk.__struct_fields__
SAMPLES = arrays(np.float32, st.integers(1, 50), elements=FINITE)


@settings(deadline=None)
@given(st.lists(SAMPLES, max_size=4), st.integers(1, 48_000))
def test_what_comes_back_is_the_same_bit_by_bit(samples: list[Any], rate: int) -> None:
    chunks = tuple(AudioChunk(each, rate) for each in samples)
    back = from_bytes(KEY, to_bytes(KEY, chunks))
    assert back is not None
    assert [chunk.samples.tobytes() for chunk in back] == [each.tobytes() for each in samples]
    assert all(chunk.sample_rate == rate for chunk in back)
    assert all(chunk.samples.dtype == np.float32 for chunk in back)
    assert all(chunk.samples.flags.writeable for chunk in back)


CONTENT = to_bytes(KEY, (AudioChunk(np.linspace(-1, 1, 99, dtype=np.float32), 16_000),))


@settings(deadline=None)
@given(st.integers(0, len(CONTENT) - 1), st.integers(1, 255))
def test_a_byte_that_changed_is_noticed(position: int, change: int) -> None:
    content = bytearray(CONTENT)
    content[position] ^= change
    assert from_bytes(KEY, bytes(content)) is None


@settings(deadline=None)
@given(st.integers(0, len(CONTENT) - 1))
def test_a_file_that_was_cut_is_noticed(length: int) -> None:
    assert from_bytes(KEY, CONTENT[:length]) is None


def test_the_file_of_another_key_is_noticed() -> None:
    assert from_bytes(KEY, CONTENT) is not None
    assert from_bytes("5f" * 32, CONTENT) is None


@settings(deadline=None)
@given(st.binary(max_size=200))
def test_any_other_bytes_are_nothing(content: bytes) -> None:
    assert from_bytes(KEY, content) is None


@pytest.mark.parametrize(
    "body",
    [
        [{"samples": b"\0\0\0\0"}],
        [{"samples": b"\0\0\0", "sample_rate": 1}],
        [{"samples": b"\0\0\xc0\x7f", "sample_rate": 1}],
        [{"samples": b"\0\0\0\0", "sample_rate": 0}],
        [{"samples": "text", "sample_rate": 1}],
        [{"samples": b"\0\0\0\0", "sample_rate": "1"}],
        {"a": 1},
        5,
    ],
)
def test_whole_content_of_another_kind_is_nothing(body: Any) -> None:
    encoded = msgspec.msgpack.encode(body)
    assert from_bytes(KEY, checksum(KEY, encoded) + encoded) is None


@pytest.mark.parametrize("fields", [("samples", "sample_rate"), (*FIELDS, "num_tokens")])
def test_whole_content_of_another_version_is_nothing(fields: tuple[str, ...]) -> None:
    chunk = {"samples": b"\0\0\0\0", "sample_rate": 1} | dict.fromkeys(fields[2:], 3)
    encoded = msgspec.msgpack.encode([chunk])
    digest = hashlib.sha256(repr((KEY, fields)).encode() + encoded).digest()
    assert from_bytes(KEY, digest + encoded) is None
    assert from_bytes(KEY, checksum(KEY, encoded) + encoded) is not None
