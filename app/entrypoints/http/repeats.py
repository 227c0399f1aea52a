"""Requests that repeat earlier ones: entity tags, idempotency keys, and what the cache did.

An answer 304 to a POST goes beyond RFC 9110, which speaks of GET: the sender has said that it has
those bytes.
"""

import re
from collections.abc import Callable
from typing import Any, Final

import msgspec
from litestar import Request
from litestar.response.base import ASGIResponse

from app.domain.audio import AudioEncoding, choose_sample_rate
from app.domain.catalog import Catalog
from app.domain.errors import InvalidIdempotencyKeyError, InvalidRequestError
from app.domain.repeats import MAX_IDEMPOTENCY_KEY_CHARS, derive_seed, entity_tag, is_repeatable
from app.domain.services.idempotency import IdempotencyKeys
from app.domain.speech import CacheStatus, Delivery, SpeechOptions, SpeechReport, SpeechRequest
from app.domain.text.front_end import ReadingOptions
from app.entrypoints.http.schemas import CreateSpeech
from app.ports.speech_cache import SpeechCache

CACHE_STATUS: Final = {
    CacheStatus.HIT: "soprano; hit",
    CacheStatus.PARTIAL: "soprano; fwd=partial; stored",
    CacheStatus.MISS: "soprano; fwd=miss; stored",
    CacheStatus.BYPASS: "soprano; fwd=bypass",
}
"""The header `Cache-Status` (RFC 9211); `partial` is one whose other sentences are made anew."""

_TAG: Final = re.compile(r'(?:W/)?("[^"]*")')
"""In `If-None-Match`; the comparison is the weak one (RFC 9110, section 13.1.2)."""


class Repeat(msgspec.Struct, frozen=True, kw_only=True):
    """A request, and how it stands to earlier ones.

    Attributes:
        request: to be spoken; with a seed, if it had none and its key gives one.
        form: see `entity_tag`.
        key: its idempotency key.
        is_unchanged: the client has the answer.
    """

    request: SpeechRequest
    form: str
    key: str | None
    is_unchanged: bool


class Repeats:
    """Recognizes requests.

    Args:
        catalog: resolves names.
        cache: tells what speaks; None gives no entity tags.
        reading: tells how a request is read.
        keys: remembers idempotency keys.
        default_temperature: of the model, where a request chooses none.
    """

    def __init__(
        self,
        catalog: Catalog,
        cache: SpeechCache | None,
        reading: Callable[[SpeechOptions], ReadingOptions],
        keys: IdempotencyKeys,
        default_temperature: float,
    ) -> None:
        self._catalog = catalog
        self._cache = cache
        self._reading = reading
        self._keys = keys
        self._default_temperature = default_temperature

    def recognize(
        self, request: Request[Any, Any, Any], data: CreateSpeech, owner: str | None = None
    ) -> Repeat:
        """What is to be spoken, unless the client has it.

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
        form = _form(data)
        known = _TAG.findall(", ".join(request.headers.getall("if-none-match", [])))
        is_unchanged = bool(known) and self._tag(speech, form) in known
        return Repeat(request=speech, form=form, key=key, is_unchanged=is_unchanged)

    def headers(self, repeat: Repeat, report: SpeechReport) -> dict[str, str]:
        """Of the answer that is being spoken."""
        status = CACHE_STATUS[report.cache or CacheStatus.BYPASS]
        return {"cache-status": status, **self._validators(repeat)}

    def not_modified(self, repeat: Repeat) -> ASGIResponse:
        """The answer to a client that has it."""
        return ASGIResponse(status_code=304, headers=self._validators(repeat))

    def _validators(self, repeat: Repeat) -> dict[str, str]:
        tag = self._tag(repeat.request, repeat.form)
        headers = {"etag": tag, "idempotency-key": repeat.key}
        return {name: value for name, value in headers.items() if value is not None}

    def _with_seed(self, speech: SpeechRequest, key: str, owner: str | None) -> SpeechRequest:
        if self._is_repeatable(speech):
            return speech
        sampling = msgspec.structs.replace(speech.sampling, seed=derive_seed(key, owner))
        return msgspec.structs.replace(speech, sampling=sampling)

    def _is_repeatable(self, speech: SpeechRequest) -> bool:
        return is_repeatable(self._catalog.info, speech.sampling, self._default_temperature)

    def _tag(self, speech: SpeechRequest, form: str) -> str | None:
        """The entity tag; None if it cannot be told or the request cannot be answered."""
        if self._cache is None or not self._cache.fingerprint or not self._is_repeatable(speech):
            return None
        try:
            self._catalog.check_model(speech.model)
            voice = self._catalog.find_voice(speech.voice)
        except InvalidRequestError:
            return None
        model_rate = self._catalog.info.sample_rate
        rate = choose_sample_rate(speech.format, speech.sample_rate, model_rate)
        return entity_tag(
            self._cache.fingerprint,
            speech.text,
            self._reading(speech),
            Delivery(voice, speech.speed, speech.sampling),
            AudioEncoding(speech.format, rate),
            form,
        )


def _idempotency_key(request: Request[Any, Any, Any]) -> str | None:
    keys: list[str] = request.headers.getall("idempotency-key", [])
    if len(keys) > 1:
        raise InvalidIdempotencyKeyError(MAX_IDEMPOTENCY_KEY_CHARS)
    return keys[0] if keys else None


def _form(data: CreateSpeech) -> str:
    """Of the answer, as far as it changes its bytes."""
    if data.stream_format == "sse":
        return f"sse {'captions' if data.captions else 'audio'}"
    return "streamed" if data.is_streamed else "whole"
