"""One connection of the speech socket: a reader that never waits for sound, and a speaker.

The reader takes every message at once, so that a cancel is heard while speech is made and sent.
The speaker sends one utterance after the other; it waits for the client to read.
"""

import asyncio
from collections import deque
from contextlib import aclosing, suppress
from typing import Any, Final

import msgspec
import structlog
from litestar import WebSocket, websocket
from litestar.di import NamedDependency
from litestar.exceptions import WebSocketDisconnect

from app.domain.admission import Caller
from app.domain.audio import AudioFormat
from app.domain.captions import Caption
from app.domain.errors import (
    InputTooLongError,
    InvalidApiKeyError,
    ServerDrainingError,
    SpeechError,
)
from app.domain.services.access_control import Grant
from app.domain.services.lifecycle import Intake
from app.domain.services.prefetch import LiveText
from app.domain.services.speech import LiveSpeech, SpeechService
from app.domain.services.speech_stream import SpeechStream
from app.domain.speech import SpeechOptions
from app.entrypoints.http.access import LIMITED, grant_in, protocol_to_accept
from app.entrypoints.http.errors import (
    INTERNAL_ERROR,
    POLICY_VIOLATION,
    HttpError,
    describe_decode_error,
    describe_speech_error,
)
from app.entrypoints.http.schemas import CONTENT_TYPES, ErrorDetail
from app.entrypoints.http.sse import usage_of
from app.entrypoints.http.tasks import first_of, running
from app.entrypoints.http.websocket_messages import (
    Cancel,
    Cancelled,
    ClientMessage,
    Configure,
    End,
    Ended,
    Failed,
    Flush,
    Ping,
    Pong,
    Ready,
    ServerMessage,
    Spoken,
    Started,
    Text,
    client_messages,
    server_messages,
)
from app.ports.clock import Clock

LIVE_PATH: Final = "/v1/audio/speech/stream"
BYTES_PER_SAMPLE: Final = 2

MAX_WAITING_UTTERANCES: Final = 16
"""Written and not spoken, on one socket."""

CLOSE_IDLE: Final = 1000
IDLE: Final = "idle"
CLOSE_RESTART: Final = 1012
"""Service restart, in the IANA registry of closing codes."""

FAREWELL_S: Final = 1.0
"""Given to a client that reads nothing to take the last message."""

CLIENT_LEFT: Final = (WebSocketDisconnect, OSError)
"""What the socket raises then; of speech, an OSError is a failure."""

_log = structlog.get_logger(__name__)


class LiveLimits(msgspec.Struct, frozen=True):
    """What one connection may take.

    Attributes:
        max_chars: of an utterance that wait to be spoken.
        idle_s: seconds without a message or sound after which it is closed.
    """

    max_chars: int
    idle_s: float


