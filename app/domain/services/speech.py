"""The one way from a request to bytes: check, split, synthesize, encode, stream.

Knows nothing of HTTP, and nothing of models or codecs but their ports.
"""

import asyncio
from collections.abc import AsyncGenerator
from contextlib import aclosing
from functools import partial
from typing import Final

import msgspec

from app.domain.admission import ANYBODY, Caller
from app.domain.audio import AudioChunk, AudioEncoding, AudioFormat, choose_sample_rate, silence
from app.domain.captions import Caption
from app.domain.catalog import Catalog
from app.domain.errors import (
    ExpandedInputTooLongError,
    InputTooLongError,
    SlowedInputTooLongError,
)
from app.domain.segment import TextSegment, count_chars
from app.domain.services.admission import Admission, Slot
from app.domain.services.live_text import LiveText
from app.domain.services.look_ahead import LookAhead, LookAheadLimits
from app.domain.services.readiness import Readiness
from app.domain.services.request_watch import RequestWatch
from app.domain.services.segment_feed import SegmentFeed
from app.domain.services.speech_stream import Part, SpeechStream
from app.domain.speech import CacheStatus, SpeechOptions, SpeechRequest, SynthesisParams
from app.domain.text.front_end import ReadingOptions, segment_text
from app.domain.text.pronunciations import Pronunciations
from app.ports.audio_encoder import AudioEncoder, AudioEncoders
from app.ports.clock import Clock
from app.ports.lexicon_source import LexiconSource
from app.ports.speech_cache import SpeechCache
from app.ports.speech_model import SpeechModel
from app.ports.speech_observer import SpeechObserver

MAX_EXPANSION: Final = 6
"""How many times `max_chars` a text may have once its numbers and symbols are words: a page of
prices has five times, one of `%` eight. At a speed below 1 they are divided by it: what is said
slowly takes as much longer to make."""

MAX_ENCODED_S: Final = 2.0
"""Playing time in seconds that is encoded in one call, which cannot be interrupted. MP3 takes the
longest: 20 ms of processor a second at 48 kHz."""

SILENCE_S: Final = 0.2
"""Playing time in seconds of the answer to a text with nothing to pronounce."""


class LiveSpeech(msgspec.Struct, frozen=True, eq=False):
    """An answer to a text that is still being written.

    Attributes:
        text: takes it, piece by piece.
        stream: speaks each sentence once it is whole; ends after `text` has been finished.
    """

    text: LiveText
    stream: SpeechStream


class SpeechPorts(msgspec.Struct, frozen=True, eq=False):
    """What `SpeechService` speaks through; without a `cache` nothing is kept."""

    model: SpeechModel
    encoders: AudioEncoders
    clock: Clock
    observer: SpeechObserver
    cache: SpeechCache | None = None
    lexicon: LexiconSource | None = None


class SpeechLimits(msgspec.Struct, frozen=True):
    """What one text may take.

    Attributes:
        max_chars: of the text, in code points.
        look_ahead: how much of it is spoken before it is asked for.
        has_markup: Markdown, HTML and SSML are markup, and not spoken.
    """

    max_chars: int = 4_096
    has_markup: bool = True
    look_ahead: LookAheadLimits = LookAheadLimits()


