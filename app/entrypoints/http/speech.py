"""POST /v1/audio/speech: from a request to its answer, streamed, whole, or as events.

And POST /v1/audio/speech/normalize: the text of such a request as it would be spoken.
"""

import codecs
import math
import re
from typing import Any, Final

import msgspec
from litestar import Controller, Request, post
from litestar.di import NamedDependency
from litestar.dto import MsgspecDTO
from litestar.openapi.spec import OpenAPIType, Reference, Schema
from litestar.params import JSONBody
from litestar.response.base import ASGIResponse
from litestar.typing import FieldDefinition

from app.domain.admission import Caller
from app.domain.audio import choose_stem
from app.domain.errors import StoreError
from app.domain.services.speech_stream import SpeechStream
from app.domain.speech import CacheStatus, Catalog, SpeechReport
from app.entrypoints.http import openapi, responses, schemas
from app.entrypoints.http.access import LIMITED, key_name
from app.entrypoints.http.errors import NOT_JSON, HttpError, describe_decode_error
from app.entrypoints.http.sse import EVENT_STREAM, error_event, write_events
from app.entrypoints.services import Services
from app.ports.audio_store import StoredAudio

# Ask proxies to pass each event on when it comes.
STREAM_HEADERS: Final = {"x-accel-buffering": "no"}  # to nginx: pass on what comes as it comes
EVENT_HEADERS: Final = {
    "content-type": EVENT_STREAM,
    "cache-control": "no-cache",
    **STREAM_HEADERS,
}

# The header `Cache-Status` (RFC 9211); of a partial hit the other sentences are synthesized.
CACHE_STATUS: Final = {
    CacheStatus.HIT: "soprano; hit",
    CacheStatus.PARTIAL: "soprano; fwd=partial; stored",
    CacheStatus.MISS: "soprano; fwd=miss; stored",
    CacheStatus.BYPASS: "soprano; fwd=bypass",
}

_DECIMAL: Final = re.compile(r"[0-9]+(?:\.[0-9]+)?")
_decoder: Final = msgspec.json.Decoder(schemas.CreateSpeech, strict=False)


class SpeechBody(MsgspecDTO[schemas.CreateSpeech]):
    """Decoding of the body in which any bytes end in a clear 400.

    The framework's own decoding answers 500 to text that is not UTF-8 or is nested too deeply.
    """

    def decode_bytes(self, value: bytes) -> schemas.CreateSpeech:
        """The message in `value`; raises InvalidRequestError, or HttpError for its type."""
        headers = self.asgi_connection.headers
        # Any web page may have a browser send a body of no type; other programs may too.
        assumed = "" if "origin" in headers else "application/json"
        content_type = headers.get("content-type", assumed).partition(";")[0].strip().lower()
        if content_type != "application/json" and not content_type.endswith("+json"):
            raise HttpError("unsupported_media_type", problem=NOT_JSON)
        if headers.get("content-encoding", "identity").lower() != "identity":
            problem = "The body must not be compressed."
            raise HttpError("unsupported_media_type", problem=problem)
        try:
            value.decode()  # msgspec does not look at the encoding of fields that it skips
            return _decoder.decode(value.removeprefix(codecs.BOM_UTF8))
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
            raise describe_decode_error(error) from error

    @classmethod
    def create_for_field_definition(
        cls, field_definition: FieldDefinition, handler_id: str, backend_cls: Any = None
    ) -> None:
        """Builds no decoder of the framework; it takes a fifth of the time to make the app."""

    @classmethod
    def create_openapi_schema(
        cls, field_definition: FieldDefinition, handler_id: str, schema_creator: Any
    ) -> Reference | Schema:
        """The schema of the message itself; its numbers and booleans may also be strings."""
        schema: Reference = schema_creator.for_field_definition(
            FieldDefinition.from_annotation(schemas.CreateSpeech)
        )
        message = schema_creator.schema_registry.from_reference(schema).schema
        for field in message.properties.values():
            kinds = {kind.type for kind in field.one_of or () if isinstance(kind, Schema)}
            if OpenAPIType.STRING in kinds:
                continue  # another operation with this message was described before
            if OpenAPIType.BOOLEAN in kinds:
                field.one_of = [*field.one_of, Schema(enum=[0, 1]), Schema(type=OpenAPIType.STRING)]
            elif kinds & {OpenAPIType.INTEGER, OpenAPIType.NUMBER}:
                field.one_of = [*field.one_of, Schema(type=OpenAPIType.STRING)]
        return schema


