"""Many sentences through one step loop: each as if it were alone, and nothing is left behind."""

import asyncio
import gc
import threading
from collections.abc import AsyncIterator, Callable
from contextlib import aclosing, asynccontextmanager
from pathlib import Path
from types import SimpleNamespace
from typing import Any, NamedTuple

import numpy as np
import psutil
import pytest

from app.adapters.clock import SystemClock
from app.adapters.speech.soprano.checkpoint.checkpoint import read_checkpoint
from app.adapters.speech.soprano.engine import Sampling
from app.adapters.speech.soprano.onnx.engine import OnnxEngine
from app.adapters.speech.soprano.onnx.graph import Precision
from app.adapters.speech.soprano.onnx.sequence import Sequence
from app.adapters.speech.soprano.onnx.sessions import Sessions
from app.domain.errors import InstanceDeadError, SentenceError, SynthesisError
from tests.checkpoints.build import FULL, TINY, CheckpointSize, expected_samples
from tests.fakes.clock import FakeClock
from tests.held_call import HeldCall
from tests.soprano_models import build_onnx_engine

MAX_SENTENCES = 12
WORDS = [
    "the",
    "quick",
    "brown",
    "fox",
    "jumps",
    "over",
    "a",
    "lazy",
    "dog",
    "while",
    "it",
    "rains",
    "in",
    "the",
    "old",
    "harbour",
    "town",
]


@asynccontextmanager
async def loaded(
    directory: Path, precision: Precision = "fp32", max_sentences: int = MAX_SENTENCES
) -> AsyncIterator[OnnxEngine]:
    checkpoint = read_checkpoint(directory)
    engine = await asyncio.to_thread(build_onnx_engine, checkpoint, precision, max_sentences)
    try:
        yield engine
    finally:
        await asyncio.to_thread(engine.close)


class Spoken(NamedTuple):
    """What came of a sentence."""

    samples: np.ndarray
    error: type[SentenceError] | None = None


async def speak(
    engine: OnnxEngine, text: str, sampling: Sampling, *, num_pieces: int | None = None
) -> Spoken:
    """A sentence, or its first pieces."""
    pieces = [np.zeros(0, np.float32)]
    error = None
    prompt = f"[STOP][TEXT]{text}[START]"
    async with aclosing(engine.synthesize(prompt, sampling, 0.0)) as stream:
        try:
            async for piece in stream:
                pieces.append(piece)
                if len(pieces) - 1 == num_pieces:
                    break
        except SentenceError as failure:
            error = type(failure)
    return Spoken(np.concatenate(pieces), error)


def random_text(rng: np.random.Generator) -> str:
    return " ".join(rng.choice(WORDS, rng.integers(1, 40)))


async def check_random_arrivals(
    directory: Path, precision: Precision, num_requests: int, seed: int = 0
) -> None:
    """Requests at random times, a third of them cancelled; those that finish are as if alone."""
    rng = np.random.default_rng(seed)
    texts = [random_text(rng) for _ in range(num_requests)]
    samplings = [
        Sampling(temperature=float(rng.choice([0.0, 0.7, 1.0])), seed=int(rng.integers(1_000)))
        for _ in texts
    ]
    cut_after = [int(rng.integers(1, 4)) if rng.random() < 1 / 3 else None for _ in texts]
    waits_s = rng.uniform(0, 0.02 * num_requests, num_requests)

    async def request(number: int) -> Spoken:
        await asyncio.sleep(waits_s[number])
        return await speak(engine, texts[number], samplings[number], num_pieces=cut_after[number])

    async with loaded(directory, precision) as engine:
        together = await asyncio.gather(*(request(number) for number in range(num_requests)))
        await settled(engine)
        for number, spoken in enumerate(together):
            if cut_after[number] is None:
                alone = await speak(engine, texts[number], samplings[number])
                assert spoken.error is alone.error
                check_same_sound(spoken.samples, alone.samples, is_whole=alone.error is None)


def check_same_sound(samples: np.ndarray, alone: np.ndarray, *, is_whole: bool) -> None:
    """Equal within 1e-4; a sentence that broke off may have done so a piece earlier or later."""
    assert len(samples) == len(alone) or not is_whole
    num_common = min(len(samples), len(alone))
    assert num_common == 0 or np.abs(samples[:num_common] - alone[:num_common]).max() <= 1e-4


async def settled(engine: OnnxEngine) -> None:
    """Wait until the loop has nothing left; fails if something stays."""
    inner: Any = engine
    for _ in range(500):
        all_left = inner._scheduler
        if not (
            inner._requests
            or all_left.waiting
            or all_left.prefilling
            or all_left.running
            or all_left.vocoding
        ):
            return
        await asyncio.sleep(0.01)
    raise AssertionError("a sentence was left behind")


