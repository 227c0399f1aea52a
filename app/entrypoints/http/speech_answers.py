"""From a request for speech to its answer: streamed, whole, or as events; kept if asked for."""

from typing import Any, Final

import msgspec
from litestar import Request
from litestar.response.base import ASGIResponse

from app.domain.file_name import choose_stem
from app.domain.services.audio_library import AudioLibrary
from app.domain.services.speech import SpeechService
from app.domain.services.speech_stream import SpeechStream, StoreOutcome
from app.domain.speech import SpeechReport
from app.entrypoints.http import events
from app.entrypoints.http.audio_response import StreamResponse
from app.entrypoints.http.caller import Callers
from app.entrypoints.http.disconnect import until_disconnect
from app.entrypoints.http.events import EventWriter
from app.entrypoints.http.repeats import Repeats
from app.entrypoints.http.schemas import CONTENT_TYPES, CreateSpeech
from app.entrypoints.http.stored_audio import FILES_PATH
from app.entrypoints.http.whole_response import HeldAnswers, WholeResponse
from app.ports.clock import Clock

WARNING_CODE: Final = 299
"""Miscellaneous persistent warning (RFC 7234, section 5.5.7)."""

EVENT_HEADERS: Final = {"cache-control": "no-cache", "x-accel-buffering": "no"}
"""Ask proxies to pass each event on when it comes."""


class SpeechAnswers(msgspec.Struct, frozen=True, eq=False):
    """Answers requests through what the application is made of."""

    speech: SpeechService
    callers: Callers
    events: EventWriter
    repeats: Repeats
    library: AudioLibrary
    held: HeldAnswers
    clock: Clock

    async def answer(self, request: Request[Any, Any, Any], data: CreateSpeech) -> ASGIResponse:
        """The answer, when its first bytes are there; raises SpeechError.

        Args:
            request: for its headers, and to notice that the client leaves.
            data: its body.
        """
        caller = self.callers.recognize(request)
        repeat = self.repeats.recognize(request, data, caller.name)
        stem = choose_stem(data.file_name, repeat.request.format) if data.store else None
        starting = self.speech.start(repeat.request, caller, is_whole=not data.is_streamed)
        stream = await until_disconnect(request.receive, starting)
        if stem is not None:
            stream.store_in(self.library.record(caller.name, stem, stream.encoding.format))
        headers = self._headers(stream, data)
        headers.update(repeat.headers(stream.report))
        if data.stream_format == "sse":
            return self._in_events(stream, data, headers)
        media_type = CONTENT_TYPES[stream.encoding.format]
        if data.is_streamed:
            return StreamResponse(stream, stream, self.clock, headers, media_type)

        def whole_headers() -> dict[str, str]:
            timing = {"server-timing": describe_timing(stream.report)}
            return headers | timing | _describe_stored(stream.stored)

        return WholeResponse(stream, self.held, self.clock, whole_headers, media_type)

    def _in_events(
        self, stream: SpeechStream, data: CreateSpeech, headers: dict[str, str]
    ) -> ASGIResponse:
        body = self.events.write(stream, has_captions=bool(data.captions))
        return StreamResponse(
            stream,
            body,
            self.clock,
            headers | EVENT_HEADERS,
            events.CONTENT_TYPE,
            events.error_event,
        )

    def _headers(self, stream: SpeechStream, data: CreateSpeech) -> dict[str, str]:
        headers = {
            "server-timing": describe_timing(stream.report),
            "x-sample-rate": str(stream.encoding.sample_rate),
            "x-speech-backend": self.speech.catalog.info.backend,
            "x-speech-voice": stream.params.voice.id,
        }
        warnings = data.warnings(self.speech.catalog)
        if warnings:
            headers["warning"] = ", ".join(f'{WARNING_CODE} - "{text}"' for text in warnings)
        return headers


def _describe_stored(stored: StoreOutcome | None) -> dict[str, str]:
    if stored is not None and stored.file is not None:
        name = stored.file.name
        return {"x-stored-file": name, "content-location": f"{FILES_PATH}/{name}"}
    if stored is not None and stored.error is not None:
        return {"x-store-error": stored.error.code}
    return {}


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
