"""The one way from a request to bytes: check, split, synthesize, encode, stream.

Knows nothing of HTTP, and nothing of models or codecs but their ports.
"""

import asyncio
from collections.abc import AsyncGenerator, Callable
from contextlib import aclosing
from functools import partial
from typing import Any, Final, TypeVar

import msgspec

from app.domain.admission import ANYBODY, Caller
from app.domain.audio import AudioChunk, AudioEncoding, AudioFormat, choose_sample_rate, silence
from app.domain.errors import EXPANDED_INPUT, InputTooLongError
from app.domain.segment import TextSegment, count_chars
from app.domain.services.admission import Admission
from app.domain.services.lifecycle import ModelState, Readiness
from app.domain.services.prefetch import CHARS_PER_S, LiveText, Prefetcher, PrefetchLimits
from app.domain.services.speech_ports import SpeechPorts
from app.domain.services.speech_stream import Part, SpeechStream
from app.domain.speech import CacheStatus, Catalog, SpeechOptions, SpeechRequest, SynthesisParams
from app.domain.text.front_end import ReadingOptions, segment_text
from app.domain.text.pronunciations import Pronunciations

T = TypeVar("T")

# How many times `max_chars` a text may have once its numbers and symbols are words: a page of
# prices has five times, one of `%` eight. At a speed below 1 the limit is multiplied by it, because
# slow speech takes as much longer to make.
MAX_EXPANSION: Final = 6
# Playing time that is encoded in one call, which cannot be interrupted. MP3 takes longest: 10 ms of
# processor time a second at 48 kHz.
MAX_ENCODED_S: Final = 2.0
# Encoded on the event loop where it is not resampled: two seconds take less than 1 ms, and the way
# to a thread and back up to 0.3 ms on a busy machine.
LIGHT_FORMATS: Final = frozenset({AudioFormat.PCM, AudioFormat.WAV})
# A text of up to so many characters is read on the event loop, in about 2 ms; the worst in 4 ms.
MAX_INLINE_CHARS: Final = 500
SLOWED_INPUT: Final = "With its speed and pauses the input takes as long as a text that"
SILENCE_S: Final = 0.2  # playing time of the answer to a text with nothing to pronounce


class SpeechLimits(msgspec.Struct, frozen=True):
    """What one text may take."""

    max_chars: int = 4_096  # of the text, in code points
    has_markup: bool = True  # Markdown, HTML and SSML are markup, and not spoken
    prefetch: PrefetchLimits = PrefetchLimits()


