"""A server under every kind of client for minutes or hours: `python -m tests.load.soak`.

Random clients, by a seed: whole answers, streams, events, sockets, files that are kept and fetched,
equal requests, slow readers, bad requests, and clients that leave at any moment. Exits 1 if memory
grows after the first quarter, if descriptors or threads do not come back, if the log has an error
that no client caused, or if a file is left half-written.
"""

import argparse
import asyncio
import json
import random
import statistics
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import httpx
from websockets.asyncio.client import connect
from websockets.exceptions import WebSocketException

from tests.load.checks import Check, conclude
from tests.load.exchange import SPEECH, exchange, request_bytes
from tests.load.texts import texts
from tests.load.watch import Sample, Watch
from tests.serving import ServerProcess, server_process, wait_for_status

FORMATS = ("mp3", "opus", "aac", "flac", "wav", "pcm")
WARM_UP_PART = 0.25
MAX_SLOPE_MB_PER_MIN = 1.0
MAX_DRIFT = 2
WARM_UP_S = 20.0
WARM_UP_CLIENTS = 24
"""So many that the server has every thread it will ever have: the pool of its event loop grows
only while all of it is busy."""

SETTLE_S = 8.0
"""Longer than an idle connection is kept."""

ENVIRONMENT = {
    "SOPRANO_CACHE__MAX_BYTES": "5000000",
    "SOPRANO_CACHE__MAX_DISK_BYTES": "5000000",
    "SOPRANO_STORE__MAX_FILES": "50",
    "SOPRANO_LOG__FORMAT": "json",
}
"""Limits that are reached soon, so that what goes on after them is what is measured."""

BAD_BODIES: tuple[bytes, ...] = (
    b"", b"{", b"[]", b'{"input":5}', b'{"input":""}', b'{"input":"a","speed":9}', b"\xff" * 50,
    b'{"input":"a","voice":"nobody"}', b'{"input":"' + b"a" * 5_000 + b'"}',
)  # fmt: skip


class Soak:
    """Clients of one server, by chance.

    Attributes:
        tally: how requests ended, by kind of client and status.
    """

    def __init__(self, url: str, chance: random.Random) -> None:
        self.tally: Counter[str] = Counter()
        self._url = url
        self._chance = chance
        self._texts = texts(chance.randrange(2**32))
        self._kinds: list[tuple[Callable[[], Awaitable[str]], int]] = [
            (self.whole, 4), (self.stream, 6), (self.events, 3), (self.socket, 3), (self.keep, 3),
            (self.repeat, 3), (self.leave, 4), (self.bad, 3), (self.slow, 1), (self.look, 2),
        ]  # fmt: skip

    async def client(self, end: float) -> None:
        """One client after the other until the end."""
        kinds, weights = zip(*self._kinds, strict=True)
        while time.monotonic() < end:
            (kind,) = self._chance.choices(kinds, weights)
            try:
                async with asyncio.timeout(120):
                    outcome = await kind()
            except (OSError, httpx.HTTPError, WebSocketException, TimeoutError) as error:
                outcome = type(error).__name__
            self.tally[f"{kind.__name__} {outcome}"] += 1

    def body(self, **fields: Any) -> dict[str, Any]:
        chosen = self._chance.choice(FORMATS)
        return {"input": next(self._texts), "response_format": chosen, **fields}

    async def whole(self) -> str:
        return await self._ask(self.body(stream=False))

    async def stream(self) -> str:
        return await self._ask(self.body(speed=self._chance.choice([1, 1, 1, 0.5, 2])))

    async def events(self) -> str:
        return await self._ask(self.body(stream_format="sse", captions=True))

    async def repeat(self) -> str:
        text = f"This sentence is asked for again and again, {self._chance.randrange(5)}."
        return await self._ask({"input": text, "response_format": "mp3"})

    async def bad(self) -> str:
        content = self._chance.choice(BAD_BODIES)
        sent = request_bytes(self._url, SPEECH, {}).replace(
            b"content-length: 2", b"content-length: %d" % len(content)
        )
        result, _ = await exchange(self._url, sent.removesuffix(b"{}") + content)
        return str(result.status)

    async def leave(self) -> str:
        sent = request_bytes(self._url, SPEECH, self.body())
        if self._chance.random() < 0.2:
            sent = sent[: self._chance.randrange(len(sent))]
        await exchange(self._url, sent, leave_after_s=self._chance.choice([0.001, 0.02, 0.1, 0.5]))
        return "left"

    async def slow(self) -> str:
        """Reads a little, waits, reads on, and then the rest."""
        async with (
            httpx.AsyncClient(timeout=60) as client,
            client.stream("POST", self._url + SPEECH, json=self.body()) as answer,
        ):
            async for _ in answer.aiter_raw(256):
                await asyncio.sleep(self._chance.random() * 0.02)
            return str(answer.status_code)

    async def look(self) -> str:
        paths = ["/health/ready", "/v1/models", "/metrics", "/v1/audio/voices", "/nope", "/"]
        result, _ = await exchange(self._url, request_bytes(self._url, self._chance.choice(paths)))
        return str(result.status)

    async def keep(self) -> str:
        """A file is kept, fetched in part, maybe removed."""
        async with httpx.AsyncClient(base_url=self._url, timeout=60) as client:
            answer = await client.post(SPEECH, json=self.body(store=True))
            name = answer.headers.get("x-stored-file")
            if name is None:
                return str(answer.status_code)
            path = f"/v1/audio/files/{name}"
            await client.get(path, headers={"range": "bytes=0-99"})
            await client.get(f"{path}/captions.srt")
            if self._chance.random() < 0.5:
                await client.delete(path)
            return "kept"

    async def socket(self) -> str:
        """A text in pieces; sometimes cut off."""
        address = self._url.replace("http", "ws") + "/v1/audio/speech/stream"
        async with connect(address, max_size=None) as connection:
            await connection.send(json.dumps({"type": "configure", "response_format": "opus"}))
            for word in next(self._texts).split(" "):
                await connection.send(json.dumps({"type": "text", "text": f"{word} "}))
            if self._chance.random() < 0.3:
                return "left"
            await connection.send(json.dumps({"type": "end"}))
            async for message in connection:
                if isinstance(message, str):
                    kind = str(json.loads(message)["type"])
                    if kind in {"utterance.ended", "error"}:
                        return kind
        return "closed"

    async def _ask(self, body: dict[str, Any]) -> str:
        result, _ = await exchange(self._url, request_bytes(self._url, SPEECH, body))
        if result.status == 0:
            return result.problem or "no answer"
        return f"{result.status}" if result.is_whole else f"{result.status} cut"


