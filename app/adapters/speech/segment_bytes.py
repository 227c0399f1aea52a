"""Audio of a segment as bytes, for the caches that outlive the process."""

import hashlib
from typing import Final

import msgspec
import numpy as np

from app.domain.audio import AudioChunk
from app.domain.errors import InvalidAudioError

SAMPLES: Final = "samples"
SAMPLE_TYPE: Final = np.dtype("<f4")

Chunks = tuple[AudioChunk, ...]  # all of one segment, in order

# An AudioChunk, the samples in bytes; no field may be missing.
_StoredChunk = msgspec.defstruct(
    "_StoredChunk",
    [
        (field.name, bytes if field.name == SAMPLES else field.type)
        for field in msgspec.structs.fields(AudioChunk)
    ],
    forbid_unknown_fields=True,
)
_NUM_CHECKSUM_BYTES: Final = hashlib.sha256().digest_size


def to_bytes(key: str, chunks: Chunks) -> bytes:
    """A SHA-256 with the key, then all fields of all chunks in MessagePack.

    Samples are little-endian float32.
    """
    stored = []
    for chunk in chunks:
        samples = chunk.samples.astype(SAMPLE_TYPE, copy=False).tobytes()
        stored.append({**msgspec.structs.asdict(chunk), SAMPLES: samples})
    body = msgspec.msgpack.encode(stored)
    return hashlib.sha256(key.encode() + body).digest() + body


def from_bytes(key: str, content: bytes) -> Chunks | None:
    """The same chunks, bit by bit; None if damaged, of another key or of another version."""
    checksum, body = content[:_NUM_CHECKSUM_BYTES], content[_NUM_CHECKSUM_BYTES:]
    if hashlib.sha256(key.encode() + body).digest() != checksum:
        return None
    chunks = []
    try:
        for stored in msgspec.msgpack.decode(body, type=list[_StoredChunk]):  # type: ignore[valid-type]
            fields = msgspec.structs.asdict(stored)
            samples = np.frombuffer(fields.pop(SAMPLES), SAMPLE_TYPE).astype(np.float32)
            chunks.append(AudioChunk(samples=samples, **fields))
    except (msgspec.MsgspecError, ValueError, InvalidAudioError):
        return None
    return tuple(chunks)