class Utterance:
    """Takes text from the reader of the socket, for the task that synthesizes it.

    Args:
        number: of the utterance on its socket.
        options: how it is spoken.
        max_chars: that may wait here, in code points.

    Attributes:
        has_ended: whether all that was written has been handed on.
        is_over: whether the client was told that the file is whole.
    """

    def __init__(self, number: int, options: SpeechOptions, max_chars: int) -> None:
        self.number = number
        self.options = options
        self.has_ended = False
        self.is_over = False
        self._max_chars = max_chars
        self._num_waiting_chars = 0
        self._last: Text | Flush | End | None = None
        self._written: asyncio.Queue[Text | Flush | End] = asyncio.Queue()
        self._stream: SpeechStream | None = None
        self._num_bytes = 0

    def write(self, message: Text | Flush | End) -> None:
        """Take what was written; raises InputTooLongError, and then has taken nothing."""
        if message == Text("") or message == self._last == Flush():
            return  # says nothing, and would only fill the memory
        if isinstance(message, Text):
            num_waiting = self._num_waiting_chars + len(message.text)
            if num_waiting > self._max_chars:
                raise InputTooLongError(num_waiting, self._max_chars)
            self._num_waiting_chars = num_waiting
        self._last = message
        self._written.put_nowait(message)

    async def hand_next(self, text: LiveText) -> None:
        """Hand the next thing written to `text`.

        Raises:
            InputTooLongError: too much of it is not spoken yet; these characters are lost.
        """
        match await self._written.get():
            case Text(text=piece):
                self._num_waiting_chars -= len(piece)
                await text.write(piece)
            case Flush():
                await text.flush()
            case End():
                self.has_ended = True
                await text.finish()

    def sends(self, stream: SpeechStream) -> None:
        """Note what it is spoken by."""
        self._stream = stream

    def sent(self, part: bytes) -> None:
        """Note that a part of the file has been sent."""
        self._num_bytes += len(part)

    def num_samples(self) -> int:
        """Samples sent: counted where the format shows them, else those the encoder has taken."""
        if self._stream is None:
            return 0
        encoding, head = self._stream.encoding, len(self._stream.head())
        if encoding.format in (AudioFormat.PCM, AudioFormat.WAV):
            return max(0, self._num_bytes - head) // BYTES_PER_SAMPLE
        return round(self._stream.report.audio_s * encoding.sample_rate) if self._num_bytes else 0

    def describe_cancel(self) -> Cancelled:
        """Where it broke off."""
        if self._stream is None:
            return Cancelled(self.number)
        stream, num_samples = self._stream, self.num_samples()
        return Cancelled(
            self.number,
            num_samples,
            num_samples / self._stream.encoding.sample_rate,
            " ".join(caption.text for caption in stream.captions),
            stream.current_segment.text if stream.current_segment else "",
        )


