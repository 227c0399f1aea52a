"""The scenarios: what each target is asked for, in which order, and which results that gives."""

import asyncio
import time
from collections import defaultdict
from collections.abc import Awaitable, Callable, Iterator
from contextlib import AbstractAsyncContextManager, aclosing
from functools import partial
from itertools import count, islice
from math import ceil, prod
from typing import Final

import msgspec

from benchmarks.results import NUM_OTHERS, NUM_STREAMS, OURS, Answer, Metric, Results, throughput
from benchmarks.targets import HttpTarget, Target

# A prompt costs time by its tokens. Soprano's tokenizer makes about 0.72 tokens of a character, the
# test checkpoint's about one: its sentences of 50 to 55 characters have the prompt of a real
# sentence of 5 s.
MIN_CHARS: Final = 50
MAX_CHARS: Final = 55
_STRIDE: Final = 7_919  # a prime: steps through all sentences, and neighbours share few words

_WORDS: Final = (
    ("The", "One", "This", "That", "Their", "Every", "Another"),
    ("old", "young", "quiet", "patient", "careful", "cheerful", "forgetful", "hurried"),
    ("teacher", "farmer", "painter", "captain", "gardener", "librarian", "neighbour", "doctor"),
    ("carried", "watched", "found", "repaired", "wanted", "described", "remembered", "sold"),
    ("the", "a", "some", "his", "her", "our"),
    ("wooden", "silver", "broken", "heavy", "painted", "borrowed", "little", "forgotten"),
    ("ladder", "boat", "window", "letter", "clock", "basket", "lantern", "violin"),
    ("today", "at noon", "again", "by the sea", "last week", "in the rain", "before dawn"),
)


def iterate_sentences() -> Iterator[str]:
    """Different sentences of MIN_CHARS to MAX_CHARS characters, always the same ones."""
    for index in count():
        sentence = _compose(index * _STRIDE % prod(map(len, _WORDS)))
        if MIN_CHARS <= len(sentence) <= MAX_CHARS:
            yield sentence


def _compose(number: int) -> str:
    words = []
    for choices in _WORDS:
        number, choice = divmod(number, len(choices))
        words.append(choices[choice])
    return " ".join(words) + "."


class Plan(msgspec.Struct, frozen=True, kw_only=True):
    """How much is measured.

    Attributes:
        clients: how many at the same time, in turn.
        rounds: in each of which everything is measured once.
        num_repeats: of one sentence per round, for ours; the package is asked once.
        lengths: of one text, in sentences.
        num_stream_sentences: of each stream whose playback is measured.
        num_other_sentences: of each stream that runs while a new request arrives.
        num_late_arrivals: new requests per round.
        lead_s: from the start of the other streams to the first new request.
        pause_s: between two new requests.
        long_text_s: duration of the text whose memory is measured.
        slow_client_s: how long a slow client reads it.
    """

    clients: tuple[int, ...] = (1, 2, 4, 8, 16)
    rounds: int = 3
    num_repeats: int = 5
    lengths: tuple[int, ...] = (1, 5, 10, 20, 40)
    num_stream_sentences: int = 4
    num_other_sentences: int = 10
    num_late_arrivals: int = 10
    lead_s: float = 3.0  # by then all others have audio
    pause_s: float = 0.2
    long_text_s: float = 600.0
    slow_client_s: float = 30.0


# One short round: shows that everything works, and little else.
QUICK: Final = Plan(
    clients=(1, 2),
    rounds=1,
    num_repeats=1,
    lengths=(1, 2),
    num_stream_sentences=1,
    num_other_sentences=2,
    num_late_arrivals=2,
    long_text_s=20.0,
    slow_client_s=1.0,
)

LOOK_EVERY_S: Final = 0.05  # at the resident memory
SLOW_PACE: Final = 0.5  # seconds of audio per second that a slow client reads
SLOW_BUFFER_BYTES: Final = 16_384  # of its socket: a quarter of a second, so that the server blocks


