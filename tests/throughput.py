"""What keys, metrics and the store cost: eight clients of a plain server and of one with all three.

`python -m tests.throughput CHECKPOINT` runs both in turn, on the same machine in the same minutes,
and prints the seconds of audio per second of each and their ratio. Not a test: it measures.
"""

import argparse
import asyncio
import statistics
import tempfile
import time
from collections.abc import Mapping
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import httpx

from tests.serving import WITHOUT_CACHE, ServerProcess, server_process, wait_for_status

NUM_CLIENTS = 8
KEY = "key-of-the-throughput-measurement"
TEXT = " ".join(
    f"This is sentence number {number} of a text that is measured." for number in range(4)
)
PCM_BYTES_PER_S = 48_000


class Side:
    """One of the two servers, and how its clients ask."""

    def __init__(self, server: ServerProcess, headers: Mapping[str, str], **fields: Any) -> None:
        self.server = server
        self.headers = dict(headers)
        self.fields = fields
        self.speeds: list[float] = []

    async def measure(self, duration_s: float, *, has_scraper: bool) -> None:
        """Have the clients ask without pause, and note the audio per second."""
        limits = httpx.Limits(max_connections=NUM_CLIENTS + 1)
        async with httpx.AsyncClient(
            base_url=self.server.url, headers=self.headers, timeout=120, limits=limits
        ) as client:
            started = time.monotonic()
            scraping = asyncio.create_task(scrape(client)) if has_scraper else None
            end = started + duration_s
            num_bytes = sum(
                await asyncio.gather(*(self._speak(client, end) for _ in range(NUM_CLIENTS)))
            )
            took_s = time.monotonic() - started
            if scraping is not None:
                scraping.cancel()
        self.speeds.append(num_bytes / PCM_BYTES_PER_S / took_s)

    async def _speak(self, client: httpx.AsyncClient, end: float) -> int:
        num_bytes = 0
        body = {"input": TEXT, "response_format": "pcm", **self.fields}
        while time.monotonic() < end:
            async with client.stream("POST", "/v1/audio/speech", json=body) as answer:
                answer.raise_for_status()
                async for part in answer.aiter_bytes():
                    num_bytes += len(part)
        return num_bytes


async def scrape(client: httpx.AsyncClient) -> None:
    while True:
        (await client.get("/metrics")).raise_for_status()
        await asyncio.sleep(1.0)


def build_sides(checkpoint: Path, directory: Path, opened: ExitStack) -> tuple[Side, Side]:
    arguments = ["--model", str(checkpoint), "--precision", "int8"]
    kept = {"SOPRANO_STORE__DIRECTORY": str(directory / "store")}
    keys = {"SOPRANO_AUTH__KEYS": f"alice:{KEY}", **kept}
    sides = []
    for name, environ in (("plain", {}), ("full", keys)):
        server = opened.enter_context(
            server_process(directory / name, *arguments, environ={**WITHOUT_CACHE, **environ})
        )
        wait_for_status(f"{server.url}/health/ready")
        sides.append(server)
    authorization = {"authorization": f"Bearer {KEY}"}
    return Side(sides[0], {}), Side(sides[1], authorization, store=True, stream=True)


async def compare(plain: Side, full: Side, rounds: int, duration_s: float) -> None:
    for number in range(-1, rounds):  # the first round warms both up
        order = [(plain, False), (full, True)]
        for side, has_scraper in order if number % 2 else reversed(order):
            await side.measure(duration_s, has_scraper=has_scraper)
        if number >= 0:
            print(f"round {number + 1}: plain {plain.speeds[-1]:.2f}, full {full.speeds[-1]:.2f}")
    ratios = [b / a for a, b in zip(plain.speeds[1:], full.speeds[1:], strict=True)]
    print(
        f"seconds of audio per second, medians: plain {statistics.median(plain.speeds[1:]):.2f}, "
        f"with keys, metrics and store {statistics.median(full.speeds[1:]):.2f}; "
        f"median ratio {statistics.median(ratios):.3f}"
    )


def main() -> None:
    parser = argparse.ArgumentParser("python -m tests.throughput", description=__doc__)
    parser.add_argument("checkpoint", type=Path)
    parser.add_argument("--rounds", type=int, default=6)
    parser.add_argument("--seconds", type=float, default=10.0, help="of each measurement")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as directory, ExitStack() as opened:
        plain, full = build_sides(given.checkpoint, Path(directory), opened)
        asyncio.run(compare(plain, full, given.rounds, given.seconds))


if __name__ == "__main__":
    main()
