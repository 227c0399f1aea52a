"""What is asked of a contestant, and which figures its answers give."""

import asyncio
from collections import defaultdict
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager
from itertools import islice
from typing import Final

import msgspec

from app.entrypoints.cli.bench.contestants import Contestant
from app.entrypoints.cli.bench.figures import Figures, Metric
from app.entrypoints.cli.bench.plan import NUM_OTHERS, NUM_STREAMS, Plan
from app.entrypoints.cli.bench.recording import Recording, throughput
from app.entrypoints.cli.bench.texts import iterate_sentences
from app.ports.clock import Clock

LEAD_S: Final = 3.0
"""After which a new request comes: all others have sound by then."""

PAUSE_S: Final = 0.2
"""Between two new requests."""


class Step(msgspec.Struct, frozen=True, eq=False):
    """A part of the run, for the progress bar."""

    title: str
    run: Callable[[], Awaitable[None]]


class Measures:
    """Everything that is measured in rounds.

    Args:
        plan: how much.
        figures: where it is noted.
        clock: of pauses.
    """

    def __init__(self, plan: Plan, figures: Figures, clock: Clock) -> None:
        self._plan = plan
        self._figures = figures
        self._clock = clock
        self._sentences: defaultdict[str, Iterator[str]] = defaultdict(iterate_sentences)

    def steps(self, contestants: list[Contestant]) -> Iterator[Step]:
        """All rounds; in each of them every measure goes from contestant to contestant."""
        for contestant in contestants:
            yield Step(f"{contestant.name}: warming up", self._bound(self._warm_up, contestant))
        for index in range(self._plan.rounds):
            for title, measure, is_for in self._measures(is_first=index == 0):
                for contestant in filter(is_for, contestants):
                    run = self._bound(measure, contestant)
                    yield Step(f"round {index + 1}, {contestant.name}: {title}", run)
        for contestant in contestants:
            run = self._bound(self._note_end, contestant)
            yield Step(f"{contestant.name}: memory", run)

    def _measures(
        self, *, is_first: bool
    ) -> Iterator[
        tuple[str, Callable[[Contestant], Awaitable[None]], Callable[[Contestant], bool]]
    ]:
        """Title, measure and for whom. What takes the package minutes is done in one round."""
        yield "one sentence", self._one_sentence, lambda _: True
        yield "ten sentences", self._ten_sentences, lambda _: True
        yield "clients", self._clients, lambda one: one.is_ours or (is_first and one.is_server)
        if is_first:
            yield "memory", self._note_clients, lambda _: True
        yield "streams", self._streams, lambda one: one.is_ours
        yield (
            "one stream",
            self._one_stream,
            lambda one: one.is_ours or (is_first and not one.is_server),
        )
        yield "a newcomer", self._newcomers, lambda one: one.is_ours
        yield "lengths", self._lengths, lambda one: one.is_ours or (is_first and not one.is_server)

    @staticmethod
    def _bound(
        measure: Callable[[Contestant], Awaitable[None]], contestant: Contestant
    ) -> Callable[[], Awaitable[None]]:
        return lambda: measure(contestant)

    def _text(self, contestant: Contestant, num_sentences: int) -> str:
        """A text that this contestant has not spoken; the others get the same ones."""
        return " ".join(islice(self._sentences[contestant.name], num_sentences))

    async def _warm_up(self, contestant: Contestant) -> None:
        self._note(contestant, Metric.LOADED_BYTES, [contestant.resident_bytes()])
        await contestant.speak(self._text(contestant, 1))

    async def _one_sentence(self, contestant: Contestant) -> None:
        for _ in range(self._plan.num_repeats if contestant.is_ours else 1):
            recording = await contestant.speak(self._text(contestant, 1))
            self._note(contestant, Metric.SENTENCE_SPEED, [throughput([recording])])
            if contestant.is_server:
                self._note(contestant, Metric.IDLE_FIRST_AUDIO_S, [recording.first_audio_s])
        if not contestant.is_server:
            wait_s = await contestant.first_audio_s(self._text(contestant, 1))
            self._note(contestant, Metric.IDLE_FIRST_AUDIO_S, [wait_s])

    async def _ten_sentences(self, contestant: Contestant) -> None:
        await self._speak_length(contestant, 10)

    async def _lengths(self, contestant: Contestant) -> None:
        for num_sentences in self._plan.lengths:
            await self._speak_length(contestant, num_sentences)

    async def _speak_length(self, contestant: Contestant, num_sentences: int) -> None:
        recording = await contestant.speak(self._text(contestant, num_sentences))
        self._note(contestant, Metric.TEXT_SPEED, [throughput([recording])], num_sentences)

    async def _clients(self, contestant: Contestant) -> None:
        for num_clients in self._plan.clients:
            answers = await self._at_once(contestant, num_clients, 1)
            waits = [answer.first_audio_s for answer in answers]
            self._note(contestant, Metric.CLIENTS_SPEED, [throughput(answers)], num_clients)
            self._note(contestant, Metric.CLIENTS_FIRST_AUDIO_S, waits, num_clients)

    async def _streams(self, contestant: Contestant) -> None:
        for num_streams in NUM_STREAMS:
            num_sentences = self._plan.num_stream_sentences
            answers = await self._at_once(contestant, num_streams, num_sentences)
            self._note_streams(contestant, answers)

    async def _one_stream(self, contestant: Contestant) -> None:
        text = self._text(contestant, self._plan.num_stream_sentences)
        self._note_streams(contestant, [await contestant.stream(text)])

    async def _newcomers(self, contestant: Contestant) -> None:
        async with self._others_streaming(contestant):
            for _ in range(self._plan.num_newcomers):
                wait_s = await contestant.first_audio_s(self._text(contestant, 1))
                self._note(contestant, Metric.BUSY_FIRST_AUDIO_S, [wait_s])
                await self._clock.sleep(PAUSE_S)

    @asynccontextmanager
    async def _others_streaming(self, contestant: Contestant) -> AsyncIterator[None]:
        """Keep NUM_OTHERS listeners on; who has heard a text asks for the next."""

        async def listen_on() -> None:
            while True:
                await contestant.stream(self._text(contestant, self._plan.num_other_sentences))

        async with asyncio.TaskGroup() as group:
            others = [group.create_task(listen_on()) for _ in range(NUM_OTHERS)]
            await self._clock.sleep(LEAD_S)
            yield
            for other in others:
                other.cancel()

    async def _at_once(
        self, contestant: Contestant, num_clients: int, num_sentences: int
    ) -> list[Recording]:
        texts = [self._text(contestant, num_sentences) for _ in range(num_clients)]
        return await asyncio.gather(*(contestant.stream(text) for text in texts))

    async def _note_clients(self, contestant: Contestant) -> None:
        self._note(contestant, Metric.CLIENTS_BYTES, [contestant.resident_bytes()])

    async def _note_end(self, contestant: Contestant) -> None:
        self._note(contestant, Metric.END_BYTES, [contestant.resident_bytes()])

    def _note_streams(self, contestant: Contestant, answers: list[Recording]) -> None:
        num = len(answers)
        margins = [answer.playback_margin_s for answer in answers]
        gaps = [gap for answer in answers for gap in answer.gaps_s]
        waits = [answer.first_audio_s for answer in answers]
        self._note(contestant, Metric.STREAM_MARGIN_S, margins, num)
        self._note(contestant, Metric.STREAM_GAP_S, gaps, num)
        self._note(contestant, Metric.STREAM_FIRST_AUDIO_S, waits, num)

    def _note(
        self, contestant: Contestant, metric: Metric, values: list[float], num: int = 0
    ) -> None:
        self._figures.add(contestant.name, metric, values, num)
