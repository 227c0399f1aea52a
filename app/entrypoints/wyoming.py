"""The Wyoming protocol, in which Home Assistant asks for speech: events in JSON, with sound behind.

Needs the package of the same name (the extra `wyoming`).
"""

import asyncio
import socket
from collections.abc import Callable, Coroutine
from contextlib import aclosing, suppress
from importlib.metadata import version
from ipaddress import ip_address
from typing import TYPE_CHECKING, Any, Final, cast

import msgspec
import structlog
from wyoming.audio import AudioChunk, AudioStart, AudioStop
from wyoming.error import Error
from wyoming.event import Event, Eventable, async_read_event, async_write_event
from wyoming.info import Attribution, Info, TtsProgram, TtsVoice
from wyoming.ping import Pong
from wyoming.tts import SynthesizeStopped, SynthesizeVoice

from app.domain.audio import AudioFormat
from app.domain.errors import InvalidRequestError, SpeechError
from app.domain.services.speech_stream import SpeechStream
from app.domain.speech import SpeechOptions, SpeechRequest
from app.entrypoints.connections import ConnectionLimits, QuotaShare, WriteWatch, abort
from app.entrypoints.services import Services

if TYPE_CHECKING:
    from zeroconf.asyncio import AsyncZeroconf

NAME: Final = "soprano"
SERVICE: Final = "_wyoming._tcp.local."  # as Home Assistant looks for it in its network
MDNS_GROUP: Final = ("224.0.0.251", 5353)  # RFC 6762, section 3
WIDTH: Final = 2  # bytes of a sample
NUM_CHANNELS: Final = 1
AUTHOR: Final = Attribution("", "")
FAULTY_EVENT: Final = "The event is not as Wyoming has it."

_log = structlog.get_logger(__name__)


class EventReader(asyncio.StreamReader):
    """Refuses what is larger than `max_bytes`, or more than there is room for in `part`.

    Calls `on_end` when the client has left, or is refused.
    """

    def __init__(self, max_bytes: int, part: QuotaShare) -> None:
        super().__init__(max_bytes)
        self._max_bytes = max_bytes
        self._part = part
        self._num_bytes = 0  # that have come since the last whole event
        self.on_end: Callable[[], object] = lambda: None
        # since when an event is waited for, in seconds of the event loop; None while one is served
        self.waits_since: float | None = None

    @property
    def has_part(self) -> bool:
        """Whether an event has begun to come that is not whole."""
        return self._num_bytes > 0

    def feed_data(self, data: Any) -> None:
        """Take what has come (bytes); what is too much for all clients together ends this one."""
        if not self.has_part and self.waits_since is not None:
            self.waits_since = asyncio.get_running_loop().time()
        self._num_bytes += len(data)
        super().feed_data(data)
        if not self._part.resize(self._num_bytes):
            self.on_end()

    async def readexactly(self, n: int) -> bytes:
        """As that of asyncio; raises ValueError as well."""
        if n > self._max_bytes:
            raise ValueError(n)
        return await super().readexactly(n)

    def forget(self) -> None:
        """Nothing of what has come counts any more."""
        self._part.resize(0)

    def feed_eof(self) -> None:
        """There will be no more."""
        super().feed_eof()
        self.on_end()

    def set_exception(self, exc: Exception) -> None:
        """There will be no more: the connection was reset."""
        super().set_exception(exc)
        self.on_end()

    async def next(self) -> Event | None:
        """The next event; None at the end, or if it is none."""
        self.waits_since = asyncio.get_running_loop().time()
        try:
            event = await async_read_event(self)
        except (AttributeError, KeyError, TypeError, EOFError, RecursionError, ConnectionError):
            return None
        finally:
            self.waits_since = None
            self._num_bytes = len(self._buffer)  # type: ignore[attr-defined] # of the next ones
            self._part.resize(self._num_bytes)
        return event if event is not None and isinstance(event.data, dict) else None