def slope_mb_per_min(samples: list[Sample]) -> float | None:
    """How fast memory grew after the warm-up, by least squares."""
    found = [(each.at_s / 60, each.rss_bytes / 1e6) for each in samples if each.rss_bytes]
    late = found[int(len(found) * WARM_UP_PART) :]
    if len(late) < 2:
        return None
    minutes, megabytes = zip(*late, strict=True)
    return statistics.linear_regression(minutes, megabytes).slope


def errors_in(log_path: Path) -> list[str]:
    """Events that report an error."""
    events = [json.loads(line) for line in log_path.read_text().splitlines() if line]
    return [str(event) for event in events if event.get("level") in {"error", "critical"}]


def temporary_files(*directories: Path) -> list[str]:
    return [
        path.name
        for directory in directories
        for path in directory.rglob(".*")
        if path.name.startswith(".tmp-") or path.name.endswith(".part")
    ]


async def run(server: ServerProcess, given: argparse.Namespace) -> tuple[Soak, Watch, list[Sample]]:
    """Give back the soak, what was watched, and the first and last look at an idle server."""
    chance = random.Random(given.seed)
    soak, watch = Soak(server.url, chance), Watch(server.url, server.pid)
    warm = time.monotonic() + WARM_UP_S  # so that what is made once is there
    await asyncio.gather(*(soak.client(warm) for _ in range(WARM_UP_CLIENTS)))
    soak.tally.clear()
    await asyncio.sleep(SETTLE_S)
    first = await watch.sample()
    watch.samples.clear()
    end = time.monotonic() + given.minutes * 60
    async with watch.watching():
        await asyncio.gather(*(soak.client(end) for _ in range(given.clients)))
    await asyncio.sleep(SETTLE_S)
    last = await watch.sample()
    # Not while only the last clients are still reading.
    watch.samples = [sample for sample in watch.samples if sample.at_s < end]
    return soak, watch, [first, last]


def checks_of(watch: Watch, idle: list[Sample], errors: list[str], left: list[str]) -> list[Check]:
    first, last = idle
    return [
        Check("memory, MB per minute", slope_mb_per_min(watch.samples), MAX_SLOPE_MB_PER_MIN),
        Check("descriptors more than before", drift(first.num_fds, last.num_fds), MAX_DRIFT),
        Check("threads more than before", drift(first.num_threads, last.num_threads), MAX_DRIFT),
        Check("errors in the log", len(errors), 0),
        Check("files left half-written", len(left), 0),
        Check("/health/live that failed", sum(each == float("inf") for each in watch.live_s), 0),
    ]


def drift(before: int | None, after: int | None) -> int | None:
    return None if before is None or after is None else after - before


def main() -> None:
    parser = argparse.ArgumentParser("python -m tests.load.soak", description=__doc__)
    parser.add_argument("--minutes", type=float, default=5.0)
    parser.add_argument("--clients", type=int, default=4)
    parser.add_argument("--model", help="directory of a checkpoint, for the backend onnx in int8")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--json", type=Path, help="file for the figures")
    given = parser.parse_args()
    arguments = ["--backend", "embedded"]
    if given.model:
        arguments = ["--model", given.model, "--precision", "int8"]
    with tempfile.TemporaryDirectory() as name:
        directory = Path(name)
        places = {
            "SOPRANO_STORE__DIRECTORY": str(directory / "store"),
            "SOPRANO_CACHE__DIRECTORY": str(directory / "cache"),
        }
        log_path = directory / "server.log"
        with server_process(log_path, *arguments, environ={**ENVIRONMENT, **places}) as server:
            wait_for_status(f"{server.url}/health/ready")
            soak, watch, idle = asyncio.run(run(server, given))
            left = temporary_files(directory / "store", directory / "cache")
        errors = errors_in(log_path)
    for kind, number in sorted(soak.tally.items()):
        print(f"{number:>8}  {kind}")
    for error in errors[:20]:
        print(error)
    figures = {
        "tally": dict(soak.tally),
        "idle": [_plain(each) for each in idle],
        "busy": [_plain(each) for each in watch.samples],
    }
    sys.exit(conclude(checks_of(watch, idle, errors, left), figures, given.json))


def _plain(sample: Sample) -> dict[str, Any]:
    return {name: getattr(sample, name) for name in sample.__struct_fields__}


if __name__ == "__main__":
    main()