def left_behind() -> tuple[int, int]:
    """Threads of Python and open files of this process."""
    gc.collect()
    return threading.active_count(), psutil.Process().num_fds()


@pytest.mark.parametrize("precision", ["fp32", "int8"])
async def test_requests_at_random_sound_as_they_do_alone_and_leave_nothing(
    make_checkpoint: Callable[..., Path], precision: Precision
) -> None:
    directory = make_checkpoint(says="anything", size=TINY)
    await check_random_arrivals(directory, precision, num_requests=2)  # libraries keep a few files
    before = left_behind()
    await check_random_arrivals(directory, precision, num_requests=60)
    assert left_behind() == before


@pytest.mark.nightly
@pytest.mark.timeout(1_800)
@pytest.mark.parametrize(
    ("size", "precision", "num_requests"),
    [
        (TINY, "fp32", 200),
        (TINY, "int8", 200),
        (FULL, "fp32", 80),
        (FULL, "int8", 200),
    ],
)
async def test_many_requests_at_random_sound_as_they_do_alone_and_leave_nothing(
    make_checkpoint: Callable[..., Path],
    precision: Precision,
    size: CheckpointSize,
    num_requests: int,
) -> None:
    directory = make_checkpoint(says="anything", size=size)
    await check_random_arrivals(directory, precision, num_requests, seed=1)


@pytest.mark.parametrize("precision", ["fp32", "int8"])
async def test_closing_frees_the_row_at_the_next_step(
    make_checkpoint: Callable[..., Path], precision: Precision
) -> None:
    async with loaded(make_checkpoint(tokens_per_sentence=400), precision, 2) as engine:
        inner: Any = engine
        held = HeldCall(inner._language_model, "decode", 100)
        stream = engine.synthesize("[STOP][TEXT]a sentence.[START]", Sampling(), 0.0)
        await anext(stream)
        await asyncio.to_thread(held.wait_until_begun)
        await stream.aclose()
        held.go_on()
        await settled(engine)
        assert held.num_calls == 100


async def test_more_sentences_than_rows_wait_and_are_all_spoken(
    make_checkpoint: Callable[..., Path],
) -> None:
    async with loaded(make_checkpoint(tokens_per_sentence=12), max_sentences=3) as engine:
        spoken = await asyncio.gather(
            *(speak(engine, f"sentence {n} of a few.", Sampling()) for n in range(15))
        )
    assert [len(one.samples) for one in spoken] == [expected_samples(12)] * 15


async def test_a_reader_that_never_reads_holds_up_nobody(
    make_checkpoint: Callable[..., Path],
) -> None:
    async with loaded(make_checkpoint(tokens_per_sentence=60), max_sentences=2) as engine:
        idle = [
            engine.synthesize("[STOP][TEXT]nobody hears this.[START]", Sampling(), 0.0)
            for _ in range(4)
        ]
        for stream in idle:
            await anext(stream)
        spoken = await speak(engine, "but this one is heard.", Sampling())
        assert len(spoken.samples) == expected_samples(60)
        for stream in idle:
            await stream.aclose()


@pytest.mark.parametrize("num_tokens", [2, 3, 4, 5, 511])
async def test_the_shortest_and_the_longest_sentence_are_whole(
    make_checkpoint: Callable[..., Path], num_tokens: int
) -> None:
    async with loaded(make_checkpoint(tokens_per_sentence=num_tokens)) as engine:
        spoken = await speak(engine, "words.", Sampling())
    assert len(spoken.samples) == expected_samples(num_tokens)


async def test_a_prompt_longer_than_the_cache_is_refused(
    make_checkpoint: Callable[..., Path],
) -> None:
    async with loaded(make_checkpoint()) as engine:
        with pytest.raises(SynthesisError, match="more than the model can hold"):
            await speak(engine, "x " * 600, Sampling())


async def test_closing_ends_sentences_that_are_being_spoken(
    make_checkpoint: Callable[..., Path],
) -> None:
    async with loaded(make_checkpoint(tokens_per_sentence=400)) as engine:
        stream = engine.synthesize("[STOP][TEXT]a sentence.[START]", Sampling(), 0.0)
        await anext(stream)
        await asyncio.to_thread(engine.close)
        with pytest.raises(InstanceDeadError):
            async for _ in stream:
                pass
        with pytest.raises(InstanceDeadError):
            await speak(engine, "another.", Sampling())


