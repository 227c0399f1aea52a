"""The one way from a request to bytes: check, split, synthesize, encode, stream.

Knows nothing of HTTP, and nothing of models or codecs but their ports.
"""

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import aclosing
from typing import Final

import msgspec

from app.domain.audio import AudioChunk, AudioEncoding, choose_sample_rate, silence
from app.domain.catalog import Catalog
from app.domain.errors import InputTooLongError, InvalidRequestError, SpeechError
from app.domain.segment import TextSegment
from app.domain.services.look_ahead import LookAhead, LookAheadLimits
from app.domain.services.readiness import Readiness
from app.domain.speech import (
    CacheStatus,
    Delivery,
    Outcome,
    SpeechReport,
    SpeechRequest,
    Voice,
)
from app.ports.audio_encoder import AudioEncoder, AudioEncoders
from app.ports.clock import Clock
from app.ports.speech_cache import SpeechCache
from app.ports.speech_model import SpeechModel
from app.ports.speech_observer import SpeechObserver

SILENCE_S: Final = 0.2
"""Playing time in seconds of the answer to a text with nothing to pronounce."""


class SpeechStream:
    """One answer on its way out. Made by `SpeechService.start`; iterate once, then `aclose`.

    Attributes:
        encoding: format and sample rate of the bytes.
        voice: that speaks.
        report: how far it is.
    """

    def __init__(
        self,
        encoding: AudioEncoding,
        voice: Voice,
        report: SpeechReport,
        encoder: AudioEncoder,
        parts: AsyncGenerator[bytes, None],
    ) -> None:
        self.encoding = encoding
        self.voice = voice
        self.report = report
        self._encoder = encoder
        self._parts = parts
        self._first = b""

    async def prime(self) -> None:
        """Take the first bytes, so that a failure to speak shows before anything is sent."""
        self._first = await anext(self._parts, b"")

    async def __aiter__(self) -> AsyncIterator[bytes]:
        """The file, part by part, none of them empty. Raises SpeechError when it breaks off."""
        yield self._first
        async for part in self._parts:
            yield part

    async def collect(self) -> bytes:
        """The whole file, its head corrected for its length."""
        body = b"".join([part async for part in self])
        head = self.head()
        return head + body[len(head) :]

    def head(self) -> bytes:
        """See AudioEncoder.head; for whoever writes the parts to a file."""
        return self._encoder.head()

    async def aclose(self) -> None:
        """Stop the work if it is not done."""
        await self._parts.aclose()


class SpeechPorts(msgspec.Struct, frozen=True, eq=False):
    """What `SpeechService` speaks through; without a `cache` nothing is kept."""

    model: SpeechModel
    encoders: AudioEncoders
    clock: Clock
    observer: SpeechObserver
    cache: SpeechCache | None = None


class SpeechLimits(msgspec.Struct, frozen=True):
    """What one text may take.

    Attributes:
        max_chars: of the text, in code points.
        look_ahead: how much of it is spoken before it is asked for.
    """

    max_chars: int = 4_096
    look_ahead: LookAheadLimits = LookAheadLimits()


