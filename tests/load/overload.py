"""Ten times the load that the server can serve: `python -m tests.load.overload`.

Starts a server, measures what it can do, offers a multiple of that for a while, and checks what is
promised of it: everybody is answered or refused at once, nothing grows, and after it all is as
before. Exits 1 if a promise is broken. The client runs on the same cores as the server; what it
uses of them is no promise of the server's, so goodput is measured per core that it leaves. A shared
machine is 10 % faster in one minute than in the next, so each overload is compared with what the
server could do just before and just after it, several times over.
"""

import argparse
import asyncio
import os
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from statistics import fmean
from typing import Any

from tests.load.checks import Check, conclude
from tests.load.exchange import Exchange
from tests.load.offer import Offer
from tests.load.report import of_server, quantile, summary, table
from tests.load.texts import texts
from tests.load.watch import Watch
from tests.serving import WITHOUT_CACHE, ServerProcess, server_process, wait_for_status

ALLOWED = {200, 429, 503}
MAX_REFUSAL_S = 0.1
MAX_LIVE_S = 0.1
MAX_GROWTH_BYTES = 50e6
MIN_GOODPUT = 0.9
RECOVERY_S = 10.0
NORMAL_TIMES = 1.5
NORMAL_MORE_S = 0.05
"""By how much more than before is still normal, on a machine that is shared."""


class Run:
    """The stages, one after the other, and what was measured in each."""

    def __init__(self, server: ServerProcess, given: argparse.Namespace) -> None:
        self.server = server
        self.given = given
        self.texts: Iterator[str] = texts(given.seed, given.sentences)
        self.figures: dict[str, Any] = {}

    async def run(self) -> list[Check]:
        given = self.given
        await self.closed("warm-up", 4, 5.0)
        alone, _ = await self.closed("alone", 1, given.calm_seconds)
        before = await self.capacity(0)
        rate = given.times * self.figures["capacity 0"]["whole_per_s"]
        rounds = [await self.round(number, rate) for number in range(1, given.rounds + 1)]
        after, _ = await self.closed("after", 1, RECOVERY_S + given.calm_seconds)
        calm = [each for each in after if each.started - after[0].started >= RECOVERY_S]
        normal_s = NORMAL_TIMES * first_p95(alone) + NORMAL_MORE_S
        spike = [each for done, _ in rounds for each in done]
        watches = [watch for _, watch in rounds]
        return [
            Check("neither 200, 429 nor 503, or cut", num_other(spike), 0),
            Check("requests that were never sent", self.num_unsent(), 0),
            Check("refusals, 99 %, s", quantile(refusal_times(spike), 0.99), MAX_REFUSAL_S),
            Check("refusals without Retry-After", num_without_retry_after(spike), 0),
            Check(
                "audio per second of the cores left by the client, part of the most",
                self.goodput_part(),
                MIN_GOODPUT,
                is_floor=True,
            ),
            Check("requests in the queue", most("num_queued", watches), given.max_queue),
            Check(
                "memory grown, bytes",
                most("rss_bytes", watches) - most("rss_bytes", [before]),
                MAX_GROWTH_BYTES,
            ),
            Check(
                "/health/live, 99 %, s",
                quantile([live_s for watch in watches for live_s in watch.live_s], 0.99),
                MAX_LIVE_S,
            ),
            Check("first sound alone 10 s later, 95 %, s", first_p95(calm), normal_s),
        ]

    async def capacity(self, number: int) -> Watch:
        """As many listeners as it takes to keep the server busy, and no more."""
        given = self.given
        done, watch = await self.closed(f"capacity {number}", given.clients, given.capacity_seconds)
        self.note_audio(f"capacity {number}", done, given.capacity_seconds)
        return watch

    async def round(self, number: int, rate: float) -> tuple[list[Exchange], Watch]:
        """`rate` requests a second, and again what the server can do."""
        done, watch = await self.spike(f"spike {number}", rate)
        self.note_audio(f"spike {number}", done, self.given.seconds)
        await self.capacity(number)
        return done, watch

    def note_audio(self, stage: str, done: list[Exchange], duration_s: float) -> None:
        """Seconds of audio per second, and per second of a core that the client left."""
        audio = audio_within(done, duration_s) / duration_s
        cores = (os.cpu_count() or 1) - float(self.figures[stage]["client_cores"])
        self.figures[stage]["audio_within"] = round(audio, 2)
        self.figures[stage]["audio_per_core"] = round(audio / cores, 2)

    def goodput_part(self) -> float:
        """Audio per core under overload, part of the mean just before and just after it."""
        per_core = {stage: figures["audio_per_core"] for stage, figures in self.figures.items()
                    if "audio_per_core" in figures}  # fmt: skip
        parts = []
        for number in range(1, self.given.rounds + 1):
            around = per_core[f"capacity {number - 1}"], per_core[f"capacity {number}"]
            parts.append(per_core[f"spike {number}"] / fmean(around))
        print("audio per second and core, part of the most around it:",
              *(f"{part:.3f}" for part in parts))  # fmt: skip
        return fmean(parts)

    def num_unsent(self) -> int:
        return sum(int(figures["unsent"]) for figures in self.figures.values())

    async def closed(
        self, stage: str, num_clients: int, duration_s: float
    ) -> tuple[list[Exchange], Watch]:
        offer, watch = self._offer()
        started, used = time.monotonic(), time.process_time()
        async with watch.watching():
            await offer.closed(num_clients, duration_s)
        client_cores = (time.process_time() - used) / duration_s
        self._note(stage, offer, watch, time.monotonic() - started, client_cores)
        return offer.done, watch

    async def spike(self, stage: str, rate: float) -> tuple[list[Exchange], Watch]:
        offer, watch = self._offer()
        started, used = time.monotonic(), time.process_time()
        async with watch.watching():
            await offer.open(rate, self.given.seconds)
            duration_s = time.monotonic() - started
        client_cores = (time.process_time() - used) / self.given.seconds
        self._note(stage, offer, watch, duration_s, client_cores)
        offered = f"offered {rate:.1f} requests/s for {self.given.seconds:g} s"
        print(f"{offered}, all over in {duration_s:.1f} s")
        return offer.done, watch

    def _offer(self) -> tuple[Offer, Watch]:
        return Offer(self.server.url, self.texts), Watch(self.server.url, self.server.pid)

    def _note(
        self, stage: str, offer: Offer, watch: Watch, duration_s: float, client_cores: float
    ) -> None:
        figures = {
            **summary(offer.done, duration_s),
            "unsent": offer.num_unsent,
            "client_cores": round(client_cores, 3),
            **of_server(watch),
        }
        self.figures[stage] = figures
        print(table(stage, figures) + "\n", flush=True)