async def test_a_runtime_that_fails_is_told_to_everybody(
    make_checkpoint: Callable[..., Path],
) -> None:
    async with loaded(make_checkpoint(tokens_per_sentence=400)) as engine:
        inner: Any = engine
        stream = engine.synthesize("[STOP][TEXT]a sentence.[START]", Sampling(), 0.0)
        await anext(stream)
        inner._language_model._decode_sessions = {}  # as if the runtime had failed
        inner._language_model._decode_bindings.clear()
        with pytest.raises(InstanceDeadError):
            async for _ in stream:
                pass
        with pytest.raises(InstanceDeadError):
            await speak(engine, "another.", Sampling())


async def test_a_decoder_that_fails_beside_the_steps_is_told_to_everybody(
    make_checkpoint: Callable[..., Path],
) -> None:
    async with loaded(make_checkpoint(tokens_per_sentence=400), "int8") as engine:
        inner: Any = engine
        assert inner._background is not None
        streams = [
            engine.synthesize(f"[STOP][TEXT]sentence {n}.[START]", Sampling(), 0.0)
            for n in range(3)
        ]
        for stream in streams:
            await anext(stream)
        inner._vocoder._session = None  # as if the runtime had failed
        for stream in streams:
            with pytest.raises(InstanceDeadError):
                async for _ in stream:
                    pass


async def test_what_is_planned_for_the_second_thread_is_planned_for_nobody_else() -> None:
    vocoder: Any = SimpleNamespace(new_state=SimpleNamespace)
    inner: Any = OnnxEngine(Sessions(vocoder, vocoder, None, 0, 1, is_split=True), SystemClock())
    sequence = Sequence([1], Sampling(), 0.0, eos_id=0)
    sequence.states = [np.zeros(4, np.float32)] * 8
    inner.submit(sequence)
    with inner._lock:
        inner._receive()
        inner._scheduler.waiting.clear()
        inner._scheduler.vocoding.append(sequence)
        assert inner._next_background() is not None
        assert inner._next_background() is None


async def test_a_request_that_comes_during_a_prefill_is_known_before_the_next_one() -> None:
    prefilled: list[int] = []

    def prefill(_slot: int, tokens: list[int], *_: Any, **__: Any) -> tuple[Any, Any]:
        prefilled.extend(tokens)
        if len(prefilled) == 1:
            inner.submit(Sequence([3], Sampling(), 0.0, eos_id=0))
        return np.zeros((1, 4), np.float32), np.zeros((1, 8), np.float32)

    vocoder: Any = SimpleNamespace(new_state=SimpleNamespace)
    language_model: Any = SimpleNamespace(prefill=prefill)
    sessions = Sessions(language_model, vocoder, None, 0, 4, is_split=False)
    inner: Any = OnnxEngine(sessions, FakeClock())
    inner._decode = lambda _slots: None
    streams = [inner.submit(Sequence([n], Sampling(), n / 10, eos_id=0)) for n in (1, 2)]
    with inner._lock:
        inner._receive()
        inner._run_once()
    assert prefilled == [1, 3, 2]
    for stream in streams:
        await stream.aclose()


async def test_sentences_that_are_left_while_they_are_read_hold_up_nobody(
    make_checkpoint: Callable[..., Path],
) -> None:
    async with loaded(make_checkpoint(tokens_per_sentence=200), "int8", 4) as engine:
        heard = asyncio.create_task(speak(engine, "this one is heard.", Sampling()))
        for number in range(30):
            left = asyncio.create_task(speak(engine, f"{number} " + "words " * 40, Sampling()))
            await asyncio.sleep(0.003 * (number % 5))
            left.cancel()
        assert len((await heard).samples) == expected_samples(200)
        await settled(engine)


@pytest.mark.parametrize("precision", ["fp32", "int8"])
async def test_a_seed_gives_the_same_sound_and_another_one_another(
    make_checkpoint: Callable[..., Path], precision: Precision
) -> None:
    async with loaded(make_checkpoint(says="anything"), precision) as engine:
        first, again, other = [
            await speak(engine, "draw lots for this.", Sampling(temperature=1.0, seed=seed))
            for seed in (1, 1, 2)
        ]
    assert np.array_equal(first.samples, again.samples)
    assert not np.array_equal(first.samples, other.samples)


async def test_memory_is_flat_over_many_sentences(make_checkpoint: Callable[..., Path]) -> None:
    async with loaded(make_checkpoint(tokens_per_sentence=100), "int8") as engine:

        async def speak_some() -> float:
            for _ in range(10):
                await asyncio.gather(
                    *(speak(engine, f"sentence {n}.", Sampling()) for n in range(12))
                )
            gc.collect()
            return float(psutil.Process().memory_info().rss) / 1e6

        await speak_some()
        before_mb = await speak_some()
        assert await speak_some() - before_mb < 15
