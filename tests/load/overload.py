"""Ten times the load that the server can serve: `python -m tests.load.overload`.

Starts a server, measures what it can do, offers a multiple of that for a while, and checks what is
promised of it: everybody is answered or refused at once, nothing grows, and after it all is as
before. Exits 1 if a promise is broken. The client runs on the same cores as the server; what it
uses of them is no promise of the server's, so goodput is measured per core that it leaves.
"""

import argparse
import asyncio
import os
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
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
        most, watch = await self.closed("capacity", given.clients, given.capacity_seconds)
        before = watch.most("rss_bytes")
        rate = given.times * self.figures["capacity"]["whole_per_s"]
        spike, watch, duration_s = await self.spike(rate)
        after, _ = await self.closed("after", 1, RECOVERY_S + given.calm_seconds)
        calm = [each for each in after if each.started - after[0].started >= RECOVERY_S]
        normal_s = NORMAL_TIMES * first_p95(alone) + NORMAL_MORE_S
        grown = (watch.most("rss_bytes") or 0) - (before or 0)
        peak = audio_within(most, given.capacity_seconds) / given.capacity_seconds
        goodput = audio_within(spike, given.seconds) / given.seconds
        part = goodput / peak
        part_of_rest = part * self.server_cores("capacity") / self.server_cores("spike")
        self.figures["most_audio_s_per_s"] = round(peak, 2)
        self.figures["goodput_audio_s_per_s"] = round(goodput, 2)
        self.figures["goodput_part"] = round(part, 3)
        offered = f"offered {rate:.1f} requests/s for {given.seconds:g} s"
        print(f"{offered}, all over in {duration_s:.1f} s")
        print(f"audio per second, part of the most: {part:.3f}")
        return [
            Check("neither 200, 429 nor 503, or cut", num_other(spike), 0),
            Check("requests that were never sent", self.figures["spike"]["unsent"], 0),
            Check("refusals, 99 %, s", quantile(refusal_times(spike), 0.99), MAX_REFUSAL_S),
            Check("refusals without Retry-After", num_without_retry_after(spike), 0),
            Check(
                "audio per second of the cores left by the client, part of the most",
                part_of_rest,
                MIN_GOODPUT,
                is_floor=True,
            ),
            Check("requests in the queue", watch.most("num_queued"), given.max_queue),
            Check("memory grown, bytes", grown, MAX_GROWTH_BYTES),
            Check("/health/live, 99 %, s", quantile(watch.live_s, 0.99), MAX_LIVE_S),
            Check("first sound alone 10 s later, 95 %, s", first_p95(calm), normal_s),
        ]

    def server_cores(self, stage: str) -> float:
        """What this process, which offers the load, has left of the machine's cores."""
        return (os.cpu_count() or 1) - float(self.figures[stage]["client_cores"])

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

    async def spike(self, rate: float) -> tuple[list[Exchange], Watch, float]:
        offer, watch = self._offer()
        started, used = time.monotonic(), time.process_time()
        async with watch.watching():
            await offer.open(rate, self.given.seconds)
            duration_s = time.monotonic() - started
        client_cores = (time.process_time() - used) / self.given.seconds
        self._note("spike", offer, watch, duration_s, client_cores)
        return offer.done, watch, duration_s

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
    parser.add_argument("--seconds", type=float, default=60.0, help="of the overload")
    parser.add_argument("--times", type=float, default=10.0, help="of the capacity")
    parser.add_argument("--clients", type=int, default=16, help="that measure the capacity")
    parser.add_argument("--capacity-seconds", type=float, default=20.0)
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
