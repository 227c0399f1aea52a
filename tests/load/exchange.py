"""One request on a connection of its own, timed piece by piece; cheap, to be made by the hundred.

The body is not taken apart: chunks of chunked coding count as they come, their framing taken off by
rule. That is exact to a few bytes, and leaves the processor to the server.
"""

import asyncio
import json
import time
from collections.abc import Mapping
from contextlib import suppress
from typing import Any, Final
from urllib.parse import urlsplit

import msgspec

SPEECH: Final = "/v1/audio/speech"
PCM_BYTES_PER_S: Final = 48_000
LAST_CHUNK: Final = b"0\r\n\r\n"
FRAMING_BYTES: Final = 8
"""Around each chunk: its size in hexadecimal digits, and two line ends."""


class Exchange(msgspec.Struct):
    """What became of a request; times in seconds.

    Attributes:
        started: on the clock of this process.
        status: 0 if there was no answer.
        head_s: until the head of the answer.
        first_s: until its first bytes.
        total_s: until its end.
        num_bytes: of the body, about.
        largest_gap_s: between two arrivals.
        waited_s: for how long a listener at normal pace, of raw audio, would have heard nothing.
        is_whole: the body ended as it should.
        retry_after_s: as told; None if it was not.
        problem: why there is no answer.
    """

    started: float
    status: int = 0
    head_s: float = 0.0
    first_s: float = 0.0
    total_s: float = 0.0
    num_bytes: int = 0
    largest_gap_s: float = 0.0
    waited_s: float = 0.0
    is_whole: bool = False
    retry_after_s: float | None = None
    problem: str = ""

    @property
    def is_spoken(self) -> bool:
        """Answered with all of its audio."""
        return self.status == 200 and self.is_whole

    @property
    def audio_s(self) -> float:
        """Playing time, of raw audio."""
        return self.num_bytes / PCM_BYTES_PER_S


def request_bytes(
    url: str,
    path: str,
    body: Mapping[str, Any] | None = None,
    headers: Mapping[str, str] | None = None,
) -> bytes:
    """A request after which the connection is closed."""
    content = b"" if body is None else json.dumps(body).encode()
    lines = [
        f"{'GET' if body is None else 'POST'} {path} HTTP/1.1",
        f"host: {urlsplit(url).netloc}",
    ]
    lines += ["connection: close", "content-type: application/json"]
    lines += [f"content-length: {len(content)}"] if body is not None else []
    lines += [f"{name}: {value}" for name, value in (headers or {}).items()]
    return "\r\n".join(lines).encode() + b"\r\n\r\n" + content


async def exchange(
    url: str, sent: bytes, *, timeout_s: float = 180.0, leave_after_s: float | None = None
) -> tuple[Exchange, bytes]:
    """Send and take what comes; the first part of the body comes back with it.

    `leave_after_s` hangs up so long after the request.
    """
    address = urlsplit(url)
    loop = asyncio.get_running_loop()
    protocol = _Listener(sent, loop.create_future())
    try:
        transport, _ = await loop.create_connection(
            lambda: protocol, address.hostname or "", address.port or 80
        )
    except OSError as error:
        protocol.result.problem = type(error).__name__
        return protocol.result, b""
    try:
        await asyncio.wait({protocol.done}, timeout=leave_after_s or timeout_s)
        if not protocol.done.done() and leave_after_s is None:
            protocol.result.problem = "timeout"
    finally:
        transport.abort()
    protocol.end()
    return protocol.result, bytes(protocol.beginning)


class _Listener(asyncio.Protocol):
    """Sends one request, and notes when what arrives."""

    def __init__(self, sent: bytes, done: "asyncio.Future[None]") -> None:
        self.done = done
        self.result = Exchange(time.monotonic())
        self.beginning = bytearray()
        self._sent = sent
        self._head: bytes | None = b""
        self._length: int | None = None
        self._last_at = 0.0
        self._tail = b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.WriteTransport)
        transport.write(self._sent)

    def data_received(self, data: bytes) -> None:
        now = time.monotonic()
        if self._head is None:
            self._take(now, data)
            return
        self._head += data
        head, end, rest = self._head.partition(b"\r\n\r\n")
        if end:
            self._head = None
            self._read_head(now, head)
            if rest:
                self._take(now, rest)

    def connection_lost(self, exc: Exception | None) -> None:
        if exc is not None:
            self.result.problem = type(exc).__name__
        self.end()
        if not self.done.done():
            self.done.set_result(None)

    def end(self) -> None:
        """Nothing more comes."""
        result = self.result
        if not result.total_s:
            result.total_s = time.monotonic() - result.started
        if self._length is None:
            result.is_whole = self._tail == LAST_CHUNK
        else:
            result.is_whole = result.num_bytes == self._length

    def _read_head(self, now: float, head: bytes) -> None:
        result = self.result
        first, *lines = head.split(b"\r\n")
        result.status = int(first.split()[1])
        result.head_s = now - result.started
        for line in lines:
            name, _, value = line.partition(b": ")
            if name == b"content-length":
                self._length = int(value)
            elif name == b"retry-after":
                with suppress(ValueError):
                    result.retry_after_s = float(value)

    def _take(self, now: float, data: bytes) -> None:
        result = self.result
        if not result.num_bytes:
            result.first_s = now - result.started
        else:
            result.largest_gap_s = max(result.largest_gap_s, now - self._last_at)
        played_s = now - result.started - result.first_s - result.waited_s
        result.waited_s += max(0.0, played_s - result.audio_s)
        self._last_at = now
        if len(self.beginning) < 2_000:
            self.beginning += data
        self._tail = (self._tail + data)[-len(LAST_CHUNK) :]
        framing = FRAMING_BYTES if self._length is None else 0
        is_end = self._length is None and data == LAST_CHUNK
        if not is_end:
            result.num_bytes += max(1, len(data) - framing)