def most(name: str, watches: list[Watch]) -> float:
    """The most that was seen of a figure."""
    return max(watch.most(name) or 0.0 for watch in watches)


def num_other(done: list[Exchange]) -> int:
    return sum(each.status not in ALLOWED or not each.is_whole for each in done)


def refusal_times(done: list[Exchange]) -> list[float]:
    return [each.head_s for each in done if each.status in {429, 503}]


def num_without_retry_after(done: list[Exchange]) -> int:
    return sum(each.status in {429, 503} and each.retry_after_s is None for each in done)


def first_p95(done: list[Exchange]) -> float:
    return quantile([each.first_s for each in done if each.is_spoken], 0.95)


def audio_within(done: list[Exchange], duration_s: float) -> float:
    """Seconds of audio that came within `duration_s` of the first request, of whole answers.

    What an answer was given later, when nobody else asked any more, does not count; the sound of
    one is taken to have come evenly from its first byte to its last.
    """
    if not done:
        return 0.0
    end = min(each.started for each in done) + duration_s
    return sum(each.audio_s * part_until(end, each) for each in done if each.is_spoken)


def part_until(moment: float, answer: Exchange) -> float:
    """How much of its time of coming had passed, 0 to 1."""
    first, last = answer.started + answer.first_s, answer.started + answer.total_s
    if last <= moment:
        return 1.0
    return (moment - first) / (last - first) if first < moment else 0.0


def main() -> None:
    parser = argparse.ArgumentParser("python -m tests.load.overload", description=__doc__)
    parser.add_argument("--model", help="directory of a checkpoint, for the backend onnx in int8")
    parser.add_argument("--seconds", type=float, default=20.0, help="of one overload")
    parser.add_argument(
        "--rounds", type=int, default=3, help="overloads, each between two capacities"
    )
    parser.add_argument("--times", type=float, default=10.0, help="of the capacity")
    parser.add_argument("--clients", type=int, default=16, help="that measure the capacity")
    parser.add_argument("--capacity-seconds", type=float, default=15.0)
    parser.add_argument("--calm-seconds", type=float, default=10.0, help="of a listener alone")
    parser.add_argument("--sentences", type=int, default=2, help="most of one text")
    parser.add_argument("--max-queue", type=float, default=32.0, help="the limit of the queue")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--json", type=Path, help="file for the figures")
    given = parser.parse_args()
    arguments = ["--backend", "embedded"]
    if given.model:
        arguments = ["--model", given.model, "--precision", "int8"]
    with tempfile.TemporaryDirectory() as directory:
        log_path = Path(directory) / "server.log"
        with server_process(log_path, *arguments, environ=WITHOUT_CACHE) as server:
            wait_for_status(f"{server.url}/health/ready")
            run = Run(server, given)
            checks = asyncio.run(run.run())
    sys.exit(conclude(checks, run.figures, given.json))


if __name__ == "__main__":
    main()