class WyomingConnection:
    """A client; the server counts it among its connections."""

    def __init__(
        self,
        services: Services,
        reader: EventReader,
        writer: asyncio.StreamWriter,
        limits: ConnectionLimits,
    ) -> None:
        self._services = services
        self._reader = reader
        self._writer = writer
        self._limits = limits
        self._writes = WriteWatch(limits.write_stall_s)
        self._sent_at = 0.0
        self._live: SpeechStream | None = None  # of a text that is being written
        self._speaking: asyncio.Task[None] | None = None
        self._serving = asyncio.current_task()
        reader.on_end = self.cut

    @property
    def transport(self) -> asyncio.Transport:
        """What it is sent over."""
        return cast("asyncio.Transport", self._writer.transport)

    @property
    def is_busy(self) -> bool:
        """Whether speech has been asked for, or is not yet on its way."""
        return self._speaking is not None or self._num_unsent_bytes > 0

    @property
    def _num_unsent_bytes(self) -> int:
        return self._writer.transport.get_write_buffer_size()

    def check(self, now: float) -> None:
        """End it if its client takes nothing, sends an event too slowly, or nothing at all."""
        waits_since, limits = self._reader.waits_since, self._limits
        if self._writes.is_stalled(self._num_unsent_bytes, now):
            abort(self.transport)
        elif waits_since is not None and self._reader.has_part:
            if now - waits_since >= limits.header_timeout_s:
                self.cut()
        elif waits_since is not None and now - max(waits_since, self._sent_at) >= limits.idle_s:
            self.cut()

    def cut(self) -> None:
        """End it, whatever goes on."""
        if self._serving is not None:
            self._serving.cancel()

    shutdown = cut

    async def run(self) -> None:
        """Serve until the client leaves, or what it asks for fails; return when all is sent.

        Home Assistant waits for the end of its speech or of the connection, whatever is said.
        """
        error: BaseException | None = None
        try:
            while (event := await self._reader.next()) is not None:
                await self._handle(event)
        except (Exception, asyncio.CancelledError) as failure:  # noqa: BLE001 - see below
            error = failure
        if self._speaking is not None:
            self._speaking.cancel()
            (found,) = await asyncio.gather(self._speaking, return_exceptions=True)
            error = found if isinstance(found, SpeechError) else error
            self._speaking = None
        if isinstance(error, SpeechError):
            with suppress(ConnectionError):
                await self._send(Error(str(error), error.code))
        elif error is not None and not isinstance(error, asyncio.CancelledError | ConnectionError):
            _log.error("wyoming.failed", exc_info=error)
        self._writer.close()
        with suppress(ConnectionError, asyncio.CancelledError):  # or it was cut
            await self._writer.wait_closed()

    async def _handle(self, event: Event) -> None:
        match event.type:
            case "describe":
                await self._send(self._describe())
            case "ping":
                await self._send(Pong(event.data.get("text")))
            case "synthesize" if self._live is None:  # else it is there for older servers
                options = msgspec.structs.asdict(self._options(event))
                self._begin(self._speak(SpeechRequest(text=_text(event), **options)))
                await self._spoken()
            case "synthesize-start" if self._live is None:
                self._services.intake.check()
                self._live = await self._services.speech.start_live(self._options(event))
                self._begin(self._send_speech(self._live))
            case "synthesize-chunk" if self._live is not None:
                await self._live.text.write(_text(event))
            case "synthesize-stop" if self._live is not None:
                await self._live.text.finish()
                await self._spoken()
                self._live = None
                await self._send(SynthesizeStopped())
            case _:
                pass

    def _begin(self, speaking: Coroutine[Any, Any, None]) -> None:
        def end(task: asyncio.Task[None]) -> None:
            if not task.cancelled() and task.exception() is not None:
                self.cut()  # even if it waits for more text

        self._speaking = asyncio.create_task(speaking)
        self._speaking.add_done_callback(end)

    async def _spoken(self) -> None:
        if self._speaking is not None:
            await self._speaking
            self._speaking = None

    async def _speak(self, request: SpeechRequest) -> None:
        self._services.intake.check()
        await self._send_speech(await self._services.speech.start(request))

    async def _send_speech(self, stream: SpeechStream) -> None:
        """All of it; without its end if it breaks off, so that nobody takes it for whole."""
        rate = stream.encoding.sample_rate
        async with aclosing(stream):
            await self._send(AudioStart(rate, WIDTH, NUM_CHANNELS))
            async for part in stream:
                if isinstance(part, bytes):
                    await self._send(AudioChunk(rate, WIDTH, NUM_CHANNELS, part))
            await self._send(AudioStop())

    async def _send(self, event: Eventable) -> None:
        self._sent_at = asyncio.get_running_loop().time()
        await async_write_event(event.event(), self._writer)

    def _options(self, event: Event) -> SpeechOptions:
        try:
            voice = SynthesizeVoice.from_dict(event.data.get("voice") or {})
        except TypeError:
            raise InvalidRequestError(FAULTY_EVENT) from None
        name = voice.name if voice is not None else None
        rate = self._services.speech.catalog.info.sample_rate
        if not (name is None or isinstance(name, str)):
            raise InvalidRequestError(FAULTY_EVENT)
        return SpeechOptions(format=AudioFormat.PCM, sample_rate=rate, voice=name)

    def _describe(self) -> Info:
        catalog, number = self._services.speech.catalog, version("soprano-tts-api")
        voices = [
            TtsVoice(
                name=voice.id,
                attribution=AUTHOR,
                installed=True,
                description=voice.name,
                version=number,
                languages=[voice.language],
            )
            for voice in catalog.info.voices
        ]
        program = TtsProgram(
            name=NAME,
            attribution=AUTHOR,
            installed=True,
            description=f"Soprano TTS API ({catalog.info.id})",
            version=number,
            voices=voices,
            supports_synthesize_streaming=True,
        )
        return Info(tts=[program])


