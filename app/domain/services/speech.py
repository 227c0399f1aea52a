"""The one way from a request to bytes: check, split, synthesize, encode, stream.

Knows nothing of HTTP, and nothing of models or codecs but their ports.
"""

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Coroutine
from contextlib import aclosing
from typing import Any, Final, TypeVar

import msgspec

from app.domain.admission import ANYBODY, Caller
from app.domain.audio import AudioChunk, AudioEncoding, AudioFormat, choose_sample_rate, silence
from app.domain.captions import Caption
from app.domain.catalog import Catalog
from app.domain.errors import (
    ExpandedInputTooLongError,
    InputTooLongError,
    InvalidRequestError,
    ModelLoadingError,
    QueueTimeoutError,
    RequestTimeoutError,
    ServerOverloadedError,
    SpeechError,
    StoreError,
)
from app.domain.segment import TextSegment
from app.domain.services.admission import Admission, Slot
from app.domain.services.live_text import LiveText
from app.domain.services.look_ahead import LookAhead, LookAheadLimits
from app.domain.services.readiness import Readiness
from app.domain.services.segment_feed import SegmentFeed
from app.domain.services.time_limit import within
from app.domain.services.transcript import Transcript
from app.domain.speech import (
    CacheStatus,
    Delivery,
    Outcome,
    SpeechOptions,
    SpeechReport,
    SpeechRequest,
)
from app.ports.audio_encoder import AudioEncoder, AudioEncoders
from app.ports.audio_store import StoredAudio
from app.ports.clock import Clock
from app.ports.speech_cache import SpeechCache
from app.ports.speech_model import SpeechModel
from app.ports.speech_observer import SpeechObserver

T = TypeVar("T")

MAX_EXPANSION: Final = 4
"""How many times as long as an input may be the text of numbers and symbols written out."""

SILENCE_S: Final = 0.2
"""Playing time in seconds of the answer to a text with nothing to pronounce."""


class Kept(msgspec.Struct, frozen=True):
    """What became of a file that was to be kept: it is there, or the store failed."""

    file: StoredAudio | None
    error: StoreError | None = None


Part = bytes | Caption | Kept
"""Of an answer: bytes of the file, what the bytes since the last caption have said, or, last, the
file that was kept of it."""


class SpeechStream:
    """One answer on its way out. Made by `SpeechService`; iterate once, then `aclose`.

    Attributes:
        encoding: format and sample rate of the bytes.
        delivery: how it is spoken.
        report: how far it is.
        transcript: what has been said.
        kept: what became of the file, once known, if it was to be kept.
    """

    def __init__(
        self,
        encoding: AudioEncoding,
        delivery: Delivery,
        watch: "_Watch",
        encoder: AudioEncoder,
        parts: AsyncGenerator[Part, None],
    ) -> None:
        self.encoding = encoding
        self.delivery = delivery
        self.report = watch.report
        self.transcript = watch.transcript
        self._watch = watch
        self._encoder = encoder
        self._parts = parts
        self._sources = [parts]
        self.kept: Kept | None = None

    async def prime(self) -> None:
        """Make the first bytes, so that a failure to speak shows before anything is sent.

        Raises:
            SpeechError: speaking failed, or took longer than the caller waits.
        """
        first = await self._watch.in_time(_next_part(self._parts))
        self.pass_through(lambda rest: _after(first, rest))

    def pass_through(
        self, change: Callable[[AsyncGenerator[Part, None]], AsyncGenerator[Part, None]]
    ) -> None:
        """Have all that is still to come pass `change`."""
        self._parts = change(self._parts)
        self._sources.append(self._parts)

    async def parts(self) -> AsyncIterator[Part]:
        """The file, none of its bytes empty, and a caption after the bytes of each segment.

        A codec may hold back the last bytes of a segment until more come. Raises SpeechError when
        it breaks off.
        """
        async for part in self._parts:
            if isinstance(part, Kept):
                self.kept = part
            yield part

    async def __aiter__(self) -> AsyncIterator[bytes]:
        """The file alone, part by part."""
        async for part in self.parts():
            if isinstance(part, bytes):
                yield part

    async def collect(self) -> bytes:
        """The whole file, its head corrected for its length.

        Raises:
            SpeechError: speaking broke off, or took longer than the caller waits.
        """
        body = b"".join(await self._watch.in_time(self._all_bytes()))
        head = self.head()
        return head + body[len(head) :]

    async def _all_bytes(self) -> list[bytes]:
        return [part async for part in self]

    def head(self) -> bytes:
        """See AudioEncoder.head; for whoever writes the parts to a file."""
        return self._encoder.head()

    async def aclose(self) -> None:
        """Stop the work if it is not done."""
        for source in reversed(self._sources):
            await source.aclose()


