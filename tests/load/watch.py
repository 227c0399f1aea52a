"""How the server fares meanwhile: health, queue, memory; and how late we are ourselves."""

import asyncio
import re
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path

import msgspec
import psutil

from tests.load.exchange import exchange, request_bytes

PROBE_EVERY_S = 0.1
SAMPLE_EVERY_S = 0.5


class Sample(msgspec.Struct):
    """The server at one moment; what could not be read is None."""

    at_s: float
    rss_bytes: int | None = None
    num_fds: int | None = None
    num_threads: int | None = None
    num_queued: float | None = None
    num_running: float | None = None


class Watch:
    """What was seen.

    Attributes:
        live_s: answers of /health/live, in seconds; a failure is infinite.
        samples: of the process and its metrics, oldest first.
        lags_s: by how much our own event loop was late; latencies are no better than that.
    """

    def __init__(self, url: str, pid: int | None) -> None:
        self.live_s: list[float] = []
        self.samples: list[Sample] = []
        self.lags_s: list[float] = []
        self._url = url
        self._process = psutil.Process(pid) if pid else None

    @asynccontextmanager
    async def watching(self) -> AsyncIterator[None]:
        """Look all the while."""
        tasks = [asyncio.create_task(each()) for each in (self._probe, self._sample_on, self._lag)]
        try:
            yield
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

    def most(self, field: str) -> float | None:
        """The largest value of a field of the samples."""
        values = [getattr(sample, field) for sample in self.samples]
        return max((value for value in values if value is not None), default=None)

    async def sample(self) -> Sample:
        """Look once."""
        sample = Sample(time.monotonic())
        if self._process is not None:
            with suppress(psutil.Error, OSError):
                sample.rss_bytes = self._process.memory_info().rss
                sample.num_fds = self._process.num_fds()
                sample.num_threads = self._process.num_threads()
        page = await self._metrics()
        sample.num_queued = _value_of("soprano_queue_requests", page)
        sample.num_running = _value_of("soprano_running_requests", page)
        self.samples.append(sample)
        return sample

    async def _metrics(self) -> str:
        sent = request_bytes(self._url, "/metrics")
        reader, writer = await asyncio.open_connection(*_address(self._url))
        try:
            writer.write(sent)
            return (await asyncio.wait_for(reader.read(-1), 10)).decode(errors="replace")
        except (OSError, TimeoutError):
            return ""
        finally:
            writer.close()

    async def _probe(self) -> None:
        while True:
            got, _ = await exchange(
                self._url, request_bytes(self._url, "/health/live"), timeout_s=10.0
            )
            self.live_s.append(got.head_s if got.status == 200 else float("inf"))
            await asyncio.sleep(PROBE_EVERY_S)

    async def _sample_on(self) -> None:
        while True:
            with suppress(OSError):
                await self.sample()
            await asyncio.sleep(SAMPLE_EVERY_S)

    async def _lag(self) -> None:
        while True:
            before = time.monotonic()
            await asyncio.sleep(0.02)
            self.lags_s.append(time.monotonic() - before - 0.02)


def _address(url: str) -> tuple[str, int]:
    host, _, port = url.removeprefix("http://").rstrip("/").partition(":")
    return host, int(port or 80)


def _value_of(metric: str, page: str) -> float | None:
    """The sum over all labels; None if the server has no such metric."""
    values = re.findall(rf"^{metric}(?:\{{[^}}]*\}})? (\S+)", page, re.MULTILINE)
    return sum(map(float, values)) if values else None


def num_log_errors(path: Path) -> int:
    """Lines of a JSON log that report an error."""
    return sum('"level":"error"' in line.replace(" ", "") for line in path.open())
