"""The chunks of a segment as the bytes of a file: a checksum, then MessagePack. Pure."""

import hashlib
from typing import Any, Final

import msgspec
import numpy as np

from app.adapters.decorators.kept_speech import Chunks
from app.domain.audio import AudioChunk
from app.domain.errors import InvalidAudioError

SAMPLES: Final = "samples"
SAMPLE_TYPE: Final = np.dtype("<f4")

_FIELDS: Final = {field.name: field.type for field in msgspec.structs.fields(AudioChunk)}
_NUM_CHECKSUM_BYTES: Final = hashlib.sha256().digest_size


def to_bytes(chunks: Chunks) -> bytes:
    """All fields of all chunks, by name; samples as little-endian float32."""
    body = msgspec.msgpack.encode([_to_fields(chunk) for chunk in chunks])
    return hashlib.sha256(body).digest() + body


def from_bytes(content: bytes) -> Chunks | None:
    """The same chunks, bit by bit; None if the content is damaged or of another version."""
    checksum, body = content[:_NUM_CHECKSUM_BYTES], content[_NUM_CHECKSUM_BYTES:]
    if hashlib.sha256(body).digest() != checksum:
        return None
    try:
        stored = msgspec.msgpack.decode(body, type=list[dict[str, Any]])
        return tuple(_from_fields(fields) for fields in stored)
    except (msgspec.MsgspecError, ValueError, TypeError, KeyError, InvalidAudioError):
        return None


def _to_fields(chunk: AudioChunk) -> dict[str, Any]:
    samples = chunk.samples.astype(SAMPLE_TYPE, copy=False).tobytes()
    return {**msgspec.structs.asdict(chunk), SAMPLES: samples}


def _from_fields(stored: dict[str, Any]) -> AudioChunk:
    if stored.keys() != _FIELDS.keys():
        raise ValueError(stored.keys())
    others = {
        name: msgspec.convert(value, _FIELDS[name])
        for name, value in stored.items()
        if name != SAMPLES
    }
    samples = np.frombuffer(stored[SAMPLES], SAMPLE_TYPE).astype(np.float32)
    return AudioChunk(samples=samples, **others)