class LiveSession:
    """Serves one accepted socket.

    Args:
        socket: the connection.
        speech: speaks.
        clock: of the idle limit.
        limits: on it.
        intake: shut before the server ends.
        grant: what the client may do with its key; None if it needs none.
    """

    def __init__(
        self,
        socket: WebSocket[Any, Any, Any],
        speech: SpeechService,
        clock: Clock,
        limits: LiveLimits,
        intake: Intake,
        grant: Grant | None,
    ) -> None:
        self._socket = socket
        self._speech = speech
        self._caller = Caller(grant.name if grant else None)
        self._clock = clock
        self._limits = limits
        self._intake = intake
        self._grant = grant
        self._options = SpeechOptions(format=AudioFormat.PCM)
        self._waiting: deque[Utterance] = deque()
        self._has_waiting = asyncio.Event()
        self._is_free = asyncio.Event()
        self._writing: Utterance | None = None
        self._speaking: tuple[Utterance, asyncio.Task[None]] | None = None
        self._num_utterances = 0
        self._is_rejected = False
        self._active_at = clock.monotonic()

    async def run(self) -> None:
        """Serve until the client leaves, is idle or loses its key, or the server ends."""
        info = self._speech.catalog.info
        await self._send(Ready(info.id, info.backend))
        works = self._speak_all(), self._read_all(), self._wait_until_drained()
        async with running(*works) as (_, reader, draining):
            revoked = [self._grant.revoked] if self._grant else []
            await first_of(reader, draining, *revoked)
            if any(each.done() for each in revoked):
                reader.cancel()
                await self._close(InvalidApiKeyError(), POLICY_VIOLATION)
            elif draining.done():
                reader.cancel()
                await self._close(ServerDrainingError(), CLOSE_RESTART)
            else:
                reader.result()

    async def _wait_until_drained(self) -> None:
        """Return when the server ends, and all is spoken that was written, or no time is left."""
        await self._intake.wait_until_draining()
        async with running(self._is_free.wait(), self._intake.wait_until_over()) as (free, over):
            await first_of(free, over)

    # The reader.

    async def _read_all(self) -> None:
        # Here and not where it is waited for: what was raised would hold the frame that holds it.
        with suppress(*CLIENT_LEFT):
            while (frame := await self._receive()) is not None:
                try:
                    await self._handle(_decode(frame))
                except SpeechError as error:
                    await self._send(Failed(describe_speech_error(error)))
            await self._close_idle()

    async def _receive(self) -> dict[str, Any] | None:
        """The next frame; None once the connection is idle."""
        receiving = asyncio.ensure_future(self._socket.receive())
        try:
            while not receiving.done():
                rest_s = self._active_at + self._limits.idle_s - self._clock.monotonic()
                if rest_s <= 0:
                    return None
                await self._wait(receiving, rest_s)
        finally:
            receiving.cancel()
            await asyncio.gather(receiving, return_exceptions=True)
        frame: dict[str, Any] = dict(receiving.result())
        if frame["type"] != "websocket.receive":
            raise WebSocketDisconnect(detail="the client left")
        self._active_at = self._clock.monotonic()
        return frame

    async def _wait(self, work: asyncio.Future[Any], duration_s: float) -> None:
        """Return when `work` is done, or after the time."""
        timer = asyncio.ensure_future(self._clock.sleep(duration_s))
        await asyncio.wait({work, timer}, return_when=asyncio.FIRST_COMPLETED)
        timer.cancel()
        await asyncio.gather(timer, return_exceptions=True)

    async def _close_idle(self) -> None:
        message = f"Nothing was written or spoken for {self._limits.idle_s:g} seconds."
        detail = ErrorDetail(message=message, type="invalid_request_error", code="idle_timeout")
        await self._leave(Failed(detail), CLOSE_IDLE, IDLE)

    async def _close(self, error: SpeechError, code: int) -> None:
        cut = self._speaking[0].number if self._speaking else None
        await self._leave(Failed(describe_speech_error(error), cut), code, error.code)

    async def _leave(self, message: Failed, code: int, reason: str) -> None:
        await self._cancel()
        async with running(self._say_goodbye(message, code, reason)) as (leaving,):
            await self._wait(leaving, FAREWELL_S)

    async def _say_goodbye(self, message: Failed, code: int, reason: str) -> None:
        await self._send(message)
        with suppress(*CLIENT_LEFT):
            await self._socket.close(code, reason)

    async def _handle(self, message: ClientMessage) -> None:
        match message:
            case Configure():
                self._configure(message)
            case Text():
                self._write(message)
            case Flush() | End():
                self._end_or_flush(message)
            case Cancel():
                await self._send(await self._cancel())
            case Ping():
                await self._send(Pong(message.id))

    def _configure(self, message: Configure) -> None:
        options = message.to_options(AudioFormat.PCM)
        self._speech.catalog.check_model(options.model)
        self._speech.catalog.find_voice(options.voice)
        self._options = options

    def _write(self, message: Text) -> None:
        if self._writing is not None:
            self._writing.write(message)
        elif not self._is_rejected:
            self._begin(message)

    def _begin(self, message: Text) -> None:
        utterance = Utterance(self._num_utterances + 1, self._options, self._limits.max_chars)
        utterance.write(message)
        try:
            self._admit()
        except SpeechError:
            self._is_rejected = True  # to its end: nobody wants to hear the second half of a text
            raise
        self._num_utterances += 1
        self._writing = utterance
        self._waiting.append(utterance)
        self._is_free.clear()
        self._has_waiting.set()

    def _admit(self) -> None:
        """Return if another utterance may begin, which then counts."""
        self._intake.check()
        if len(self._waiting) >= MAX_WAITING_UTTERANCES:
            raise HttpError("too_many_utterances", limit=MAX_WAITING_UTTERANCES)
        if self._grant is not None:
            self._grant.count_request()

    def _end_or_flush(self, message: Flush | End) -> None:
        if self._writing is not None:
            self._writing.write(message)
        if isinstance(message, End):
            self._writing = None
            self._is_rejected = False

    async def _cancel(self) -> Cancelled:
        self._writing = None
        self._is_rejected = False
        self._waiting.clear()
        if self._speaking is None:
            return Cancelled()
        utterance, task = self._speaking
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        return Cancelled() if utterance.is_over else utterance.describe_cancel()

    # The speaker.

    async def _speak_all(self) -> None:
        while True:
            while not self._waiting:
                self._is_free.set()
                self._has_waiting.clear()
                await self._has_waiting.wait()
            utterance = self._waiting.popleft()
            task = asyncio.create_task(self._speak(utterance))
            self._speaking = utterance, task
            try:
                await asyncio.wait({task})
            finally:
                task.cancel()
                await asyncio.gather(task, return_exceptions=True)
                self._speaking = None

    async def _speak(self, utterance: Utterance) -> None:
        try:
            live = await self._speech.start_live(utterance.options, self._caller)
            async with aclosing(live.stream):
                await self._send_utterance(utterance, live)
        except WebSocketDisconnect:
            pass
        except SpeechError as error:
            await self._break_off(utterance, describe_speech_error(error))
        except Exception as error:  # noqa: BLE001 - the client must hear of it
            _log.error("socket.failed", exc_info=error)
            await self._break_off(utterance, INTERNAL_ERROR)

    async def _break_off(self, utterance: Utterance, detail: ErrorDetail) -> None:
        if self._writing is utterance:
            self._writing = None
        await self._send(Failed(detail, utterance.number))

    async def _send_utterance(self, utterance: Utterance, live: LiveSpeech) -> None:
        stream = live.stream
        utterance.sends(stream)
        encoding = stream.encoding
        await self._send(
            Started(
                utterance.number,
                encoding.format.value,
                CONTENT_TYPES[encoding.format],
                encoding.sample_rate,
                stream.params.voice.id,
            )
        )
        writing = asyncio.create_task(self._hand_over(utterance, live.text))
        try:
            async for part in stream:
                if isinstance(part, Caption):
                    await self._send(_spoken(utterance, part))
                elif isinstance(part, bytes):
                    await self._send_sound(part)
                    utterance.sent(part)
                    self._active_at = self._clock.monotonic()
            await writing
        finally:
            writing.cancel()
            await asyncio.gather(writing, return_exceptions=True)
        num_samples = utterance.num_samples()
        audio_s = num_samples / encoding.sample_rate
        await self._send(Ended(utterance.number, num_samples, audio_s, usage_of(stream.report)))
        utterance.is_over = True

    async def _hand_over(self, utterance: Utterance, text: LiveText) -> None:
        """What is written to who speaks it, to the end."""
        try:
            while not utterance.has_ended:
                try:
                    await utterance.hand_next(text)
                except InputTooLongError as error:
                    await self._send(Failed(describe_speech_error(error)))
        finally:
            text.abandon()

    async def _send_sound(self, part: bytes) -> None:
        try:
            await self._socket.send_bytes(part)
        except OSError as error:
            raise WebSocketDisconnect(detail="the client left") from error

    async def _send(self, message: ServerMessage) -> None:
        with suppress(*CLIENT_LEFT):
            await self._socket.send_data(server_messages.encode(message), mode="text")


def _spoken(utterance: Utterance, caption: Caption) -> Spoken:
    return Spoken(
        utterance.number,
        caption.index,
        caption.start_s,
        caption.end_s,
        caption.text,
        caption.spoken,
    )


def _decode(frame: dict[str, Any]) -> ClientMessage:
    """The message in a frame; raises MalformedBodyError."""
    try:
        message: ClientMessage = client_messages.decode(
            frame.get("text") or frame.get("bytes") or b""
        )
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise describe_decode_error(error) from error
    return message


@websocket(LIVE_PATH, opt=LIMITED)
async def live_speech(
    socket: WebSocket[Any, Any, Any],
    speech: NamedDependency[SpeechService],
    clock: NamedDependency[Clock],
    live_limits: NamedDependency[LiveLimits],
    intake: NamedDependency[Intake],
) -> None:
    """Accept, and serve until the client leaves."""
    await socket.accept(protocol_to_accept(socket.scope["subprotocols"]))
    grant = grant_in(socket.scope)
    await LiveSession(socket, speech, clock, live_limits, intake, grant).run()