async def _next_part(parts: AsyncGenerator[Part, None]) -> Part:
    return await anext(parts, b"")


async def _after(first: Part, rest: AsyncGenerator[Part, None]) -> AsyncGenerator[Part, None]:
    if first:
        yield first
    async for part in rest:
        yield part


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
        self.catalog = catalog

    async def start(self, request: SpeechRequest, caller: Caller = ANYBODY) -> SpeechStream:
        """Begin to speak; returns when the first bytes are there.

        Raises:
            InvalidRequestError: the request cannot work as asked.
            ServerOverloadedError, QueueTimeoutError: the model has too much to do.
            ModelLoadingError, ModelLoadError: the model cannot speak yet, or ever.
            RequestTimeoutError: it took longer than the caller waits.
            SynthesisError, EncodingError: speaking failed before the first bytes.
        """
        feed, slot = SegmentFeed(), self._admission.slot(caller)
        watch = _Watch(self._ports, request.format, caller.deadline)
        watch.report.num_chars = len(request.text)
        try:
            self._check_length(request.text)
            plan = self._plan(request)
            segments = await asyncio.to_thread(self._split, request.text)
            await self._admit(segments, plan.delivery, slot, watch)
            stream = await watch.in_time(
                self._open(plan, self._speak(feed, plan, slot, watch), watch)
            )
        except BaseException as error:
            slot.leave()
            watch.end(error)
            raise
        feed.push(segment.text for segment in segments)
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
        watch = _Watch(self._ports, options.format, caller.deadline)
        try:
            plan = self._plan(options)
            await self._readiness.wait_until_ready()
            stream = await self._open(plan, self._speak_live(feed, plan, slot, watch), watch)
        except BaseException as error:
            watch.end(error)
            raise
        text = LiveText(self._split, feed, self._max_chars, watch.report)
        return LiveSpeech(text, stream)

    def _check_length(self, text: str) -> None:
        if len(text) > self._max_chars:
            raise InputTooLongError(len(text), self._max_chars)

    def _split(self, text: str) -> list[TextSegment]:
        segments = self._ports.model.split(text)
        num_chars, limit = sum(len(one.text) for one in segments), MAX_EXPANSION * self._max_chars
        if num_chars > limit:
            raise ExpandedInputTooLongError(num_chars, limit)
        return segments

    def _plan(self, options: SpeechOptions) -> "_Plan":
        self.catalog.check_model(options.model)
        voice = self.catalog.find_voice(options.voice)
        model_rate = self._ports.model.info.sample_rate
        rate = choose_sample_rate(options.format, options.sample_rate, model_rate)
        delivery = Delivery(voice, options.speed, options.sampling)
        return _Plan(delivery, AudioEncoding(options.format, rate))

    async def _admit(
        self, segments: list[TextSegment], delivery: Delivery, slot: Slot, watch: "_Watch"
    ) -> None:
        """Wait for a turn, unless the model is not needed; then until it can speak."""
        cache = self._ports.cache
        status = await asyncio.to_thread(_look_up, cache, segments, delivery)
        if segments and status is not CacheStatus.HIT:
            await slot.enter(sum(len(segment.text) for segment in segments))
        if not self._readiness.is_ready:  # what is kept is known once the model is
            await self._readiness.wait_until_ready()
            status = await asyncio.to_thread(_look_up, cache, segments, delivery)
        watch.report.cache = status

    async def _open(
        self,
        plan: "_Plan",
        audio: AsyncGenerator[AudioChunk | Caption, None],
        watch: "_Watch",
    ) -> SpeechStream:
        watch.report.voice = plan.delivery.voice.id
        encoder = await asyncio.to_thread(
            self._ports.encoders.open, plan.encoding, self._ports.model.info.sample_rate
        )
        parts = _encode(audio, encoder, watch)
        return SpeechStream(plan.encoding, plan.delivery, watch, encoder, parts)

    async def _speak_live(
        self, feed: SegmentFeed, plan: "_Plan", slot: Slot, watch: "_Watch"
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
        self, feed: SegmentFeed, plan: "_Plan", slot: Slot, watch: "_Watch"
    ) -> AsyncGenerator[AudioChunk | Caption, None]:
        """The chunks of all segments in order, a caption after each; a short silence for none."""
        is_silent = True
        watch.begun(feed.num_pushed)
        ahead = LookAhead(
            self._ports.model, self._ports.clock, self._look_ahead, plan.delivery, slot
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
    audio: AsyncGenerator[AudioChunk | Caption, None], encoder: AudioEncoder, watch: "_Watch"
) -> AsyncGenerator[Part, None]:
    """The bytes of the file. However it ends, the observer is told once."""
    try:
        async with aclosing(audio):
            async for part in audio:
                if isinstance(part, Caption):
                    yield part
                    continue
                watch.heard(part)
                encoded = await asyncio.to_thread(encoder.encode, part)
                if encoded:
                    yield encoded
        last = await asyncio.to_thread(encoder.finish)
        if last:
            yield last
    except BaseException as error:
        watch.end(error)
        raise
    watch.end(None)


