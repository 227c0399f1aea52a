"""A model in a process of its own: real processes, and signs of life at four times the pace."""

import asyncio
import os
import signal
import socket
import sys
import threading
import time
from collections.abc import AsyncIterator, Callable
from contextlib import suppress
from errno import EMFILE
from functools import partial
from pathlib import Path
from typing import Any, NoReturn

import numpy as np
import psutil
import pytest
from structlog.contextvars import bound_contextvars, get_contextvars
from structlog.testing import capture_logs

from app.adapters.speech.worker.client import WorkerModel, start_worker
from app.adapters.speech.worker.protocol import CLOSE_LIMIT_S, MAX_MISSED_HEARTBEATS
from app.domain.errors import (
    InstanceDeadError,
    ModelLoadError,
    RunawaySpeechError,
    SentenceError,
    SynthesisError,
)
from app.domain.segment import TextSegment
from app.domain.speech import SamplingParams, SynthesisParams, Voice
from tests.fakes.speech_model import FAKE_INFO, FakeSpeechModel
from tests.fakes.speech_observer import FakeSpeechObserver
from tests.obedient_worker import HURRY, HurriedClock, isolated

PARAMS = SynthesisParams(FAKE_INFO.voices[0])
TEXT = "One sentence, which is hummed."
LIMIT_S = 30.0
"""For whatever should happen soon; generous, for busy machines."""


@pytest.fixture
async def model() -> AsyncIterator[WorkerModel]:
    model = isolated()
    await model.load()
    yield model
    await model.close()


async def speak(model: Any, text: str = TEXT) -> np.ndarray:
    chunks = model.synthesize(TextSegment(0, text), PARAMS)
    return np.concatenate([chunk.samples async for chunk in chunks])


async def until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(LIMIT_S):
        while not condition():
            await asyncio.sleep(0.01)


def pid_of(model: WorkerModel) -> int:
    assert model.pid is not None
    return model.pid


async def test_it_sounds_as_it_would_here(model: WorkerModel) -> None:
    assert np.array_equal(await speak(model), await speak(FakeSpeechModel()))
    assert pid_of(model) != os.getpid()


async def test_samples_are_our_own_and_can_be_written(model: WorkerModel) -> None:
    chunk = await anext(model.synthesize(TextSegment(0, TEXT), PARAMS))
    assert chunk.samples.base is None
    chunk.samples[0] = 1.0


async def test_many_sentences_at_once_do_not_mix(model: WorkerModel) -> None:
    texts = [f"Sentence {'x' * number}." for number in range(40)]
    together = await asyncio.gather(*(speak(model, text) for text in texts))
    lengths = [len(samples) for samples in together]
    assert lengths == sorted(lengths)
    assert len(set(lengths)) == len(texts)


@pytest.mark.parametrize("text", ["\ud800 half a pair", "nul \0", "🎉" * 50, "é" * 4_000])
async def test_any_text_crosses(model: WorkerModel, text: str) -> None:
    assert len(await speak(model, text)) == len(await speak(FakeSpeechModel(), text))


async def test_all_of_a_delivery_crosses(model: WorkerModel) -> None:
    sampling = SamplingParams(seed=2**31, temperature=0.5, top_p=0.1)
    params = SynthesisParams(Voice("bee", "Bée", "fr"), 1.25, sampling)
    chunks = model.synthesize(TextSegment(7, TEXT), params, due_at=1e9)
    fast = [chunk async for chunk in chunks]
    assert sum(chunk.num_samples for chunk in fast) < len(await speak(model))
    assert fast[0].num_input_tokens == len(TEXT)


async def test_what_a_model_raises_is_logged_there_and_a_failure_here(
    capfd: pytest.CaptureFixture[str],
) -> None:
    model = isolated()
    await model.load()
    with pytest.raises(SynthesisError) as raised:
        await speak(model, "raise now")
    assert type(raised.value) is SynthesisError
    assert "secret" not in str(raised.value)
    assert len(await speak(model))
    await model.close()
    assert "secret of a library" in capfd.readouterr().err


async def test_a_dead_instance_says_so_through_its_process(model: WorkerModel) -> None:
    with pytest.raises(InstanceDeadError) as raised:
        await speak(model, "dead now")
    assert raised.value.reason == "failed"


class ContextObserver(FakeSpeechObserver):
    """Remembers in whose context it was told."""

    def __init__(self) -> None:
        super().__init__()
        self.contexts: list[dict[str, Any]] = []

    def sentence_failed(self, error: SentenceError, attempt: int) -> None:
        super().sentence_failed(error, attempt)
        self.contexts.append(dict(get_contextvars()))