class SpeechService:
    """Speaks texts through the ports.

    Args:
        ports: the outside world.
        readiness: tells when the model can speak.
        catalog: resolves names.
        limits: on one text.
    """

    def __init__(
        self, ports: SpeechPorts, readiness: Readiness, catalog: Catalog, limits: SpeechLimits
    ) -> None:
        self._ports = ports
        self._readiness = readiness
        self._max_chars = limits.max_chars
        self._look_ahead = limits.look_ahead
        self.catalog = catalog

    async def start(self, request: SpeechRequest) -> SpeechStream:
        """Begin to speak; returns when the first bytes are there.

        Raises:
            InvalidRequestError: the request cannot work as asked.
            ModelLoadingError, ModelLoadError: the model cannot speak yet, or ever.
            SynthesisError, EncodingError: speaking failed before the first bytes.
        """
        watch = _Watch(self._ports, request)
        try:
            stream = await self._open(request, watch)
        except BaseException as error:
            watch.end(error)
            raise
        try:
            await stream.prime()
        except BaseException:
            await stream.aclose()
            raise
        return stream

    async def _open(self, request: SpeechRequest, watch: "_Watch") -> SpeechStream:
        voice = self._check(request)
        model = self._ports.model
        watch.report.voice = voice.id
        rate = choose_sample_rate(request.format, request.sample_rate, model.info.sample_rate)
        encoding = AudioEncoding(request.format, rate)
        encoder = await asyncio.to_thread(
            self._ports.encoders.open, encoding, model.info.sample_rate
        )
        await self._readiness.wait_until_ready()
        segments = await asyncio.to_thread(model.split, request.text)
        watch.report.num_segments = len(segments)
        delivery = Delivery(voice, request.speed, request.sampling)
        watch.report.cache = await asyncio.to_thread(
            _look_up, self._ports.cache, segments, delivery
        )
        audio = self._speak(segments, delivery, watch.report)
        parts = _encode(audio, encoder, watch)
        return SpeechStream(encoding, voice, watch.report, encoder, parts)

    def _check(self, request: SpeechRequest) -> Voice:
        if len(request.text) > self._max_chars:
            raise InputTooLongError(len(request.text), self._max_chars)
        self.catalog.check_model(request.model)
        return self.catalog.find_voice(request.voice)

    async def _speak(
        self, segments: list[TextSegment], delivery: Delivery, report: SpeechReport
    ) -> AsyncGenerator[AudioChunk, None]:
        """The chunks of all segments in order; a short silence if there are none."""
        is_silent = True
        ahead = LookAhead(self._ports.model, self._ports.clock, self._look_ahead, delivery)
        async with aclosing(ahead.speak(segments)) as parts:
            async for part in parts:
                if isinstance(part, TextSegment):
                    report.num_segments_spoken += 1
                else:
                    is_silent = False
                    yield part
        if is_silent:
            yield silence(SILENCE_S, self._ports.model.info.sample_rate)


def _look_up(
    cache: SpeechCache | None, segments: list[TextSegment], delivery: Delivery
) -> CacheStatus:
    """How many of the segments need not be spoken again."""
    if cache is None or not segments or not cache.can_keep(delivery):
        return CacheStatus.BYPASS
    num_held = sum(cache.holds(segment, delivery) for segment in segments)
    if num_held == 0:
        return CacheStatus.MISS
    return CacheStatus.HIT if num_held == len(segments) else CacheStatus.PARTIAL


async def _encode(
    audio: AsyncGenerator[AudioChunk, None], encoder: AudioEncoder, watch: "_Watch"
) -> AsyncGenerator[bytes, None]:
    """The bytes of the file. However it ends, the observer is told once."""
    try:
        async with aclosing(audio):
            async for chunk in audio:
                watch.heard(chunk)
                part = await asyncio.to_thread(encoder.encode, chunk)
                if part:
                    yield part
        last = await asyncio.to_thread(encoder.finish)
        if last:
            yield last
    except BaseException as error:
        watch.end(error)
        raise
    watch.end(None)


class _Watch:
    """Keeps the report of one request and hands it to the observer at the end."""

    def __init__(self, ports: SpeechPorts, request: SpeechRequest) -> None:
        self._clock = ports.clock
        self._observer = ports.observer
        self._started = ports.clock.monotonic()
        self.report = SpeechReport(num_chars=len(request.text), format=request.format)

    def heard(self, chunk: AudioChunk) -> None:
        if self.report.first_audio_s is None:
            self.report.first_audio_s = self._clock.monotonic() - self._started
        self.report.audio_s += chunk.duration_s

    def end(self, error: BaseException | None) -> None:
        self.report.total_s = self._clock.monotonic() - self._started
        self.report.outcome = _outcome(error)
        self.report.error_code = error.code if isinstance(error, SpeechError) else None
        self._observer.speech_ended(self.report)


def _outcome(error: BaseException | None) -> Outcome:
    match error:
        case None:
            return Outcome.COMPLETED
        case InvalidRequestError():
            return Outcome.REJECTED
        case asyncio.CancelledError() | GeneratorExit():
            return Outcome.CANCELLED
        case _:
            return Outcome.FAILED
