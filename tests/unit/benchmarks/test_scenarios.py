"""What each target is asked for, in which order, and the sentences it synthesizes."""

import asyncio
from collections.abc import Callable
from itertools import islice
from pathlib import Path

from tokenizers import Tokenizer

from app.adapters.speech.soprano.text import prompt_for, split_for_soprano
from app.domain.text.front_end import segment_text
from benchmarks.results import (
    OURS_INT8,
    PACKAGE,
    PACKAGE_SERVER,
    Answer,
    Arrival,
    Metric,
    Results,
)
from benchmarks.scenarios import MAX_CHARS, MIN_CHARS, Plan, Rounds, iterate_sentences
from benchmarks.targets import Target

PLAN = Plan(
    clients=(1, 2),
    rounds=2,
    lengths=(1, 3),
    num_late_arrivals=3,
    num_repeats=2,
    lead_s=0.01,
    pause_s=0,
)
AUDIO_S = 5.0
WAIT_S = 0.25


class FakeTarget(Target):
    """Takes a second for every text and remembers it."""

    def __init__(self, name: str, *, is_server: bool = True) -> None:
        self.name = name
        self.is_ours = name == OURS_INT8
        self.is_server = is_server
        self.texts: list[str] = []
        self.num_speaking = self.most_speaking = 0

    async def synthesize(self, text: str) -> Answer:
        self.texts.append(text)
        self.num_speaking += 1
        self.most_speaking = max(self.most_speaking, self.num_speaking)
        try:
            await asyncio.sleep(0)
        finally:
            self.num_speaking -= 1
        return Answer(0.0, [Arrival(WAIT_S, AUDIO_S)], 1.0)

    def resident_bytes(self) -> int:
        return 1_000_000


class Run:
    """Three targets, measured."""

    def __init__(self) -> None:
        self.ours = FakeTarget(OURS_INT8)
        self.package = FakeTarget(PACKAGE, is_server=False)
        self.server = FakeTarget(PACKAGE_SERVER)
        self.results = Results()
        self.titles: list[str] = []

    async def go(self) -> "Run":
        for step in Rounds(PLAN, self.results).steps([self.ours, self.package, self.server]):
            self.titles.append(step.title)
            await step.run()
        return self


async def test_each_scenario_goes_from_one_to_the_next_in_every_round() -> None:
    titles = (await Run().go()).titles
    for index in (1, 2):
        start = titles.index(f"round {index}, {OURS_INT8}: one sentence")
        names = [title.split(", ")[1].split(":")[0] for title in titles[start : start + 3]]
        assert names == [OURS_INT8, PACKAGE, PACKAGE_SERVER]


async def test_ours_is_asked_for_everything_and_the_package_for_what_it_can_do() -> None:
    results = (await Run().go()).results
    assert results.percentile(50, OURS_INT8, Metric.SENTENCE_SPEED, 0) == AUDIO_S
    assert results.percentile(50, OURS_INT8, Metric.BUSY_FIRST_AUDIO_S, 0) == WAIT_S
    assert results.percentile(50, PACKAGE, Metric.CLIENTS_SPEED, 2) is None
    assert results.percentile(50, PACKAGE_SERVER, Metric.CLIENTS_SPEED, 2) == 2 * AUDIO_S
    assert results.percentile(50, PACKAGE_SERVER, Metric.STREAM_MARGIN_S, 8) is None
    assert results.percentile(50, PACKAGE, Metric.STREAM_MARGIN_S, 1) == AUDIO_S


async def test_many_clients_ask_at_once() -> None:
    run = await Run().go()
    assert run.ours.most_speaking == 16
    assert run.server.most_speaking == 2
    assert run.package.most_speaking == 1


async def test_no_text_is_spoken_twice_by_the_same_target() -> None:
    texts = (await Run().go()).ours.texts
    assert len(set(texts)) == len(texts)


NUM = 5_000  # more than a target synthesizes in a run


def test_sentences_differ_and_have_the_length_they_should() -> None:
    sentences = list(islice(iterate_sentences(), NUM))
    assert len(set(sentences)) == NUM
    assert all(MIN_CHARS <= len(sentence) <= MAX_CHARS for sentence in sentences)


def test_they_are_the_same_every_time() -> None:
    assert list(islice(iterate_sentences(), 9)) == list(islice(iterate_sentences(), 9))


def test_none_is_joined_or_split_or_changed_in_length() -> None:
    sentences = list(islice(iterate_sentences(), 40))
    segments = segment_text(" ".join(sentences), split_for_soprano)
    assert [len(segment.text) for segment in segments] == [len(one) for one in sentences]


def test_their_prompts_have_about_55_tokens(make_checkpoint: Callable[..., Path]) -> None:
    tokenizer = Tokenizer.from_file(str(make_checkpoint() / "tokenizer.json"))
    segments = segment_text(" ".join(islice(iterate_sentences(), 40)), split_for_soprano)
    counts = [len(tokenizer.encode(prompt_for(segment)).ids) for segment in segments]
    assert min(counts) >= 45
    assert max(counts) <= 60