class _Plan(msgspec.Struct, frozen=True):
    """How a text is spoken and sent."""

    delivery: Delivery
    encoding: AudioEncoding


class _Watch:
    """Keeps the report and the transcript of one request, and its time.

    Tells the observer at the end.
    """

    def __init__(self, ports: SpeechPorts, audio_format: AudioFormat, deadline: float) -> None:
        self._clock = ports.clock
        self._observer = ports.observer
        self._deadline = deadline
        self._started = self._waits_since = ports.clock.monotonic()
        self._has_expired = False
        self.report = SpeechReport(format=audio_format)
        self.transcript = Transcript()

    async def in_time(self, work: Coroutine[Any, Any, T]) -> T:
        """The result of `work`; raises RequestTimeoutError when the caller waits no longer."""
        left_s = max(0.0, self._deadline - self._clock.monotonic())
        try:
            return await within(self._clock, left_s, work, self._expire)
        except TimeoutError:
            raise RequestTimeoutError from None

    def _expire(self) -> None:
        self._has_expired = True

    def waits_from_now(self) -> None:
        """There is something to speak."""
        self._waits_since = self._clock.monotonic()

    def begun(self, num_segments: int) -> None:
        self.report.queue_s = self._clock.monotonic() - self._waits_since
        self.report.num_segments = num_segments

    def heard(self, chunk: AudioChunk) -> None:
        report = self.report
        if report.first_audio_s is None:
            report.first_audio_s = self._clock.monotonic() - self._started
        report.audio_s += chunk.duration_s
        report.num_input_tokens += chunk.num_input_tokens
        report.num_output_tokens += chunk.num_output_tokens

    def end(self, error: BaseException | None) -> None:
        if self._has_expired:
            error = RequestTimeoutError()
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
        case ServerOverloadedError() | QueueTimeoutError() | ModelLoadingError():
            return Outcome.REFUSED
        case asyncio.CancelledError() | GeneratorExit():
            return Outcome.CANCELLED
        case _:
            return Outcome.FAILED