class SpeechService:
    """Speaks texts through the ports.

    Args:
        ports: the outside world.
        readiness: tells when the model can speak.
        admission: tells when it has time.
        catalog: resolves names.
        limits: on one text.
    """

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
        self._max_chars = limits.max_chars
        self._look_ahead = limits.look_ahead
        self._has_markup = limits.has_markup
        self.catalog = catalog

    async def start(
        self, request: SpeechRequest, caller: Caller = ANYBODY, *, is_whole: bool = False
    ) -> SpeechStream:
        """Begin to speak; returns when the first bytes are there.

        Args:
            request: what to speak.
            caller: for whom.
            is_whole: nothing is sent before all of it is there. A segment that is lost with an
                instance of the model, half made, can then be made again.

        Raises:
            InvalidRequestError: the request cannot work as asked.
            ServerOverloadedError, QueueTimeoutError: the model has too much to do.
            ModelLoadingError, ModelLoadError: the model cannot speak yet, or ever.
            RequestTimeoutError: it took longer than the caller waits.
            SynthesisError, EncodingError: speaking failed before the first bytes.
        """
        feed, slot = SegmentFeed(), self._admission.slot(caller)
        watch = self._watch(request.format, caller)
        watch.report.num_chars = len(request.text)
        if is_whole:
            watch.report.stalled_s = None
        try:
            self._check_length(request.text)
            plan = self._plan(request)
            segments = await asyncio.to_thread(self._split, request.text, request)
            await self._admit(segments, plan.params, slot, watch)
            stream = await watch.in_time(
                self._open(plan, self._speak(feed, plan, slot, watch, is_whole=is_whole), watch)
            )
        except BaseException as error:
            slot.leave()
            watch.end(error)
            raise
        feed.push(segments)
        feed.finish()
        try:
            await stream.prime()
        except BaseException:
            await stream.aclose()
            raise
        return stream

    async def start_live(self, options: SpeechOptions, caller: Caller = ANYBODY) -> LiveSpeech:
        """Begin to speak a text that is still being written.

        It waits for its turn once there is something to speak; the stream may raise what `start`
        raises.

        Raises:
            InvalidRequestError: what is asked for cannot work.
            ModelLoadingError, ModelLoadError: the model cannot speak yet, or ever.
        """
        feed, slot = SegmentFeed(), self._admission.slot(caller)
        watch = self._watch(options.format, caller)
        watch.report.stalled_s = None
        try:
            plan = self._plan(options)
            await self._readiness.wait_until_ready()
            stream = await self._open(plan, self._speak_live(feed, plan, slot, watch), watch)
        except BaseException as error:
            watch.end(error)
            raise
        split = partial(self._split, options=options)
        text = LiveText(
            split,
            feed,
            self._max_chars,
            watch.report,
            min_chars=self._ports.model.info.min_segment_chars,
        )
        return LiveSpeech(text, stream)

    def _watch(self, audio_format: AudioFormat, caller: Caller) -> RequestWatch:
        ports = self._ports
        return RequestWatch(ports.clock, ports.observer, audio_format, caller.deadline)

    def _check_length(self, text: str) -> None:
        if len(text) > self._max_chars:
            raise InputTooLongError(len(text), self._max_chars)

    def _split(self, text: str, options: SpeechOptions) -> list[TextSegment]:
        """The segments of `text`; what there is to say bounds the work of a request."""
        segments = segment_text(
            text,
            self._ports.model.split,
            self._reading(options),
            self._ports.observer.reading_failed,
        )
        num_chars = count_chars(segments)
        num_slowed_chars = round(num_chars / min(1.0, options.speed))
        max_chars = MAX_EXPANSION * self._max_chars
        if num_chars > max_chars:
            raise ExpandedInputTooLongError(num_chars, max_chars)
        if num_slowed_chars > max_chars:
            raise SlowedInputTooLongError(num_slowed_chars, max_chars)
        return segments

    def _reading(self, options: SpeechOptions) -> ReadingOptions:
        """How a text is read that is asked for in this way."""
        lexicon = self._ports.lexicon
        known = lexicon.pronunciations if lexicon is not None else Pronunciations()
        return ReadingOptions(
            is_normalized=options.is_normalized,
            has_markup=self._has_markup,
            pronunciations=known.merged(options.pronunciations),
            max_chars=MAX_EXPANSION * self._max_chars,
        )

    def _plan(self, options: SpeechOptions) -> "_Plan":
        self.catalog.check_model(options.model)
        voice = self.catalog.find_voice(options.voice)
        model_rate = self._ports.model.info.sample_rate
        rate = choose_sample_rate(options.format, options.sample_rate, model_rate)
        params = SynthesisParams(voice, options.speed, options.sampling)
        return _Plan(params, AudioEncoding(options.format, rate))

    async def _admit(
        self, segments: list[TextSegment], params: SynthesisParams, slot: Slot, watch: RequestWatch
    ) -> None:
        """Wait for a turn, unless the model is not needed; then until it can speak."""
        cache = self._ports.cache
        status = await asyncio.to_thread(_look_up, cache, segments, params)
        if segments and status is not CacheStatus.HIT:
            await slot.enter(count_chars(segments))
        if not self._readiness.is_ready:  # what is kept is known once the model is
            await watch.in_time(self._readiness.wait_until_ready())
            status = await asyncio.to_thread(_look_up, cache, segments, params)
        watch.report.cache = status

    async def _open(
        self,
        plan: "_Plan",
        audio: AsyncGenerator[AudioChunk | Caption, None],
        watch: RequestWatch,
    ) -> SpeechStream:
        watch.report.voice = plan.params.voice.id
        encoder = await asyncio.to_thread(
            self._ports.encoders.open, plan.encoding, self._ports.model.info.sample_rate
        )
        parts = _encode(audio, encoder, watch)
        return SpeechStream(plan.encoding, plan.params, watch, encoder, parts)

    async def _speak_live(
        self, feed: SegmentFeed, plan: "_Plan", slot: Slot, watch: RequestWatch
    ) -> AsyncGenerator[AudioChunk | Caption, None]:
        while not (feed.has_next or feed.is_over):
            await feed.wait()
        watch.waits_from_now()
        if feed.has_next:
            await slot.enter(feed.num_waiting_chars)
        async with aclosing(self._speak(feed, plan, slot, watch)) as parts:
            async for part in parts:
                yield part

    async def _speak(
        self,
        feed: SegmentFeed,
        plan: "_Plan",
        slot: Slot,
        watch: RequestWatch,
        *,
        is_whole: bool = False,
    ) -> AsyncGenerator[AudioChunk | Caption, None]:
        """The chunks of all segments in order, a caption after each; a short silence for none."""
        is_silent = True
        watch.begun(feed.num_pushed)
        ahead = LookAhead(
            self._ports.model,
            self._ports.clock,
            self._look_ahead,
            plan.params,
            slot,
            watch.sounded if is_whole else None,
        )
        try:
            async with aclosing(ahead.speak(feed)) as parts:
                async for segment, chunk in parts:
                    if chunk is not None:
                        is_silent = False
                        watch.transcript.heard(segment, chunk)
                        yield chunk
                        continue
                    watch.report.num_segments_spoken += 1
                    if caption := watch.transcript.ended(segment):
                        yield caption
        finally:
            slot.leave()
        watch.report.num_segments = feed.num_pushed
        if is_silent:
            yield silence(SILENCE_S, self._ports.model.info.sample_rate)