class SpeechService:
    """Speaks texts through the ports."""

    def __init__(
        self,
        ports: SpeechPorts,
        readiness: Readiness,
        admission: Admission,
        catalog: Catalog,
        limits: SpeechLimits,
    ) -> None:
        self._ports = ports
        self._readiness = readiness
        self._admission = admission
        self._limits = limits
        self.catalog = catalog

    async def start(
        self, request: SpeechRequest, caller: Caller = ANYBODY, *, is_whole: bool = False
    ) -> SpeechStream:
        """Begin to speak; returns when the first bytes are there.

        With `is_whole` nothing is sent before all of it is there, so a segment that is lost with
        its instance of the model can be synthesized again.

        Raises InvalidRequestError, RefusedError (also while the model loads), ModelLoadError,
        RequestTimeoutError, SynthesisError or EncodingError.
        """
        stream = self._open_stream(request, caller)
        stream.report.num_chars = len(request.text)
        if is_whole:
            stream.report.stalled_s = None
        with stream:
            self._check_length(request.text)
            self._plan(stream, is_whole=is_whole)
            segments = await self._segments(request)
            await self._admit(stream, segments)
        prefetcher = self._prefetcher(stream)
        prefetcher.push(segments)
        prefetcher.finish()
        stream.parts = self._render(stream, prefetcher)
        await stream.prime()
        return stream

    async def start_live(self, options: SpeechOptions, caller: Caller = ANYBODY) -> SpeechStream:
        """Begin to speak a text that is still being written, to `text` of the stream.

        It waits for its turn once there is something to speak; the stream may raise what `start`
        raises. This raises InvalidRequestError, ModelLoadingError or ModelLoadError.
        """
        stream = self._open_stream(options, caller)
        stream.report.stalled_s = None
        with stream:
            self._plan(stream)
            await self._readiness.wait_until_ready()
            await self._open_encoder(stream)
        prefetcher = self._prefetcher(stream)
        stream.text = LiveText(
            partial(self._split, options),
            prefetcher,
            self._limits.max_chars,
            MAX_EXPANSION * self._limits.max_chars,
            stream.report,
            min_chars=self._ports.model.info.min_segment_chars,
        )
        stream.parts = self._render(stream, prefetcher, is_live=True)
        return stream

    async def normalize(self, request: SpeechRequest) -> list[TextSegment]:
        """The segments of a text; the model is not asked. Raises InvalidRequestError."""
        self._check_length(request.text)
        self.catalog.check_model(request.model)
        self.catalog.find_voice(request.voice)
        return await self._segments(request)

    async def check(self, options: SpeechOptions) -> None:
        """Raise InvalidRequestError, or EncodingError, if no text can be spoken like this."""
        stream = self._open_stream(options, ANYBODY)
        self._plan(stream)
        await self._open_encoder(stream)

    def _open_stream(self, options: SpeechOptions, caller: Caller) -> SpeechStream:
        slot, ports = self._admission.slot(caller), self._ports
        return SpeechStream(options, caller, slot, ports.clock, ports.observer)

    def _prefetcher(self, stream: SpeechStream) -> Prefetcher:
        ports = self._ports
        return Prefetcher(
            ports.model, ports.clock, self._limits.prefetch, stream.slot, stream.playback
        )

    def _check_length(self, text: str) -> None:
        if len(text) > self._limits.max_chars:
            raise InputTooLongError(len(text), self._limits.max_chars)

    def _plan(self, stream: SpeechStream, *, is_whole: bool = False) -> None:
        """Resolve the names of the request."""
        options = stream.options
        self.catalog.check_model(options.model)
        voice = self.catalog.find_voice(options.voice)
        model_rate = self._ports.model.info.sample_rate
        rate = choose_sample_rate(options.format, options.sample_rate, model_rate)
        stream.params = SynthesisParams(voice, options.speed, options.sampling, is_whole=is_whole)
        stream.encoding = AudioEncoding(options.format, rate)
        stream.is_light = options.format in LIGHT_FORMATS and rate == model_rate

    async def _segments(self, request: SpeechRequest) -> list[TextSegment]:
        is_short = len(request.text) <= MAX_INLINE_CHARS
        return await _run(is_short, self._split, request, request.text)

    def _split(
        self,
        options: SpeechOptions,
        text: str,
        begins_line: bool = True,  # noqa: FBT001, FBT002
    ) -> list[TextSegment]:
        """The segments of `text`; how much there is to say bounds the work of a request."""
        ports, max_chars = self._ports, MAX_EXPANSION * self._limits.max_chars
        known = ports.lexicon.pronunciations if ports.lexicon is not None else Pronunciations()
        reading = ReadingOptions(
            is_normalized=options.is_normalized,
            has_markup=self._limits.has_markup,
            pronunciations=known.merged(options.pronunciations),
            max_chars=max_chars,
            begins_line=begins_line,
        )
        segments = segment_text(text, ports.model.split, reading, ports.observer.reading_failed)
        num_chars = count_chars(segments)
        # No turn of the model limits how much silence is encoded: all pauses may last as long as a
        # text of `max_chars` without figures.
        pause_s = sum(segment.pause_s for segment in segments)
        num_pause_chars = MAX_EXPANSION * CHARS_PER_S * pause_s
        num_slowed_chars = round(num_chars / min(1.0, options.speed) + num_pause_chars)
        if num_chars > max_chars:
            raise InputTooLongError(num_chars, max_chars, EXPANDED_INPUT)
        if num_slowed_chars > max_chars:
            raise InputTooLongError(num_slowed_chars, max_chars, SLOWED_INPUT)
        return segments

    async def _admit(self, stream: SpeechStream, segments: list[TextSegment]) -> None:
        """Wait for a slot, unless everything is cached; then until the model is ready."""
        status = await self._look_up(segments, stream.params)
        if segments and status is not CacheStatus.HIT:
            await stream.slot.enter(count_chars(segments))
        if self._readiness.state is not ModelState.READY:
            # The cache knows its entries once the model is loaded.
            await stream.in_time(self._readiness.wait_until_ready())
            status = await self._look_up(segments, stream.params)
        stream.report.cache = status

    async def _look_up(self, segments: list[TextSegment], params: SynthesisParams) -> CacheStatus:
        """How many of the segments are cached."""
        cache, spoken = self._ports.cache, [segment for segment in segments if segment.text]
        if cache is None or not spoken or not cache.can_keep(params):
            return CacheStatus.BYPASS
        missing = [segment for segment in spoken if not cache.holds(segment, params)]
        num_missing = len(missing) - await cache.count_shared(missing, params)
        if num_missing <= 0:
            return CacheStatus.HIT
        return CacheStatus.PARTIAL if num_missing < len(spoken) else CacheStatus.MISS

    async def _open_encoder(self, stream: SpeechStream) -> None:
        stream.report.voice = stream.params.voice.id
        encoders, model_rate = self._ports.encoders, self._ports.model.info.sample_rate
        stream.encoder = await _run(stream.is_light, encoders.open, stream.encoding, model_rate)

    async def _render(
        self, stream: SpeechStream, prefetcher: Prefetcher, *, is_live: bool = False
    ) -> AsyncGenerator[Part, None]:
        """The bytes of the file, and a caption after each segment; a short silence for no segment.

        The chunks of all segments pass here, in order. However it ends, the stream is told.
        """
        with stream:
            if not is_live:
                await self._open_encoder(stream)
            else:
                has_text = await prefetcher.wait_for_segment()
                stream.on_text()
                if has_text:
                    await stream.slot.enter(prefetcher.num_waiting_chars)
            stream.on_begin(prefetcher.num_pushed)
            async with aclosing(prefetcher.chunks(stream.params)) as chunks:
                async for segment, chunk in chunks:
                    if part := await self._render_chunk(stream, segment, chunk):
                        yield part
                        stream.on_demand()
            stream.slot.leave()
            stream.report.num_segments = prefetcher.num_pushed
            if not stream.report.audio_s:
                pause = silence(SILENCE_S, self._ports.model.info.sample_rate)
                if encoded := await self._render_chunk(stream, None, pause):
                    yield encoded
            if last := await _run(stream.is_light, stream.encoder.finish):
                yield last
        stream.end(None)

    async def _render_chunk(
        self, stream: SpeechStream, segment: TextSegment | None, chunk: AudioChunk | None
    ) -> Part | None:
        """The bytes of a chunk, or the caption of a segment that ends; may be nothing."""
        if chunk is None:
            return stream.on_segment_end(segment) if segment else None
        stream.on_chunk(segment, chunk)
        encoded = b""
        for piece in chunk.pieces(MAX_ENCODED_S):
            encoded += await _run(stream.is_light, stream.encoder.encode, piece)
            # Others have their turn: what is cached would be sent without a pause otherwise.
            await asyncio.sleep(0)  # noqa: TID251 - no time passes
        return encoded


async def _run(inline: bool, work: Callable[..., T], *args: Any) -> T:  # noqa: FBT001
    """The result of `work`; in a thread unless it is short enough for the event loop."""
    return work(*args) if inline else await asyncio.to_thread(work, *args)
