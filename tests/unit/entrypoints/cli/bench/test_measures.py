"""What is asked of whom, in which order."""

import asyncio

from app.entrypoints.cli.bench.figures import (
    OURS_INT8,
    PACKAGE,
    PACKAGE_SERVER,
    Figures,
    Metric,
)
from app.entrypoints.cli.bench.measures import Measures
from app.entrypoints.cli.bench.plan import Plan
from app.entrypoints.cli.bench.recording import Arrival, Recording
from tests.fakes.clock import FakeClock

PLAN = Plan(clients=(1, 2), rounds=2, lengths=(1, 3), num_newcomers=3, num_repeats=2)
AUDIO_S = 5.0
WAIT_S = 0.25


class FakeContestant:
    """Takes a second for every text and remembers it."""

    def __init__(self, name: str, *, is_server: bool = True) -> None:
        self.name = name
        self.is_ours = name == OURS_INT8
        self.is_server = is_server
        self.texts: list[str] = []
        self.num_speaking = self.most_speaking = 0

    async def speak(self, text: str) -> Recording:
        self.texts.append(text)
        self.num_speaking += 1
        self.most_speaking = max(self.most_speaking, self.num_speaking)
        try:
            await asyncio.sleep(0)
        finally:
            self.num_speaking -= 1
        return Recording(0.0, [Arrival(WAIT_S, AUDIO_S)], 1.0)

    async def stream(self, text: str) -> Recording:
        return await self.speak(text)

    async def first_audio_s(self, text: str) -> float:
        return (await self.speak(text)).first_audio_s

    def resident_bytes(self) -> int:
        return 1_000_000


class Run:
    """Three contestants, measured."""

    def __init__(self) -> None:
        self.ours = FakeContestant(OURS_INT8)
        self.package = FakeContestant(PACKAGE, is_server=False)
        self.server = FakeContestant(PACKAGE_SERVER)
        self.figures = Figures()
        self.titles: list[str] = []

    async def go(self) -> "Run":
        clock = FakeClock()
        measures = Measures(PLAN, self.figures, clock)
        for step in measures.steps([self.ours, self.package, self.server]):
            self.titles.append(step.title)
            task = asyncio.ensure_future(step.run())
            while not task.done():
                await clock.advance(1.0)
            await task
        return self


async def test_each_measure_goes_from_one_to_the_next_in_every_round() -> None:
    titles = (await Run().go()).titles
    for index in (1, 2):
        start = titles.index(f"round {index}, {OURS_INT8}: one sentence")
        names = [title.split(", ")[1].split(":")[0] for title in titles[start : start + 3]]
        assert names == [OURS_INT8, PACKAGE, PACKAGE_SERVER]


async def test_ours_is_asked_for_everything_and_the_package_for_what_it_can_do() -> None:
    figures = (await Run().go()).figures
    assert figures.percentile(50, OURS_INT8, Metric.SENTENCE_SPEED, 0) == AUDIO_S
    assert figures.percentile(50, OURS_INT8, Metric.BUSY_FIRST_AUDIO_S, 0) == WAIT_S
    assert figures.percentile(50, PACKAGE, Metric.CLIENTS_SPEED, 2) is None
    assert figures.percentile(50, PACKAGE_SERVER, Metric.CLIENTS_SPEED, 2) == 2 * AUDIO_S
    assert figures.percentile(50, PACKAGE_SERVER, Metric.STREAM_MARGIN_S, 8) is None
    assert figures.percentile(50, PACKAGE, Metric.STREAM_MARGIN_S, 1) == AUDIO_S


async def test_many_clients_ask_at_once() -> None:
    run = await Run().go()
    assert run.ours.most_speaking == 16
    assert run.server.most_speaking == 2
    assert run.package.most_speaking == 1


async def test_no_text_is_spoken_twice_by_the_same_contestant() -> None:
    texts = (await Run().go()).ours.texts
    assert len(set(texts)) == len(texts)