async def answer_speech(
    request: Request[Any, Any, Any], data: schemas.CreateSpeech, services: Services
) -> ASGIResponse:
    """The answer, when its first bytes are there; raises SpeechError."""
    clock = services.ports.clock
    timeout_s = min(services.settings.admission.request_timeout_s, _timeout_s(request))
    caller = Caller(key_name(request.scope), clock.monotonic() + timeout_s)
    speech = data.to_request()
    # A file name that is not one is rejected before anything is synthesized.
    stem = choose_stem(data.file_name, speech.format) if data.store else None
    starting = services.speech.start(speech, caller, is_whole=not data.is_streamed)
    stream = await responses.until_disconnect(request.receive, starting)
    if stem is not None:
        stream.recording = services.library.record(caller.name, stem, stream.encoding.format)
    headers = _headers(stream, data, services.speech.catalog)
    if data.stream_format == "sse":
        body = write_events(stream, clock, has_captions=bool(data.captions))
        headers |= EVENT_HEADERS
        return responses.StreamResponse(stream, body, clock, headers, error_event)
    if data.is_streamed:
        headers |= STREAM_HEADERS
        return responses.StreamResponse(stream, stream, clock, headers)

    def whole_headers() -> dict[str, str]:
        timing = {"server-timing": describe_timing(stream.report)}
        match stream.stored:
            case StoredAudio(name=name):
                # Relative to the request (RFC 9110, section 8.7): a proxy may add a prefix.
                stored = {"x-stored-file": name, "content-location": f"files/{name}"}
            case StoreError(code=code):
                stored = {"x-store-error": code}
            case _:
                stored = {}
        return headers | timing | stored

    return responses.WholeResponse(stream, request.app.state.held, clock, whole_headers)


def _headers(stream: SpeechStream, data: schemas.CreateSpeech, catalog: Catalog) -> dict[str, str]:
    headers = {
        "content-type": schemas.CONTENT_TYPES[stream.encoding.format],
        "server-timing": describe_timing(stream.report),
        "x-sample-rate": str(stream.encoding.sample_rate),
        "x-speech-backend": catalog.info.backend,
        "x-speech-voice": stream.params.voice.id,
        "cache-status": CACHE_STATUS[stream.report.cache or CacheStatus.BYPASS],
    }
    # Miscellaneous persistent warnings (RFC 7234, section 5.5.7).
    if warnings := data.warnings(catalog):
        headers["warning"] = ", ".join(f'299 - "{text}"' for text in warnings)
    return headers


def _timeout_s(request: Request[Any, Any, Any]) -> float:
    values = request.headers.getall(schemas.TIMEOUT_HEADER, [])
    times_s = [float(value) if _DECIMAL.fullmatch(value) else 0.0 for value in values]
    if min(times_s, default=math.inf) < schemas.MIN_TIMEOUT_S:
        raise HttpError("invalid_request_timeout")
    return min(times_s, default=math.inf)


def describe_timing(report: SpeechReport) -> str:
    """The times known so far, in milliseconds (W3C Server Timing): `queue;dur=0.4, ...`."""
    times_s = {
        "queue": report.queue_s,
        "first_audio": report.first_audio_s,
        "total": report.total_s or None,
    }
    return ", ".join(
        f"{name};dur={time_s * 1000:.1f}" for name, time_s in times_s.items() if time_s is not None
    )


class SpeechController(Controller):
    """Text in, audio out."""

    path = "/v1/audio"
    tags = ("Speech",)

    @post(
        "/speech",
        operation_id="createSpeech",
        operation_class=openapi.CREATE_SPEECH,
        summary="Speak a text",
        status_code=200,
        responses=openapi.SPEECH_ERRORS,
        dto=SpeechBody,
        return_dto=None,
        opt=LIMITED,
    )
    async def create_speech(
        self,
        request: Request[Any, Any, Any],
        data: JSONBody[schemas.CreateSpeech],
        services: NamedDependency[Services],  # Litestar resolves several in a task each
    ) -> ASGIResponse:
        """Answers with the audio as it is made, whole if `stream` is false, or as events."""
        return await answer_speech(request, data, services)

    @post(
        "/speech/normalize",
        operation_id="normalizeSpeech",
        operation_class=openapi.NORMALIZE_SPEECH,
        summary="Normalize a text",
        status_code=200,
        responses=openapi.NORMALIZE_RESPONSES,
        dto=SpeechBody,
        return_dto=None,
        opt=LIMITED,  # it takes as much work as a request for speech that is rejected later
    )
    async def normalize_speech(
        self, data: JSONBody[schemas.CreateSpeech], services: NamedDependency[Services]
    ) -> schemas.NormalizedText:
        """Answers with the segments of a speech request, as written and as spoken; no audio."""
        return schemas.NormalizedText.of(await services.speech.normalize(data.to_request()))
