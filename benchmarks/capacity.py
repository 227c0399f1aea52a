"""`python -m benchmarks.capacity`: how many replicas so many listeners need.

Measures what one replica does for one and for several streams, simulates any number of replicas
from that, and checks the simulation against a real server with two replicas.

The model: a replica shares its speed evenly among its requests, S(n) seconds of audio per second
for n of them. A request is given to the replica with the fewest, and leaves when all of its audio
is made. Requests arrive at random (Poisson). The engine prefers who waits for first audio, but does
not interrupt a step; so there are two bounds. The upper one has no preference, in the lower one
nobody else is served meanwhile. Replicas are counted by the upper one.
"""

import asyncio
import heapq
import os
import random
import statistics
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import aclosing, asynccontextmanager
from itertools import count
from math import inf
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Final

import click
import msgspec

from benchmarks.scenarios import iterate_sentences
from benchmarks.targets import HttpTarget, get, post_speech, serving

PCM_BYTES_PER_S: Final = 48_000
LEVELS: Final = (1, 2, 4, 8)  # streams at the same time, for which the speed is measured
LEVEL_S: Final = 10.0
REAL_REPLICAS: Final = 2
REAL_S: Final = 60.0
LOADS: Final = (0.5, 0.7, 0.85)  # parts of the capacity, for which the simulation is checked
NUM_SENTENCES: Final = 3  # of a request
LISTENERS: Final = (10, 100, 1_000, 10_000)
START_LIMIT_S: Final = 120.0
PAUSE_S: Final = 20.0  # that a listener is silent between the end of an answer and a request
TARGET_S: Final = 0.5  # p95 of first audio
SIMULATED_S: Final = 300.0


class Replica(msgspec.Struct, frozen=True):
    """What one replica does."""

    speeds: dict[int, float]  # streams at the same time: seconds of audio per second, all together
    first_audio_s: float  # of a request alone
    request_audio_s: float  # of a request, on average

    @property
    def capacity(self) -> float:
        """Most seconds of audio per second."""
        return max(self.speeds.values())

    def speed(self, num: float) -> float:
        """Seconds of audio per second for `num` streams; between what was measured, a line."""
        below = max(level for level in self.speeds if level <= max(num, 1))
        above = min((level for level in self.speeds if level >= num), default=below)
        if above == below:
            return self.speeds[below]
        part = (num - below) / (above - below)
        return self.speeds[below] + part * (self.speeds[above] - self.speeds[below])


class _Work(msgspec.Struct):
    """Requests that progress evenly, so that one sum tells of all."""

    made_s: float = 0.0  # by a request that was there all the time
    # made by then, its number, when it arrived (-1 after first audio), what is left of it then
    due: list[tuple[float, int, float, float]] = msgspec.field(default_factory=list)


class _Share:
    """One simulated replica; `is_even` is without a preference for who waits for first audio."""

    def __init__(self, replica: Replica, *, is_even: bool) -> None:
        self._replica = replica
        self._now = 0.0
        self._waiting = _Work()
        self._ahead = self._waiting if is_even else _Work()
        self._numbers = count()
        self.num = 0

    def advance(self, now: float, first_audio: list[float]) -> None:
        """Go on until `now`, and note times to first audio."""
        while self.num:
            work = self._waiting if self._waiting.due else self._ahead
            rate = self._replica.speed(len(work.due)) / len(work.due)
            due_s, _, arrived_at, left_s = work.due[0]
            at = self._now + (due_s - work.made_s) / rate
            if at > now:
                work.made_s += (now - self._now) * rate
                break
            heapq.heappop(work.due)
            self._now, work.made_s = at, due_s
            if arrived_at >= 0:
                first_audio.append(at - arrived_at)
                self._add(self._ahead, left_s, -1.0)
            else:
                self.num -= 1
        self._now = now

    def begin(self, audio_s: float) -> None:
        """A request arrives now."""
        first_s = self._replica.first_audio_s * self._replica.speed(1)
        self._add(self._waiting, first_s, self._now, max(0.0, audio_s - first_s))
        self.num += 1

    def _add(self, work: _Work, audio_s: float, arrived_at: float, left_s: float = 0.0) -> None:
        due = (work.made_s + audio_s, next(self._numbers), arrived_at, left_s)
        heapq.heappush(work.due, due)


def simulate(
    replica: Replica,
    num_replicas: int,
    requests_per_s: float,
    duration_s: float,
    *,
    is_even: bool = True,
) -> list[float]:
    """Times to first audio, in seconds, without those of the first tenth of the time."""
    draw = random.Random(7)
    shares = [_Share(replica, is_even=is_even) for _ in range(num_replicas)]
    first_audio: list[float] = []
    now = 0.0
    while now < duration_s:
        now += draw.expovariate(requests_per_s)
        # Of many replicas two are compared, which is nearly as good as all.
        asked = shares if num_replicas <= 8 else draw.sample(shares, 2)
        for share in asked:
            share.advance(now, first_audio)
        min(asked, key=lambda share: share.num).begin(replica.request_audio_s)
        if now < duration_s / 10:
            first_audio.clear()
    for share in shares:
        share.advance(inf, first_audio)
    return first_audio


def p95(times: Sequence[float]) -> float:
    """The time that 5 % exceed."""
    return statistics.quantiles(times, n=20)[-1] if len(times) > 1 else inf


