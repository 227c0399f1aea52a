"""POST /v1/audio/speech."""

from contextlib import aclosing
from typing import Any, Final

from litestar import Controller, Request, post
from litestar.di import NamedDependency
from litestar.params import JSONBody
from litestar.response.base import ASGIResponse

from app.domain.services.speech import SpeechService, SpeechStream
from app.domain.speech import SpeechReport
from app.entrypoints.http import events
from app.entrypoints.http.audio_response import StreamResponse
from app.entrypoints.http.body import SpeechBody
from app.entrypoints.http.disconnect import until_disconnect
from app.entrypoints.http.events import EventWriter
from app.entrypoints.http.openapi import SPEECH_ERRORS, SpeechOperation
from app.entrypoints.http.repeats import Repeats
from app.entrypoints.http.schemas import CONTENT_TYPES, CreateSpeech

WARNING_CODE: Final = 299
"""Miscellaneous persistent warning (RFC 7234, section 5.5.7)."""

EVENT_HEADERS: Final = {"cache-control": "no-cache", "x-accel-buffering": "no"}
"""Ask proxies to pass each event on when it comes."""


class SpeechController(Controller):
    """Text in, audio out."""

    path = "/v1/audio"
    tags = ("Speech",)

    @post(
        "/speech",
        operation_id="createSpeech",
        operation_class=SpeechOperation,
        summary="Speak a text",
        status_code=200,
        responses=SPEECH_ERRORS,
        dto=SpeechBody,
        return_dto=None,
    )
    async def create_speech(
        self,
        request: Request[Any, Any, Any],
        data: JSONBody[CreateSpeech],
        speech: NamedDependency[SpeechService],
        event_writer: NamedDependency[EventWriter],
        repeats: NamedDependency[Repeats],
    ) -> ASGIResponse:
        """Answers with the audio as it is made, whole if `stream` is false, or as events."""
        repeat = repeats.recognize(request, data)
        if repeat.is_unchanged:
            return repeats.not_modified(repeat)
        stream = await until_disconnect(request.receive, speech.start(repeat.request))
        headers = _headers(stream, speech, data.warnings(speech.catalog))
        headers.update(repeats.headers(repeat, stream.report))
        media_type = CONTENT_TYPES[stream.encoding.format]
        if data.stream_format == "sse":
            body = event_writer.write(stream, has_captions=bool(data.captions))
            return StreamResponse(
                stream, body, headers | EVENT_HEADERS, events.CONTENT_TYPE, events.error_event
            )
        if data.stream is not False:
            return StreamResponse(stream, aiter(stream), headers, media_type)
        async with aclosing(stream):
            whole = await until_disconnect(request.receive, stream.collect())
        headers["server-timing"] = describe_timing(stream.report)
        return ASGIResponse(body=whole, headers=headers, media_type=media_type)


def _headers(stream: SpeechStream, speech: SpeechService, warnings: list[str]) -> dict[str, str]:
    headers = {
        "server-timing": describe_timing(stream.report),
        "x-sample-rate": str(stream.encoding.sample_rate),
        "x-speech-backend": speech.catalog.info.backend,
        "x-speech-voice": stream.delivery.voice.id,
    }
    if warnings:
        headers["warning"] = ", ".join(f'{WARNING_CODE} - "{text}"' for text in warnings)
    return headers


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