class Step(msgspec.Struct, frozen=True, eq=False):
    """A part of the run, for the progress output."""

    title: str
    run: Callable[[], Awaitable[None]]


class Rounds:
    """Everything that is measured in rounds."""

    def __init__(self, plan: Plan, results: Results) -> None:
        self._plan = plan
        self._results = results
        self._sentences: defaultdict[str, Iterator[str]] = defaultdict(iterate_sentences)

    def steps(self, targets: list[Target]) -> Iterator[Step]:
        """All rounds; in each of them every scenario goes from target to target.

        What takes the package minutes is done in the first round alone.
        """
        for target in targets:
            yield Step(f"{target.name}: warming up", partial(self._warm_up, target))
        for index in range(self._plan.rounds):
            for title, scenario, is_for in self._scenarios(is_first=index == 0):
                for target in filter(is_for, targets):
                    run: Callable[[], Awaitable[None]] = partial(scenario, target)
                    yield Step(f"round {index + 1}, {target.name}: {title}", run)
        for target in targets:
            run = partial(self._note_memory, target, Metric.END_BYTES)
            yield Step(f"{target.name}: memory", run)

    def _scenarios(
        self, *, is_first: bool
    ) -> Iterator[tuple[str, Callable[[Target], Awaitable[None]], Callable[[Target], bool]]]:
        """Title, scenario and for which targets."""
        yield "one sentence", self._one_sentence, lambda _: True
        yield "ten sentences", partial(self._length, num_sentences=10), lambda _: True
        yield "clients", self._clients, lambda one: one.is_ours or (is_first and one.is_server)
        if is_first:
            memory = partial(self._note_memory, metric=Metric.CLIENTS_BYTES)
            yield "memory", memory, lambda _: True
        yield "streams", self._streams, lambda one: one.is_ours

        def has_time(target: Target) -> bool:
            return target.is_ours or (is_first and not target.is_server)

        yield "one stream", self._one_stream, has_time
        yield "late arrivals", self._late_arrivals, lambda one: one.is_ours
        yield "lengths", self._lengths, has_time

    def _text(self, target: Target, num_sentences: int) -> str:
        """A text that this target has not synthesized; the others get the same ones."""
        return " ".join(islice(self._sentences[target.name], num_sentences))

    async def _warm_up(self, target: Target) -> None:
        await self._note_memory(target, Metric.LOADED_BYTES)
        await target.synthesize(self._text(target, 1))

    async def _note_memory(self, target: Target, metric: Metric) -> None:
        self._results.add(target.name, metric, [target.resident_bytes()])

    async def _one_sentence(self, target: Target) -> None:
        for _ in range(self._plan.num_repeats if target.is_ours else 1):
            answer = await target.synthesize(self._text(target, 1))
            self._results.add(target.name, Metric.SENTENCE_SPEED, [throughput([answer])])
            if target.is_server:
                self._results.add(target.name, Metric.IDLE_FIRST_AUDIO_S, [answer.first_audio_s])
        if not target.is_server:
            wait_s = await target.first_audio_s(self._text(target, 1))
            self._results.add(target.name, Metric.IDLE_FIRST_AUDIO_S, [wait_s])

    async def _lengths(self, target: Target) -> None:
        for num_sentences in self._plan.lengths:
            await self._length(target, num_sentences)

    async def _length(self, target: Target, num_sentences: int) -> None:
        answer = await target.synthesize(self._text(target, num_sentences))
        self._results.add(target.name, Metric.TEXT_SPEED, [throughput([answer])], num_sentences)

    async def _clients(self, target: Target) -> None:
        for num in self._plan.clients:
            answers = await self._at_once(target, num, 1)
            waits = [answer.first_audio_s for answer in answers]
            self._results.add(target.name, Metric.CLIENTS_SPEED, [throughput(answers)], num)
            self._results.add(target.name, Metric.CLIENTS_FIRST_AUDIO_S, waits, num)

    async def _streams(self, target: Target) -> None:
        for num in NUM_STREAMS:
            answers = await self._at_once(target, num, self._plan.num_stream_sentences)
            self._note_streams(target, answers)

    async def _one_stream(self, target: Target) -> None:
        text = self._text(target, self._plan.num_stream_sentences)
        self._note_streams(target, [await target.stream(text)])

    async def _late_arrivals(self, target: Target) -> None:
        """New requests while NUM_OTHERS streams run; each of those starts again at its end."""

        async def stream_on() -> None:
            while True:
                await target.stream(self._text(target, self._plan.num_other_sentences))

        async with asyncio.TaskGroup() as group:
            others = [group.create_task(stream_on()) for _ in range(NUM_OTHERS)]
            await asyncio.sleep(self._plan.lead_s)
            for _ in range(self._plan.num_late_arrivals):
                wait_s = await target.first_audio_s(self._text(target, 1))
                self._results.add(target.name, Metric.BUSY_FIRST_AUDIO_S, [wait_s])
                await asyncio.sleep(self._plan.pause_s)
            for other in others:
                other.cancel()

    async def _at_once(self, target: Target, num_clients: int, num_sentences: int) -> list[Answer]:
        texts = [self._text(target, num_sentences) for _ in range(num_clients)]
        return await asyncio.gather(*(target.stream(text) for text in texts))

    def _note_streams(self, target: Target, answers: list[Answer]) -> None:
        num = len(answers)
        margins = [answer.playback_margin_s for answer in answers]
        gaps = [gap for answer in answers for gap in answer.gaps_s]
        waits = [answer.first_audio_s for answer in answers]
        self._results.add(target.name, Metric.STREAM_MARGIN_S, margins, num)
        self._results.add(target.name, Metric.STREAM_GAP_S, gaps, num)
        self._results.add(target.name, Metric.STREAM_FIRST_AUDIO_S, waits, num)