async def test_what_happens_to_a_sentence_is_told_here_in_the_context_of_its_listener() -> None:
    observer = ContextObserver()
    model = isolated(observer=observer)
    await model.load()
    with bound_contextvars(request_id="r1"):
        assert len(await speak(model, "report this"))
    ((error, attempt),) = observer.failed_sentences
    assert type(error) is RunawaySpeechError
    assert attempt == 3
    assert observer.contexts == [{"request_id": "r1"}]
    await model.close()


async def test_a_stopped_sentence_soon_takes_nothing(model: WorkerModel) -> None:
    generators = [
        model.synthesize(TextSegment(0, f"{order} {TEXT * 50}"), PARAMS)
        for order in ("slow", "late hang", "hang")
    ]
    for generator in generators[:2]:
        await anext(generator)
    waiting = asyncio.ensure_future(anext(generators[2]))
    await asyncio.sleep(0)
    assert len(model._open) == 3
    waiting.cancel()
    await asyncio.gather(waiting, return_exceptions=True)
    for generator in generators:
        await generator.aclose()
    await until(lambda: not model._open)
    assert len(await speak(model))


async def test_a_reader_who_sleeps_holds_up_nobody(model: WorkerModel) -> None:
    sleeping = model.synthesize(TextSegment(0, TEXT * 400), PARAMS)
    await anext(sleeping)
    async with asyncio.timeout(LIMIT_S):
        assert len(await speak(model))
    await sleeping.aclose()


@pytest.mark.parametrize(
    ("order", "end"),
    [
        ("signal 9", "SIGKILL"),
        ("signal 11", "SIGSEGV"),
        ("exit", "code 3"),
    ],
)
async def test_a_worker_that_dies_takes_its_sentences_with_it_at_once(order: str, end: str) -> None:
    deaths: list[InstanceDeadError] = []
    model = isolated(on_death=deaths.append, index=1)
    await model.load()
    pid = model.pid
    with capture_logs() as events:
        streams = [model.synthesize(TextSegment(0, f"slow {TEXT * 50}"), PARAMS) for _ in range(3)]
        for stream in streams:
            await anext(stream)
        killer = asyncio.create_task(speak(model, f"late {order}{' x' * 50}"))
        results = await asyncio.gather(
            killer, *(drain(stream) for stream in streams), return_exceptions=True
        )
        with pytest.raises(InstanceDeadError):
            await speak(model)
        await model.close()
    assert [type(result) for result in results] == [InstanceDeadError] * 4
    assert len({id(result) for result in results}) == 4
    assert [death.reason for death in deaths] == ["crashed"]
    (died,) = [event for event in events if event["event"] == "worker.died"]
    assert died.items() >= {"pid": pid, "instance": 1, "reason": "crashed", "exit": end}.items()


async def drain(stream: Any) -> None:
    async for _ in stream:
        pass


async def test_an_idle_worker_that_dies_is_noticed() -> None:
    deaths: list[InstanceDeadError] = []
    model = isolated(on_death=deaths.append)
    await model.load()
    os.kill(pid_of(model), signal.SIGKILL)
    await until(lambda: bool(deaths))
    await model.close()


@pytest.mark.parametrize("how", ["SIGSTOP", "block"])
async def test_a_worker_without_signs_of_life_is_killed(how: str) -> None:
    deaths: list[InstanceDeadError] = []
    model = isolated(on_death=deaths.append)
    await model.load()
    pid = pid_of(model)
    speaking = asyncio.create_task(speak(model, "block now" if how == "block" else "hang now"))
    await asyncio.sleep(0.1)
    if how == "SIGSTOP":
        os.kill(pid, signal.SIGSTOP)
    started = time.monotonic()
    with pytest.raises(InstanceDeadError):
        await asyncio.wait_for(speaking, LIMIT_S)
    assert time.monotonic() - started > MAX_MISSED_HEARTBEATS / HURRY / 2
    assert [death.reason for death in deaths] == ["silent"]
    await model.close()
    assert not psutil.pid_exists(pid)


async def test_a_server_that_stood_still_does_not_take_its_worker_for_dead(
    model: WorkerModel,
) -> None:
    stand_still(1.5 * MAX_MISSED_HEARTBEATS / HURRY)
    await asyncio.sleep(0.5)
    assert len(await speak(model))


def stand_still(duration_s: float) -> None:
    time.sleep(duration_s)


async def test_a_worker_beats_while_it_loads_and_loading_may_take_long() -> None:
    model = isolated("deaf loading")
    loading = asyncio.create_task(model.load())
    await asyncio.sleep(2 * MAX_MISSED_HEARTBEATS / HURRY)
    assert not loading.done()
    loading.cancel()
    await asyncio.gather(loading, return_exceptions=True)
    pid = pid_of(model)
    await model.close()
    assert not psutil.pid_exists(pid)


