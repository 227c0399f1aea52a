"""Instances of the model in processes of their own, in a real server: killed, stopped, hung.

The figures are printed; what is asserted is generous, for busy machines.
"""

import asyncio
import os
import signal
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import psutil
import pytest
from hibari.tts import voice_path

from tests.checkpoints.build import expected_samples
from tests.eventually import wait_until
from tests.serving import (
    WITHOUT_CACHE,
    ServerProcess,
    run_console,
    server_process,
    wait_for_status,
)

SPEECH = "/v1/audio/speech"
ISOLATED = {
    **WITHOUT_CACHE,
    "SOPRANO_MODEL__PLACEMENT": "process",
    "SOPRANO_MODEL__INSTANCES": "2",
    "SOPRANO_MODEL__NUM_THREADS": "1",
}
NUM_TOKENS = 300
NUM_STREAMS = 8
NUM_AT_ONCE = 2
"""Sentences that an instance speaks at once: of eight, four sound and four wait."""

SENTENCES = [f"Sentence number {number} of them." for number in range(NUM_STREAMS)]

NUM_BYTES = 2 * expected_samples(NUM_TOKENS)
"""Of a whole answer, as PCM at the model's own rate."""

LIMIT_S = 100.0
RUNNING = "soprano_sentences_running "

VOICE = """
import os, signal, time
from pathlib import Path
import numpy as np

class Hibari:
    model_path = Path(__file__).with_name("voice.onnx")

    def __init__(self, voice, threads):
        bullets = Path(__file__).with_name("bullets")
        num_left = int(bullets.read_text() or 0) if bullets.exists() else 0
        if num_left:
            bullets.write_text(str(num_left - 1))
            os.kill(os.getpid(), signal.SIGKILL)

    def __call__(self, text, seed):
        return None

    def g2p(self, text, normalize_text):
        if "fatal" in text:
            os.kill(os.getpid(), signal.SIGSEGV)
        if "slowly" in text:
            time.sleep(0.3)
        if "labyrinth" in text:
            time.sleep(1000)
        return text

    def ids(self, phonemes):
        return list(range(len(phonemes)))

    def from_ids(self, ids, speed, noise):
        return np.sin(np.arange(2400 * len(ids)) / 20).astype(np.float32) / 2
"""
"""A stand-in for the package of the embedded voice: it hums, is slow, crashes or hangs as told."""


def started(server: ServerProcess) -> list[int]:
    """The workers so far, by their pids."""
    return [int(str(event["pid"])) for event in server.log_events(event="worker.started")]


def num_running(server: ServerProcess) -> float:
    """Sentences that the instances speak now."""
    lines = httpx.get(f"{server.url}/metrics").text.splitlines()
    return sum(float(line.split()[1]) for line in lines if line.startswith(RUNNING))


def wait_for_instances(server: ServerProcess, number: int) -> float:
    return wait_until(lambda: len(server.log_events(event="pool.instance_ready")) >= number)


@contextmanager
def soprano_server(
    directory: Path, tmp_path: Path, prefetch_s: float = 0.0, at_once: int = NUM_AT_ONCE
) -> Iterator[ServerProcess]:
    environ = {
        **ISOLATED,
        "SOPRANO_MODEL__MAX_BATCH_SIZE": str(at_once),
        "SOPRANO_SPEECH__PREFETCH_S": str(prefetch_s),
        "SOPRANO_ADMISSION__MAX_RUNNING": str(NUM_STREAMS),
        # A busy machine is no reason to give up.
        "SOPRANO_RESILIENCE__CHUNK_TIMEOUT_S": str(LIMIT_S),
    }
    arguments = ["--backend", "onnx", "--model", str(directory)]
    with server_process(tmp_path / "server.log", *arguments, environ=environ) as server:
        wait_for_instances(server, 2)
        yield server


@contextmanager
def humming_server(tmp_path: Path, **settings: str) -> Iterator[ServerProcess]:
    (tmp_path / "hibari.py").write_text(VOICE)
    (tmp_path / "voice.onnx").symlink_to(voice_path("heart"))
    environ = {
        **ISOLATED,
        "PYTHONPATH": str(tmp_path),
        **{f"SOPRANO_{name.upper()}": value for name, value in settings.items()},
    }
    arguments = ["--backend", "embedded"]
    with server_process(tmp_path / "server.log", *arguments, environ=environ) as server:
        yield server


def ask(server: ServerProcess, text: str, **fields: Any) -> httpx.Response:
    return httpx.post(server.url + SPEECH, json={"input": text, **fields}, timeout=LIMIT_S)


def ask_for_whole(server: ServerProcess, text: str) -> httpx.Response:
    return ask(server, text, stream=False, response_format="pcm")


