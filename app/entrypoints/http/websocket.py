"""One connection of the speech socket: a reader that never waits for sound, and a speaker.

The reader takes every message at once, so that a cancel is heard while speech is made and sent.
The speaker sends one utterance after the other; it waits for the client to read.
"""

import asyncio
from collections.abc import AsyncIterator, Coroutine
from contextlib import aclosing, asynccontextmanager, suppress
from dataclasses import dataclass
from typing import Any, Final, cast

import msgspec
import structlog
from litestar import WebSocket, websocket
from litestar.di import NamedDependency
from litestar.exceptions import WebSocketDisconnect

from app.domain import errors
from app.domain.admission import Caller
from app.domain.audio import AudioFormat
from app.domain.segment import Caption
from app.domain.services.access_control import Grant
from app.domain.services.prefetch import LiveText
from app.domain.services.speech_stream import SpeechStream
from app.domain.services.time_limit import within
from app.domain.speech import SpeechOptions
from app.entrypoints.connections import FAREWELL_S, Quota, QuotaShare
from app.entrypoints.http import websocket_messages as messages
from app.entrypoints.http.access import LIMITED, grant_in, protocol_to_accept
from app.entrypoints.http.errors import (
    INTERNAL_ERROR,
    POLICY_VIOLATION,
    HttpError,
    describe_decode_error,
    describe_speech_error,
)
from app.entrypoints.http.schemas import CONTENT_TYPES
from app.entrypoints.http.sse import usage_of
from app.entrypoints.services import Services

LIVE_PATH: Final = "/v1/audio/speech/stream"
BYTES_PER_SAMPLE: Final = 2
MAX_WAITING_UTTERANCES: Final = 16  # written and not spoken, on one socket
WAITING_TEXTS: Final = 16  # of the longest that are allowed, in characters, on one socket

# Closing codes (IANA registry): of an idle socket, and of a server that restarts.
CLOSE_IDLE: Final = 1000
CLOSE_RESTART: Final = 1012

# What the socket raises when the client has left; of speech, an OSError is a failure.
CLIENT_LEFT: Final = (WebSocketDisconnect, OSError)

_log = structlog.get_logger(__name__)