def replicas_for(replica: Replica, num_listeners: int) -> tuple[int, float]:
    """Fewest replicas with which p95 of first audio is below the target, and that p95."""
    requests_per_s = num_listeners / (PAUSE_S + replica.request_audio_s)
    num = max(1, int(requests_per_s * replica.request_audio_s / replica.capacity))
    while True:
        times = simulate(replica, num, requests_per_s, SIMULATED_S)
        if p95(times) <= TARGET_S:
            return num, p95(times)
        num += max(1, num // 20)


async def ask(port: int, text: str) -> tuple[float, float]:
    """Time to first audio, and seconds of audio."""
    started, first_s, num_bytes = time.monotonic(), 0.0, 0
    async with aclosing(post_speech(port, {"input": text, "response_format": "pcm"})) as pieces:
        async for piece in pieces:
            first_s = first_s or time.monotonic() - started
            num_bytes += len(piece)
    return first_s, num_bytes / PCM_BYTES_PER_S


async def measure(server: HttpTarget) -> Replica:
    """What the one replica behind a server does."""
    sentences = iterate_sentences()

    def text() -> str:
        return " ".join(next(sentences) for _ in range(NUM_SENTENCES))

    alone = [await ask(server.port, text()) for _ in range(12)][2:]
    speeds = {}
    for level in LEVELS:
        made: list[float] = []
        ends_at = time.monotonic() + LEVEL_S

        async def go_on(made: list[float], ends_at: float) -> None:
            while time.monotonic() < ends_at:
                made.append((await ask(server.port, text()))[1])

        started = time.monotonic()
        await asyncio.gather(*(go_on(made, ends_at) for _ in range(level)))
        speeds[level] = sum(made) / (time.monotonic() - started)
    return Replica(
        speeds=speeds,
        first_audio_s=statistics.median(first_s for first_s, _ in alone),
        request_audio_s=statistics.mean(audio_s for _, audio_s in alone),
    )


async def offer(server: HttpTarget, requests_per_s: float) -> list[float]:
    """Times to first audio of requests that arrive at random."""
    draw, sentences = random.Random(7), iterate_sentences()
    tasks = []
    ends_at = time.monotonic() + REAL_S
    while time.monotonic() < ends_at:
        await asyncio.sleep(draw.expovariate(requests_per_s))
        text = " ".join(next(sentences) for _ in range(NUM_SENTENCES))
        tasks.append(asyncio.create_task(ask(server.port, text)))
    return [first_s for first_s, _ in await asyncio.gather(*tasks)][len(tasks) // 10 :]


def compared(replica: Replica, rate: float, real: Sequence[float]) -> str:
    """Columns of a table: median and 95th percentile of the real times, and their bounds."""
    bounds = [
        simulate(replica, REAL_REPLICAS, rate, 20 * SIMULATED_S, is_even=is_even)
        for is_even in (False, True)
    ]
    return " | ".join(
        f"{of(real) * 1e3:.0f} ms | {of(bounds[0]) * 1e3:.0f} to {of(bounds[1]) * 1e3:.0f} ms"
        for of in (statistics.median, p95)
    )


@asynccontextmanager
async def replicas(num: int, options: Sequence[str], directory: Path) -> AsyncIterator[HttpTarget]:
    """A server with so many, each on one thread."""
    config = directory / f"{num}.toml"
    config.write_text(
        f"[model]\ninstances = {num}\nplacement = 'process'\nnum_threads = 1\n"
        "[cache]\nmax_bytes = 0\n[admission]\nmax_running = 1000\n"
    )
    arguments = ("app", "serve", *options, "--config", str(config), "--log-level", "warning")
    async with serving(
        f"{num} replicas", (*arguments, "--port"), "/health/ready", directory
    ) as server:
        async with asyncio.timeout(START_LIMIT_S):
            while f"alive {num}.0" not in (await get(server.port, "/metrics")).decode():
                await asyncio.sleep(0.2)
        yield server


async def run(options: Sequence[str]) -> None:
    """Measure, check and print."""
    os.environ["OMP_NUM_THREADS"] = "1"
    with TemporaryDirectory() as directory:
        async with replicas(1, options, Path(directory)) as server:
            replica = await measure(server)
        click.echo(f"One replica: {msgspec.json.encode(replica).decode()}")
        click.echo("\n| load | requests/s | p50 real | p50 simulated | p95 real | p95 simulated |")
        click.echo("| --- | --- | --- | --- | --- | --- |")
        async with replicas(REAL_REPLICAS, options, Path(directory)) as server:
            for load in LOADS:
                rate = load * REAL_REPLICAS * replica.capacity / replica.request_audio_s
                real = await offer(server, rate)
                click.echo(f"| {load:.0%} | {rate:.2f} | {compared(replica, rate, real)} |")
    click.echo("\n| listeners | replicas | p95 of first audio |\n| --- | --- | --- |")
    for num_listeners in LISTENERS:
        num, value = replicas_for(replica, num_listeners)
        click.echo(f"| {num_listeners:,} | {num:,} | {value * 1e3:.0f} ms |")


@click.command()
@click.option("--model", help="Directory of a checkpoint, or a cached repo; else embedded.")
@click.option("--precision", default="int8", help="Of onnx: fp32 or int8.")
def main(model: str | None, precision: str) -> None:
    """Say how many replicas so many listeners need."""
    options: tuple[str, ...] = ("--backend", "onnx" if model else "embedded")
    if model is not None:
        options += ("--model", model, "--precision", precision)
    asyncio.run(run(options))


if __name__ == "__main__":
    main()