class Stream:
    """One of many requests."""

    def __init__(self, text: str) -> None:
        self._text = text
        self.status = 0
        self.num_bytes = 0
        self.is_broken = False
        self.has_bytes = asyncio.Event()

    async def run(self, client: httpx.AsyncClient) -> None:
        body = {
            "input": self._text,
            "response_format": "pcm",
            "sample_rate": 32_000,
        }
        try:
            async with client.stream("POST", SPEECH, json=body) as answer:
                self.status = answer.status_code
                async for part in answer.aiter_raw():
                    self.num_bytes += len(part)
                    self.has_bytes.set()
        except httpx.RemoteProtocolError as error:
            self.is_broken = "incomplete chunked read" in str(error)

    @property
    def is_whole(self) -> bool:
        return self.status == 200 and self.num_bytes == NUM_BYTES and not self.is_broken


@pytest.fixture
async def load() -> AsyncIterator[Callable[..., Any]]:
    clients: list[httpx.AsyncClient] = []

    async def begin(
        server: ServerProcess, texts: list[str] = SENTENCES, num_sounding: int = 2 * NUM_AT_ONCE
    ) -> tuple[list[Stream], "asyncio.Future[Any]"]:
        """A request for each text, until so many have sound."""
        client = httpx.AsyncClient(base_url=server.url, timeout=LIMIT_S)
        clients.append(client)
        streams = [Stream(text) for text in texts]
        running = asyncio.gather(*(stream.run(client) for stream in streams))
        async with asyncio.timeout(LIMIT_S):
            while sum(stream.has_bytes.is_set() for stream in streams) < num_sounding:
                await asyncio.sleep(0.005)
        return streams, running

    yield begin
    for client in clients:
        await client.aclose()


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGSEGV])
async def test_the_death_of_a_worker_breaks_what_it_spoke_and_nothing_else(
    make_checkpoint: Callable[..., Path],
    tmp_path: Path,
    load: Any,
    capsys: pytest.CaptureFixture[str],
    number: signal.Signals,
) -> None:
    directory = make_checkpoint(tokens_per_sentence=NUM_TOKENS)
    with soprano_server(directory, tmp_path) as server:
        streams, running = await load(server)
        with_bytes = [stream for stream in streams if stream.has_bytes.is_set()]
        os.kill(started(server)[0], number)
        back_s = await asyncio.to_thread(wait_for_instances, server, 3)
        await running
        after = await asyncio.to_thread(ask, server, "And now?")
    broken = [stream for stream in streams if stream.is_broken]
    with capsys.disabled():
        print(f"\n{number.name}: {len(broken)} of {NUM_STREAMS} broken, back in {back_s:.1f} s")
    assert all(stream.is_whole != stream.is_broken for stream in streams)
    assert len(broken) <= NUM_AT_ONCE
    assert all(stream in with_bytes for stream in broken)
    assert broken, "it was in the middle of something"
    assert after.status_code == 200
    assert server.exit_code() == 0


async def test_a_whole_answer_outlives_the_worker_that_speaks_it(
    make_checkpoint: Callable[..., Path], tmp_path: Path, load: Any
) -> None:
    """Also if sound of it was made: streams that began after it are being heard."""
    directory = make_checkpoint(tokens_per_sentence=NUM_TOKENS)
    with soprano_server(directory, tmp_path) as server:
        asking = [
            asyncio.create_task(asyncio.to_thread(ask_for_whole, server, text))
            for text in SENTENCES[:NUM_AT_ONCE]
        ]
        await asyncio.to_thread(wait_until, lambda: num_running(server) == NUM_AT_ONCE)
        streams, running = await load(server, SENTENCES[NUM_AT_ONCE : 2 * NUM_AT_ONCE], NUM_AT_ONCE)
        os.kill(started(server)[0], signal.SIGKILL)
        answers = await asyncio.gather(*asking)
        await running
        known = [await asyncio.to_thread(ask_for_whole, server, text) for text in SENTENCES[:2]]
    assert any(stream.is_broken for stream in streams), "it was in the middle of something"
    assert [answer.status_code for answer in answers] == [200] * NUM_AT_ONCE
    assert [answer.content for answer in answers] == [answer.content for answer in known]


async def test_whole_answers_of_the_embedded_voice_outlive_all_workers_one_by_one(
    tmp_path: Path,
) -> None:
    def text(number: int) -> str:
        return f"This is text {number}. It has three sentences. This is the end of {number}."

    with server_process(
        tmp_path / "server.log", "--backend", "embedded", environ=ISOLATED
    ) as server:
        answers: list[httpx.Response] = []
        for num_died in range(3):
            await asyncio.to_thread(wait_for_instances, server, 2 + num_died)
            asking = [
                asyncio.create_task(asyncio.to_thread(ask_for_whole, server, text(number)))
                for number in range(8 * num_died, 8 * num_died + 8)
            ]
            await asyncio.sleep(0.3)
            os.kill(started(server)[num_died], signal.SIGKILL)
            answers += await asyncio.gather(*asking)
        known = [
            await asyncio.to_thread(ask_for_whole, server, text(number)) for number in range(24)
        ]
    assert [answer.status_code for answer in answers] == [200] * 24
    assert [answer.content for answer in answers] == [answer.content for answer in known]


