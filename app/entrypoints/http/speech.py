"""POST /v1/audio/speech."""

from typing import Any

from litestar import Controller, Request, post
from litestar.di import NamedDependency
from litestar.params import JSONBody
from litestar.response.base import ASGIResponse

from app.entrypoints.http.authentication import LIMITED
from app.entrypoints.http.body import SpeechBody
from app.entrypoints.http.openapi import SPEECH_ERRORS, SpeechOperation
from app.entrypoints.http.schemas import CreateSpeech
from app.entrypoints.http.speech_answers import SpeechAnswers


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
        answers: NamedDependency[SpeechAnswers],
    ) -> ASGIResponse:
        """Answers with the audio as it is made, whole if `stream` is false, or as events."""
        return await answers.answer(request, data)