def _text(event: Event) -> str:
    text = event.data.get("text")
    if not isinstance(text, str):
        raise InvalidRequestError(FAULTY_EVENT)
    return text


async def listen(
    services: Services,
    listener: socket.socket,
    connections: set[Any],
    limits: ConnectionLimits,
    *,
    max_event_bytes: int,
) -> asyncio.Server:
    """Serve on a bound socket; each client is in `connections` while it is there."""

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if len(connections) >= limits.max_connections:
            abort(cast("asyncio.Transport", writer.transport))
            return
        connection = WyomingConnection(services, cast("EventReader", reader), writer, limits)
        connections.add(connection)
        try:
            await connection.run()
        except asyncio.CancelledError:
            pass  # cut once more at its end; asyncio would log that of a connection's task
        finally:
            writer.close()
            connections.discard(connection)
            cast("EventReader", reader).forget()

    loop = asyncio.get_running_loop()
    return await loop.create_server(
        lambda: asyncio.StreamReaderProtocol(
            EventReader(max_event_bytes, QuotaShare(limits.unfinished)), serve
        ),
        sock=listener,
    )


async def announce(host: str, port: int) -> "AsyncZeroconf | None":
    """Tell the local network by mDNS, until it is closed; not if only this machine can connect."""
    from zeroconf import Error as ZeroconfError  # noqa: PLC0415 - runs programs when it is imported
    from zeroconf.asyncio import AsyncServiceInfo, AsyncZeroconf  # noqa: PLC0415

    address = ip_address(host)
    if address.is_loopback:
        return None
    try:
        zeroconf = AsyncZeroconf()
    except OSError as error:  # no network
        _log.warning("server.not_announced", reason=str(error))
        return None
    try:
        own = [_own_address() if address.is_unspecified else host]
        info = AsyncServiceInfo(
            SERVICE, f"{NAME}-{port}.{SERVICE}", port=port, parsed_addresses=own
        )
        await zeroconf.async_register_service(info, allow_name_change=True)
    except (OSError, ZeroconfError) as error:
        _log.warning("server.not_announced", reason=str(error))
        await zeroconf.async_close()
        return None
    return zeroconf


def _own_address() -> str:
    """From which this machine would reach others; nothing is sent."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        probe.connect(MDNS_GROUP)
        return str(probe.getsockname()[0])