async def test_whole_answers_outlive_all_workers_that_are_killed_at_once(tmp_path: Path) -> None:
    """A repeat must not meet the next worker that is dead and not yet known to be."""
    with server_process(
        tmp_path / "server.log", "--backend", "embedded", environ=ISOLATED
    ) as server:
        statuses: list[int] = []
        for num_died in (0, 2, 4):
            await asyncio.to_thread(wait_for_instances, server, 2 + num_died)
            asking = [
                asyncio.create_task(
                    asyncio.to_thread(
                        ask_for_whole,
                        server,
                        " ".join(f"This is {part} of text {number}." for part in range(20)),
                    )
                )
                for number in range(num_died, num_died + 6)
            ]
            await asyncio.sleep(0.5)
            for pid in started(server)[num_died : num_died + 2]:
                os.kill(pid, signal.SIGKILL)
            statuses += [answer.status_code for answer in await asyncio.gather(*asking)]
    assert statuses == [200] * 18


async def test_long_texts_that_are_heard_from_another_worker_go_on_without_a_gap(
    make_checkpoint: Callable[..., Path], tmp_path: Path, load: Any
) -> None:
    """Though half of what was spoken ahead of their listeners is lost."""
    num_tokens, num_sentences = 150, 6
    directory = make_checkpoint(tokens_per_sentence=num_tokens)
    texts = [
        " ".join(f"This is sentence {index} of text {number}." for index in range(num_sentences))
        for number in range(4)
    ]
    num_bytes = num_sentences * 2 * expected_samples(num_tokens)
    with soprano_server(directory, tmp_path, prefetch_s=60.0, at_once=32) as server:
        streams, running = await load(server, texts, len(texts))
        os.kill(started(server)[0], signal.SIGKILL)
        await running
    whole = [stream for stream in streams if stream.num_bytes == num_bytes]
    assert all((stream in whole) != stream.is_broken for stream in streams)
    assert len(whole) >= len(texts) / 2


async def test_a_worker_that_is_stopped_is_replaced_and_the_others_are_served(
    make_checkpoint: Callable[..., Path],
    tmp_path: Path,
    load: Any,
    capsys: pytest.CaptureFixture[str],
) -> None:
    directory = make_checkpoint(tokens_per_sentence=NUM_TOKENS)
    with soprano_server(directory, tmp_path) as server:
        streams, running = await load(server)
        os.kill(started(server)[0], signal.SIGSTOP)
        back_s = await asyncio.to_thread(wait_for_instances, server, 3)
        await running
        (death,) = server.log_events(event="model.instance_died")
    failed = [stream for stream in streams if not stream.is_whole]
    with capsys.disabled():
        print(f"\nSIGSTOP: {len(failed)} of {NUM_STREAMS} failed, back in {back_s:.1f} s")
    assert death["reason"] == "silent"
    assert len(failed) <= NUM_STREAMS / 2
    assert all(stream.is_broken or stream.status >= 500 for stream in failed)


def test_workers_that_are_killed_while_they_load_are_started_again(tmp_path: Path) -> None:
    (tmp_path / "bullets").write_text("3")
    with humming_server(tmp_path) as server:
        wait_until(lambda: len(server.log_events(event="worker.died")) >= 1)
        not_ready = httpx.get(f"{server.url}/health/ready")
        assert (not_ready.status_code, not_ready.json()["status"]) == (503, "loading")
        wait_for_status(f"{server.url}/health/ready")
        assert ask(server, "Hello.").status_code == 200
        assert [event["exit"] for event in server.log_events(event="worker.died")] == [
            "SIGKILL"
        ] * 3


def test_a_text_that_kills_each_worker_is_a_503_and_others_are_served(tmp_path: Path) -> None:
    with humming_server(tmp_path) as server:
        for num_died in (2, 4):
            wait_for_instances(server, num_died)
            answer = ask(server, "This is fatal.")
            assert (answer.status_code, answer.json()["error"]["code"]) == (
                503,
                "engine_unavailable",
            )
            others = [ask(server, f"This is not, {number}.").status_code for number in range(10)]
            assert others == [200] * 10
            deaths = [event["exit"] for event in server.log_events(event="worker.died")]
            assert deaths == ["SIGSEGV"] * num_died