def _look_up(
    cache: SpeechCache | None, segments: list[TextSegment], params: SynthesisParams
) -> CacheStatus:
    """How many of the segments need not be spoken again."""
    if cache is None or not segments or not cache.can_keep(params):
        return CacheStatus.BYPASS
    spoken = [segment for segment in segments if segment.text]
    num_held = sum(cache.holds(segment, params) for segment in spoken)
    if num_held == len(spoken):
        return CacheStatus.HIT
    return CacheStatus.PARTIAL if num_held else CacheStatus.MISS


async def _encode(
    audio: AsyncGenerator[AudioChunk | Caption, None], encoder: AudioEncoder, watch: RequestWatch
) -> AsyncGenerator[Part, None]:
    """The bytes of the file. However it ends, the observer is told once."""
    try:
        async with aclosing(audio):
            async for part in audio:
                if isinstance(part, Caption):
                    yield part
                    watch.asked()
                    continue
                watch.heard(part)
                for piece in part.pieces(MAX_ENCODED_S):
                    if encoded := await asyncio.to_thread(encoder.encode, piece):
                        yield encoded
                        watch.asked()
        last = await asyncio.to_thread(encoder.finish)
        if last:
            yield last
    except BaseException as error:
        watch.end(error)
        raise
    watch.end(None)


class _Plan(msgspec.Struct, frozen=True):
    """How a text is spoken and sent."""

    params: SynthesisParams
    encoding: AudioEncoding
