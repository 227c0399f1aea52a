"""POST /v1/audio/speech."""

from contextlib import aclosing
from typing import Any, Final

from litestar import Controller, Request, post
from litestar.di import NamedDependency
from litestar.params import JSONBody
from litestar.response.base import ASGIResponse

from app.domain.services.speech import SpeechService, SpeechStream
from app.entrypoints.http.audio_response import AudioResponse
from app.entrypoints.http.authentication import LIMITED
from app.entrypoints.http.body import SpeechBody
from app.entrypoints.http.disconnect import until_disconnect
from app.entrypoints.http.openapi import SPEECH_ERRORS, SpeechOperation
from app.entrypoints.http.schemas import CONTENT_TYPES, CreateSpeech

WARNING_CODE: Final = 299
"""Miscellaneous persistent warning (RFC 7234, section 5.5.7)."""


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
        opt=LIMITED,
    )
    async def create_speech(
        self,
        request: Request[Any, Any, Any],
        data: JSONBody[CreateSpeech],
        speech: NamedDependency[SpeechService],
    ) -> ASGIResponse:
        """Answers with the audio: as it is made, or whole if `stream` is false."""
        stream = await until_disconnect(request.receive, speech.start(data.to_request()))
        headers = _headers(stream, speech, data.warnings(speech.catalog))
        media_type = CONTENT_TYPES[stream.encoding.format]
        if data.stream is not False:
            return AudioResponse(stream, headers, media_type)
        async with aclosing(stream):
            body = await until_disconnect(request.receive, stream.collect())
        return ASGIResponse(body=body, headers=headers, media_type=media_type)


def _headers(stream: SpeechStream, speech: SpeechService, warnings: list[str]) -> dict[str, str]:
    headers = {
        "x-sample-rate": str(stream.encoding.sample_rate),
        "x-speech-backend": speech.catalog.info.backend,
        "x-speech-voice": stream.voice.id,
    }
    if warnings:
        headers["warning"] = ", ".join(f'{WARNING_CODE} - "{text}"' for text in warnings)
    return headers