StartServer = Callable[[str], AbstractAsyncContextManager[HttpTarget]]


def long_text_steps(plan: Plan, results: Results, start: StartServer) -> Iterator[Step]:
    """The memory that a long text takes, by the pace at which it is read.

    Each reader, with each precision, has a new server, which `start` starts.
    """
    for precision in OURS:
        for title, is_slow in (("a long text", False), ("a slow client", True)):
            run = partial(_read_long_text, plan, results, start, precision, is_slow=is_slow)
            yield Step(f"{precision}: {title}", run)


async def _read_long_text(
    plan: Plan, results: Results, start: StartServer, precision: str, *, is_slow: bool
) -> None:
    async with start(precision) as server:
        sentences = iterate_sentences()
        audio_s = (await server.synthesize(next(sentences))).audio_s
        results.add(server.name, Metric.SENTENCE_BYTES, [server.resident_bytes()])
        text = " ".join(islice(sentences, ceil(plan.long_text_s / audio_s)))
        sizes = [server.resident_bytes()]

        async def watch() -> None:
            while True:
                await asyncio.sleep(LOOK_EVERY_S)
                sizes.append(server.resident_bytes())

        watching = asyncio.create_task(watch())
        try:
            if is_slow:
                await _read_slowly(server, text, plan.slow_client_s)
            else:
                await server.stream(text)
        finally:
            watching.cancel()
        metric = Metric.SLOW_CLIENT_BYTES if is_slow else Metric.FAST_CLIENT_BYTES
        results.add(server.name, metric, [max(*sizes, server.resident_bytes())])


async def _read_slowly(server: HttpTarget, text: str, duration_s: float) -> None:
    """Read each chunk when it is due, and disconnect after `duration_s`."""
    started_s = time.monotonic()
    received_s = 0.0
    async with aclosing(server.arrivals(text, SLOW_BUFFER_BYTES)) as arrivals:
        async for arrival in arrivals:
            received_s += arrival.audio_s
            due_s = min(received_s / SLOW_PACE, duration_s)
            await asyncio.sleep(max(0.0, started_s + due_s - time.monotonic()))
            if due_s == duration_s:
                return