@pytest.mark.parametrize("order", ["signal 9", "exit"])
async def test_a_worker_that_dies_while_it_loads_is_a_dead_instance(order: str) -> None:
    deaths: list[InstanceDeadError] = []
    model = isolated(order, on_death=deaths.append)
    with pytest.raises(InstanceDeadError) as raised:
        await model.load()
    assert raised.value.reason == "crashed"
    assert deaths == []
    await model.close()


async def test_a_model_that_cannot_load_says_why() -> None:
    model = isolated("refuse")
    with pytest.raises(ModelLoadError, match="There are no weights"):
        await model.load()
    await model.close()


async def test_whatever_else_loading_raises_is_logged_there(
    capfd: pytest.CaptureFixture[str],
) -> None:
    model = isolated("raise")
    with pytest.raises(ModelLoadError, match="ValueError"):
        await model.load()
    await model.close()
    assert "secret of a library" in capfd.readouterr().err


async def test_a_process_that_cannot_be_started_is_a_dead_instance() -> None:
    with pytest.raises(InstanceDeadError):
        await start_worker(["/nowhere/python"], {}, b"", 0)


async def test_what_speaks_another_language_is_as_good_as_dead() -> None:
    garbage = "import socket, sys; s = socket.socket(fileno=int(sys.argv[1]))\n"
    garbage += "s.sendall(bytes([2, 0, 0, 0, 0, 0, 0, 0, 193, 193])); s.recv(10000); s.recv(1)"
    start = partial(start_worker, [sys.executable, "-c", garbage], {}, b"", 0)
    observer = FakeSpeechObserver()
    model = WorkerModel(FakeSpeechModel(), start, HurriedClock(), observer, lambda _: None)
    with capture_logs() as events, pytest.raises(InstanceDeadError):
        await model.load()
    await model.close()
    assert "worker.not_understood" in [event["event"] for event in events]


async def test_closing_ends_everything() -> None:
    process = psutil.Process()
    await closing_leaves_nothing()
    before = process.num_fds(), len(process.children()), shared_memory()
    await closing_leaves_nothing()
    assert (process.num_fds(), len(process.children()), shared_memory()) == before


async def closing_leaves_nothing() -> None:
    model = isolated()
    await model.load()
    with capture_logs() as events:
        speaking = asyncio.create_task(speak(model, "hang now"))
        await asyncio.sleep(0.05)
        await model.close()
    with pytest.raises(InstanceDeadError):
        await speaking
    assert [(event["event"], event["exit"]) for event in events] == [("worker.stopped", "code 0")]


def shared_memory() -> set[str]:
    directory = Path("/dev/shm")
    return {path.name for path in directory.iterdir()} if directory.exists() else set()


async def test_a_death_leaves_nothing_either() -> None:
    process = psutil.Process()
    await closing_leaves_nothing()
    before = process.num_fds(), len(process.children()), shared_memory()
    for _ in range(3):
        model = isolated()
        await model.load()
        with pytest.raises(InstanceDeadError):
            await speak(model, "signal 9")
        await model.close()
    with pytest.raises(InstanceDeadError):
        await start_worker(["/nowhere/python"], {}, b"", 0)
    assert (process.num_fds(), len(process.children()), shared_memory()) == before


async def test_a_worker_that_does_not_end_is_killed() -> None:
    model = isolated()
    await model.load()
    speaking = asyncio.create_task(speak(model, "block now"))
    await asyncio.sleep(0.1)
    started = time.monotonic()
    with capture_logs() as events:
        await model.close()
    assert time.monotonic() - started < 3 * CLOSE_LIMIT_S + LIMIT_S
    with suppress(InstanceDeadError):
        await speaking
    assert [event["exit"] for event in events] == ["SIGKILL"]


async def test_closing_may_be_broken_off_and_done_again() -> None:
    model = isolated()
    await model.load()
    pid = pid_of(model)
    closing = asyncio.create_task(model.close())
    await asyncio.sleep(0)
    closing.cancel()
    await asyncio.gather(closing, return_exceptions=True)
    await model.close()
    assert not psutil.pid_exists(pid)
    assert threading.active_count() < 50


@pytest.mark.skipif(sys.platform == "win32", reason="needs signals")
async def test_a_worker_is_no_part_of_our_terminal(model: WorkerModel) -> None:
    assert os.getsid(pid_of(model)) != os.getsid(0)


async def test_a_worker_for_whose_socket_there_is_no_room_is_a_dead_instance(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def fail() -> NoReturn:
        raise OSError(EMFILE, "too many open files")

    monkeypatch.setattr(socket, "socketpair", fail)
    with pytest.raises(InstanceDeadError):
        await start_worker([sys.executable], {}, b"", 0)