class Utterance:
    """One text, whose characters are counted in `waiting` until they are synthesized."""

    def __init__(self, number: int, options: SpeechOptions, waiting: Quota) -> None:
        self.number = number
        self.options = options
        self.stream: SpeechStream | None = None  # once it is synthesized
        self.num_bytes = 0  # of the file that have been sent
        self.is_over = False  # the client was told that the file is whole
        self._waiting = waiting
        self._share = QuotaShare(waiting)
        self._last: messages.Written | None = None
        self._written: asyncio.Queue[messages.Written] = asyncio.Queue()

    def write(self, message: messages.Written) -> None:
        """Take what was written; raises InputTooLongError, and then has taken nothing."""
        if message == messages.Text("") or message == self._last == messages.Flush():
            return  # says nothing, and would only fill the memory
        if isinstance(message, messages.Text):
            num_chars, limit = len(message.text), self._waiting.limit
            if num_chars > limit // WAITING_TEXTS:
                raise errors.InputTooLongError(num_chars, limit // WAITING_TEXTS)
            if not self._share.resize(self._share.used + num_chars):
                raise errors.InputTooLongError(self._waiting.used + num_chars, limit)
        self._last = message
        self._written.put_nowait(message)

    async def next(self) -> messages.Written:
        """What was written next."""
        message = await self._written.get()
        if isinstance(message, messages.Text):
            self._share.resize(self._share.used - len(message.text))
        return message

    def drop(self) -> None:
        """Nothing of it waits any longer."""
        self._written = asyncio.Queue()
        self._share.resize(0)

    def num_samples(self) -> int:
        """Samples sent: counted where the format shows them, else those the encoder has taken."""
        if self.stream is None:
            return 0
        encoding, head = self.stream.encoding, len(self.stream.head())
        if encoding.format in (AudioFormat.PCM, AudioFormat.WAV):
            return max(0, self.num_bytes - head) // BYTES_PER_SAMPLE
        return round(self.stream.report.audio_s * encoding.sample_rate) if self.num_bytes else 0

    def describe_cancel(self) -> messages.Cancelled:
        """Where it broke off."""
        stream, num_samples = self.stream, self.num_samples()
        if self.is_over or stream is None:
            return messages.Cancelled(None if self.is_over else self.number)
        return messages.Cancelled(
            self.number,
            num_samples,
            num_samples / stream.encoding.sample_rate,
            " ".join(caption.text for caption in stream.captions),
            stream.current_segment.text if stream.current_segment else "",
        )


@dataclass(eq=False)
class LiveSession:
    """Serves one accepted socket; `grant` is None if its client needs no key."""

    socket: WebSocket[Any, Any, Any]
    services: Services
    grant: Grant | None
    _writing: Utterance | None = None
    _speaking: tuple[Utterance, asyncio.Task[None]] | None = None
    _num_utterances: int = 0
    _is_rejected: bool = False

    def __post_init__(self) -> None:
        self._clock = self.services.ports.clock
        self._idle_s = self.services.settings.server.socket_idle_s
        self._options = SpeechOptions(format=AudioFormat.PCM)
        self._waiting: asyncio.Queue[Utterance] = asyncio.Queue()
        self._waiting_text = Quota(WAITING_TEXTS * self.services.settings.speech.max_chars)
        self._active_at = self._clock.monotonic()

    async def run(self) -> None:
        """Serve until the client leaves, is idle or loses its key, or the server ends."""
        info = self.services.speech.catalog.info
        await self._send(messages.Ready(info.id, info.backend))
        revoked = [self.grant.revoked] if self.grant else []
        works = self._read_all(), self._wait_until_idle(), self._wait_until_drained()
        async with running(*works, self._speak_all()) as (reader, idle, drained, _):
            ends = [reader, idle, drained, *revoked]
            await asyncio.wait(ends, return_when=asyncio.FIRST_COMPLETED)
            reader.cancel()
            number = self._speaking[0].number if self._speaking else None
            if any(each.done() for each in revoked):
                await self._close(errors.InvalidApiKeyError(), POLICY_VIOLATION, number)
            elif drained.done():
                over = self.services.intake.over
                await self._close(errors.ServerDrainingError(), CLOSE_RESTART, number, until=over)
            elif idle.done():
                error = HttpError("idle_timeout", limit_s=self._idle_s)
                await self._close(error, CLOSE_IDLE, None, "idle")
            else:
                reader.result()

    async def _wait_until_idle(self) -> None:
        while (left_s := self._active_at + self._idle_s - self._clock.monotonic()) > 0:
            await self._clock.sleep(left_s)

    async def _wait_until_drained(self) -> None:
        """Return when the server ends, and all is spoken that was written, or no time is left."""
        intake = self.services.intake
        await intake.wait_until_draining()
        async with running(self._waiting.join()) as (free,):
            await asyncio.wait([free, intake.over], return_when=asyncio.FIRST_COMPLETED)

    async def _close(
        self,
        error: errors.SpeechError,
        code: int,
        utterance: int | None,
        reason: str | None = None,
        until: asyncio.Future[None] | None = None,
    ) -> None:
        """Say why, for a moment, or from `until` on for a moment: a client may read slowly."""
        await self._cancel()

        async def say_goodbye() -> None:
            await self._send(messages.Failed(describe_speech_error(error), utterance))
            await self.socket.close(code, reason or error.code)

        async with running(say_goodbye()) as (goodbye,):
            if until is not None:
                await asyncio.wait([goodbye, until], return_when=asyncio.FIRST_COMPLETED)
            with suppress(TimeoutError):
                await within(self._clock, FAREWELL_S, asyncio.wait({goodbye}))

    # The reader.

    async def _read_all(self) -> None:
        # Here and not where it is waited for: what was raised would hold the frame that holds it.
        with suppress(*CLIENT_LEFT):
            while (frame := dict(await self.socket.receive()))["type"] == "websocket.receive":
                self._active_at = self._clock.monotonic()
                await asyncio.sleep(0)  # noqa: TID251 - no time passes; others have their turn
                content = cast("str | bytes", frame.get("text") or frame.get("bytes") or b"")
                try:
                    text = content.decode() if isinstance(content, bytes) else content
                    await self._handle(messages.decoder.decode(text))
                except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
                    fault = describe_decode_error(error, "message")
                    await self._send(messages.Failed(describe_speech_error(fault)))
                except errors.SpeechError as error:
                    await self._send(messages.Failed(describe_speech_error(error)))

    async def _handle(self, message: messages.ClientMessage) -> None:
        match message:
            case messages.Configure():
                options = message.to_options(AudioFormat.PCM)
                await self.services.speech.check(options)
                self._options = options
            case messages.Text() | messages.Flush() | messages.End():
                if self._writing is not None:
                    self._writing.write(message)
                elif isinstance(message, messages.Text) and not self._is_rejected:
                    await self._begin(message)
                if isinstance(message, messages.End):
                    self._writing, self._is_rejected = None, False
            case messages.Cancel():
                await self._send(await self._cancel())
            case messages.Ping():
                await self._send(messages.Pong(message.id))

    async def _begin(self, message: messages.Text) -> None:
        utterance = Utterance(self._num_utterances + 1, self._options, self._waiting_text)
        utterance.write(message)
        try:
            self.services.intake.check()
            if self._waiting.qsize() >= MAX_WAITING_UTTERANCES:
                raise HttpError("too_many_utterances", limit=MAX_WAITING_UTTERANCES)
            if self.grant is not None:
                await self.grant.count_request()
        except errors.SpeechError:
            utterance.drop()
            self._is_rejected = True  # to its end: nobody wants to hear the second half of a text
            raise
        self._num_utterances += 1
        self._writing = utterance
        self._waiting.put_nowait(utterance)

    async def _cancel(self) -> messages.Cancelled:
        self._writing, self._is_rejected = None, False
        while not self._waiting.empty():
            self._waiting.get_nowait().drop()
            self._waiting.task_done()
        if self._speaking is None:
            return messages.Cancelled()
        utterance, task = self._speaking
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        return utterance.describe_cancel()

    # The speaker.

    async def _speak_all(self) -> None:
        while True:
            utterance = await self._waiting.get()
            task = asyncio.create_task(self._speak(utterance))
            self._speaking = utterance, task
            try:
                await asyncio.wait({task})
            finally:
                task.cancel()
                await asyncio.gather(task, return_exceptions=True)
                utterance.drop()
                self._speaking = None
                self._waiting.task_done()

    async def _speak(self, utterance: Utterance) -> None:
        caller = Caller(self.grant.name if self.grant else None)
        try:
            stream = await self.services.speech.start_live(utterance.options, caller)
            async with aclosing(stream):
                await self._send_utterance(utterance, stream)
        except WebSocketDisconnect:
            return
        except errors.SpeechError as error:
            failure = messages.Failed(describe_speech_error(error), utterance.number)
        except Exception as error:  # noqa: BLE001 - the client must hear of it
            _log.error("socket.failed", exc_info=error)
            failure = messages.Failed(INTERNAL_ERROR, utterance.number)
        else:
            return
        if self._writing is utterance:
            self._writing = None
        await self._send(failure)

    async def _send_utterance(self, utterance: Utterance, stream: SpeechStream) -> None:
        number = utterance.number
        utterance.stream = stream
        name, sample_rate = stream.encoding.format, stream.encoding.sample_rate
        content_type, voice = CONTENT_TYPES[name], stream.params.voice.id
        await self._send(messages.Started(number, name.value, content_type, sample_rate, voice))
        async with running(self._hand_over(utterance, stream.text)) as (writing,):
            async for part in stream:
                if isinstance(part, Caption):
                    times = part.index, part.start_s, part.end_s
                    await self._send(messages.Spoken(number, *times, part.text, part.spoken))
                elif isinstance(part, bytes):
                    try:
                        await self.socket.send_bytes(part)
                    except OSError as error:
                        raise WebSocketDisconnect(detail="the client left") from error
                    utterance.num_bytes += len(part)
                    self._active_at = self._clock.monotonic()
            await writing
        num_samples, usage = utterance.num_samples(), usage_of(stream.report)
        await self._send(messages.Ended(number, num_samples, num_samples / sample_rate, usage))
        utterance.is_over = True

    async def _hand_over(self, utterance: Utterance, text: LiveText) -> None:
        """What is written to who speaks it, to the end; a piece that is refused is left out."""
        message: messages.Written | None = None
        refusal: errors.InputTooLongError | None = None
        try:
            while not isinstance(message, messages.End):
                message = await utterance.next()
                match message:
                    case messages.Text():
                        try:
                            await text.write(message.text)
                        except errors.InputTooLongError as error:
                            refusal = error
                            await self._send(messages.Failed(describe_speech_error(error)))
                    case messages.Flush():
                        await text.flush()
                    case messages.End():
                        await text.finish(refusal)
        finally:
            text.abandon()

    async def _send(self, message: messages.ServerMessage) -> None:
        with suppress(*CLIENT_LEFT):
            await self.socket.send_data(messages.encoder.encode(message), mode="text")


@asynccontextmanager
async def running(*works: Coroutine[Any, Any, Any]) -> AsyncIterator[list[asyncio.Task[Any]]]:
    """A task for each of `works`; at the end of the block they are cancelled and waited for."""
    tasks = [asyncio.create_task(work) for work in works]
    try:
        yield tasks
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


@websocket(LIVE_PATH, opt=LIMITED)
async def live_speech(
    socket: WebSocket[Any, Any, Any], services: NamedDependency[Services]
) -> None:
    """Accept, and serve until the client leaves."""
    await socket.accept(protocol_to_accept(socket.scope["subprotocols"]))
    await LiveSession(socket, services, grant_in(socket.scope)).run()