async def test_a_sentence_that_many_ask_for_outlives_a_worker(tmp_path: Path) -> None:
    """The death of one worker says nothing about what it spoke."""
    text = "One moment please, slowly."
    with humming_server(tmp_path, log__level="debug") as server:
        wait_for_instances(server, 2)
        num_begun = len(server.log_events(event="pool.begun"))
        asking = [asyncio.create_task(asyncio.to_thread(ask, server, text)) for _ in range(8)]
        await asyncio.to_thread(server.wait_for_events, num_begun + 8, event="pool.begun")
        os.kill(started(server)[0], signal.SIGKILL)
        answers = await asyncio.gather(*asking)
        assert [answer.status_code for answer in answers] == [200] * 8
        await asyncio.sleep(6)
        assert (await asyncio.to_thread(ask, server, text)).status_code == 200


def test_with_one_instance_a_sentence_waits_for_the_next_one(tmp_path: Path) -> None:
    with humming_server(tmp_path, model__instances="1") as server:
        wait_for_instances(server, 1)
        os.kill(started(server)[0], signal.SIGKILL)
        assert ask(server, "Is anybody there?").status_code == 200


def test_an_instance_that_hangs_is_replaced_though_its_process_lives(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with humming_server(tmp_path, resilience__chunk_timeout_s="1.25") as server:
        wait_for_instances(server, 2)
        answer = ask(server, "Into the labyrinth.")
        assert (answer.status_code, answer.json()["error"]["code"]) == (504, "speech_timeout")
        others = [ask(server, f"Number {number}.").status_code for number in range(10)]
        back_s = wait_for_instances(server, 4)
        deaths = server.log_events(event="model.instance_died")
        metrics = httpx.get(f"{server.url}/metrics").text.splitlines()
    with capsys.disabled():
        print(f"\nhang: replaced {back_s:.1f} s after it was given up")
    assert others == [200] * 10
    assert [death["reason"] for death in deaths] == ["hung"] * 2  # the sentence was tried again
    assert 'soprano_instance_deaths_total{reason="hung"} 2.0' in metrics
    assert "soprano_instances_alive 2.0" in metrics


def test_workers_go_with_a_server_that_is_killed_even_if_they_stand_still(tmp_path: Path) -> None:
    with pytest.raises(AssertionError, match="the server died"), humming_server(tmp_path) as server:
        wait_for_instances(server, 2)
        workers = [psutil.Process(pid) for pid in started(server)]
        workers[1].suspend()
        os.kill(server.pid, signal.SIGKILL)
        server.exit_code()
        wait_until(lambda: not any(is_alive(worker) for worker in workers))


def is_alive(process: psutil.Process) -> bool:
    return bool(process.is_running() and process.status() != psutil.STATUS_ZOMBIE)


def test_a_stop_ends_the_workers_and_signals_to_them_alone_do_not(tmp_path: Path) -> None:
    with humming_server(tmp_path) as server:
        wait_for_instances(server, 2)
        workers = started(server)
        for pid in workers:
            os.kill(pid, signal.SIGINT)
            os.kill(pid, signal.SIGTERM)
        assert ask(server, "Still here.").status_code == 200
    assert server.exit_code() == 0
    assert not any(psutil.pid_exists(pid) for pid in workers)
    assert [event["exit"] for event in server.log_events(event="worker.stopped")] == ["code 0"] * 2
    assert server.log_events(event="worker.died") == []


def test_a_stop_while_the_workers_load_ends_them_too(tmp_path: Path) -> None:
    with humming_server(tmp_path) as server:
        wait_until(lambda: bool(started(server)))
    assert server.exit_code() == 0
    assert not any(psutil.pid_exists(pid) for pid in started(server))


def test_workers_know_no_keys_and_log_as_the_server_does(tmp_path: Path) -> None:
    with humming_server(
        tmp_path, auth__keys="bob:the-long-key-of-bob", log__level="debug"
    ) as server:
        wait_for_instances(server, 2)
        for pid in started(server):
            assert b"the-long-key-of-bob" not in Path(f"/proc/{pid}/environ").read_bytes()
            assert b"SOPRANO_" not in Path(f"/proc/{pid}/environ").read_bytes()
        assert server.log_events(), "every line is one"


def test_the_console_speaks_the_same_through_a_worker(tmp_path: Path) -> None:
    paths = [tmp_path / "here.wav", tmp_path / "there.wav"]
    for path, environ in zip(paths, [WITHOUT_CACHE, ISOLATED], strict=True):
        done = run_console("say", "The same words.", "-o", str(path), environ=environ)
        assert done.returncode == 0, done.stderr
    assert paths[0].read_bytes() == paths[1].read_bytes()
