"""What makes two requests the same, and whether the same sound may be given for both. Pure.

Every key is a hash over all that decides the samples it stands for.
"""

import hashlib
import re
from typing import Any, Final

import msgspec

from app.domain.errors import InvalidIdempotencyKeyError
from app.domain.segment import TextSegment
from app.domain.speech import ModelInfo, SamplingParams, SynthesisParams

KEY_VERSION: Final = 2
"""To be raised when the same key would stand for other samples or bytes than before."""

MAX_IDEMPOTENCY_KEY_CHARS: Final = 255

_IDEMPOTENCY_KEY: Final = re.compile(rf"[ -~]{{1,{MAX_IDEMPOTENCY_KEY_CHARS}}}")


def is_repeatable(info: ModelInfo, sampling: SamplingParams, default_temperature: float) -> bool:
    """Whether the same request gives the same sound by right: nothing is drawn, or by a seed.

    Args:
        info: of the model.
        sampling: what the request chooses.
        default_temperature: of the model where the request chooses none.
    """
    if not info.has_sampling or sampling.seed is not None:
        return True
    chosen = sampling.temperature
    return (default_temperature if chosen is None else chosen) == 0


def segment_key(fingerprint: str, segment: TextSegment, params: SynthesisParams) -> str:
    """Names the samples of a segment, in 64 hexadecimal digits; its place in a text is no matter.

    Args:
        fingerprint: of what speaks.
        segment: spoken.
        params: how.
    """
    how = {"voice": params.voice.id, "speed": params.speed, "sampling": params.sampling}
    return _digest("segment", fingerprint, segment.text, how).hex()


def check_idempotency_key(key: str) -> None:
    """Raise InvalidIdempotencyKeyError unless `key` is 1 to 255 printable ASCII characters."""
    if not _IDEMPOTENCY_KEY.fullmatch(key):
        raise InvalidIdempotencyKeyError(MAX_IDEMPOTENCY_KEY_CHARS)


def claim_name(key: str, owner: str | None) -> bytes:
    """An idempotency key of one owner, in 32 bytes; other owners' keys are other keys."""
    return _digest("claim", owner, key)


def fingerprint_of(body: bytes) -> bytes:
    """A body, in 32 bytes."""
    return hashlib.sha256(body).digest()


def derive_seed(key: str, owner: str | None) -> int:
    """The seed in [0, 2**31) of a request that names an idempotency key and no seed."""
    return int.from_bytes(_digest("seed", owner, key)[:4]) >> 1


def _digest(purpose: str, *parts: Any) -> bytes:
    return hashlib.sha256(msgspec.json.encode((KEY_VERSION, purpose, *parts))).digest()
