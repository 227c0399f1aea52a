"""Requests that repeat earlier ones: idempotency keys, and what the cache did."""

from typing import Any, Final

import msgspec
from litestar import Request

from app.domain.catalog import Catalog
from app.domain.errors import InvalidIdempotencyKeyError
from app.domain.repeats import MAX_IDEMPOTENCY_KEY_CHARS, derive_seed, is_repeatable
from app.domain.services.idempotency import IdempotencyKeys
from app.domain.speech import CacheStatus, SpeechReport, SpeechRequest
from app.entrypoints.http.schemas import CreateSpeech

CACHE_STATUS: Final = {
    CacheStatus.HIT: "soprano; hit",
    CacheStatus.PARTIAL: "soprano; fwd=partial; stored",
    CacheStatus.MISS: "soprano; fwd=miss; stored",
    CacheStatus.BYPASS: "soprano; fwd=bypass",
}
"""The header `Cache-Status` (RFC 9211); `partial` is one whose other sentences are made anew."""


class Repeat(msgspec.Struct, frozen=True):
    """A request, and the key that names it.

    Attributes:
        request: to be spoken; with a seed, if it had none and its key gives one.
        key: its idempotency key.
    """

    request: SpeechRequest
    key: str | None

    def headers(self, report: SpeechReport) -> dict[str, str]:
        """Of the answer that is being spoken."""
        headers = {"cache-status": CACHE_STATUS[report.cache or CacheStatus.BYPASS]}
        return headers if self.key is None else headers | {"idempotency-key": self.key}


class Repeats:
    """Recognizes requests.

    Args:
        catalog: tells what the model can do.
        keys: remembers idempotency keys.
        default_temperature: of the model, where a request chooses none.
    """

    def __init__(self, catalog: Catalog, keys: IdempotencyKeys, default_temperature: float) -> None:
        self._catalog = catalog
        self._keys = keys
        self._default_temperature = default_temperature

    def recognize(
        self, request: Request[Any, Any, Any], data: CreateSpeech, owner: str | None = None
    ) -> Repeat:
        """What is to be spoken.

        Args:
            request: for its headers.
            data: its body.
            owner: name of the client; idempotency keys of others are other keys.

        Raises:
            InvalidIdempotencyKeyError: the key is empty, too long, not printable, or there twice.
            IdempotencyKeyReusedError: the key stands for another body.
            EmptyInputError, InvalidSpeedError: see SpeechRequest.
        """
        speech = data.to_request()
        key = _idempotency_key(request)
        if key is not None:
            self._keys.claim(key, msgspec.json.encode(data), owner)
            speech = self._with_seed(speech, key, owner)
        return Repeat(speech, key)

    def _with_seed(self, speech: SpeechRequest, key: str, owner: str | None) -> SpeechRequest:
        if is_repeatable(self._catalog.info, speech.sampling, self._default_temperature):
            return speech
        sampling = msgspec.structs.replace(speech.sampling, seed=derive_seed(key, owner))
        return msgspec.structs.replace(speech, sampling=sampling)


def _idempotency_key(request: Request[Any, Any, Any]) -> str | None:
    keys: list[str] = request.headers.getall("idempotency-key", [])
    if len(keys) > 1:
        raise InvalidIdempotencyKeyError(MAX_IDEMPOTENCY_KEY_CHARS)
    return keys[0] if keys else None
