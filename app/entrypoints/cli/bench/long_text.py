"""Memory that a long text takes, by the pace at which it is read."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import aclosing, asynccontextmanager
from itertools import islice
from math import ceil
from typing import Final

from app.entrypoints.cli.bench.contestants import ServerContestant, Surroundings, our_server
from app.entrypoints.cli.bench.figures import Figures, Metric
from app.entrypoints.cli.bench.measures import Step
from app.entrypoints.cli.bench.plan import Plan
from app.entrypoints.cli.bench.texts import iterate_sentences
from app.ports.clock import Clock

LOOK_EVERY_S: Final = 0.05
SLOW_PACE: Final = 0.5
"""Of the slow reader: seconds of audio read per second."""

SLOW_BUFFER_BYTES: Final = 16_384
"""Of its socket: a quarter of a second, so that the server feels it."""


class LongText:
    """Measures a new server for each reader, which nobody else has used.

    Args:
        plan: how long.
        figures: where it is noted.
        surroundings: of the servers.
    """

    def __init__(self, plan: Plan, figures: Figures, surroundings: Surroundings) -> None:
        self._plan = plan
        self._figures = figures
        self._surroundings = surroundings
        self._clock = surroundings.clock

    def steps(self) -> Iterator[Step]:
        """Both readers, with each precision."""
        for precision in ("int8", "fp32"):
            yield Step(f"{precision}: a long text", self._reading(precision, is_slow=False))
            yield Step(f"{precision}: a slow reader", self._reading(precision, is_slow=True))

    def _reading(self, precision: str, *, is_slow: bool) -> Callable[[], Awaitable[None]]:
        return lambda: self._measure(precision, is_slow=is_slow)

    async def _measure(self, precision: str, *, is_slow: bool) -> None:
        async with our_server(precision, self._surroundings) as server:
            sentences = iterate_sentences()
            audio_s = (await server.speak(next(sentences))).audio_s
            self._note(server, Metric.SENTENCE_BYTES, server.resident_bytes())
            text = " ".join(islice(sentences, ceil(self._plan.long_text_s / audio_s)))
            async with _watching_peak(server, self._clock) as peak:
                await (self._read_slowly(server, text) if is_slow else server.stream(text))
            metric = Metric.SLOW_READER_BYTES if is_slow else Metric.FAST_READER_BYTES
            self._note(server, metric, max(peak))

    async def _read_slowly(self, server: ServerContestant, text: str) -> None:
        """Take each piece when it is due, and hang up when the time is over."""
        started_s = self._clock.monotonic()
        heard_s = 0.0
        async with aclosing(server.listen(text, SLOW_BUFFER_BYTES)) as arrivals:
            async for arrival in arrivals:
                heard_s += arrival.audio_s
                due_s = min(heard_s / SLOW_PACE, self._plan.slow_reader_s)
                await self._clock.sleep(max(0.0, started_s + due_s - self._clock.monotonic()))
                if due_s == self._plan.slow_reader_s:
                    return

    def _note(self, server: ServerContestant, metric: Metric, num_bytes: int) -> None:
        self._figures.add(server.name, metric, [num_bytes])


@asynccontextmanager
async def _watching_peak(server: ServerContestant, clock: Clock) -> AsyncIterator[list[int]]:
    """Resident memory, looked at again and again while the block runs."""
    seen = [server.resident_bytes()]

    async def watch() -> None:
        while True:
            await clock.sleep(LOOK_EVERY_S)
            seen.append(server.resident_bytes())

    watching = asyncio.create_task(watch())
    try:
        yield seen
    finally:
        watching.cancel()
        seen.append(server.resident_bytes())
