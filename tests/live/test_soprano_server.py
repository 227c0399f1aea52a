"""Soprano behind the server, on checkpoints whose durations are known."""

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest

from tests.checkpoints.build import FULL, TINY, expected_samples
from tests.listening import CODEC_PADDING, decode_file, decode_pcm
from tests.server_events import deltas, read_events
from tests.serving import WITHOUT_CACHE, ServerProcess, run_console, server_process, wait_for_status

MakeCheckpoint = Callable[..., Path]

SPEECH = "/v1/audio/speech"
NUM_TOKENS = 20
SENTENCE = "One sentence of a fair length, no more."
MODEL_RATE = 32_000
FORMATS = ("mp3", "opus", "aac", "flac", "wav", "pcm")


def ready(server: ServerProcess) -> ServerProcess:
    wait_for_status(f"{server.url}/health/ready")
    return server


@pytest.fixture(
    scope="module",
    params=["transformers tiny", "transformers full", "onnx tiny", "onnx full int8"],
)
def server(
    request: pytest.FixtureRequest,
    make_checkpoint: MakeCheckpoint,
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[ServerProcess]:
    backend, size_name, *precision = request.param.split()
    size = {"tiny": TINY, "full": FULL}[size_name]
    directory = make_checkpoint(size=size, tokens_per_sentence=NUM_TOKENS)
    log_path = tmp_path_factory.mktemp("soprano") / "server.log"
    arguments = ["--backend", backend, "--model", str(directory)]
    arguments += ["--precision", *precision] if precision else []
    with server_process(log_path, *arguments, environ=WITHOUT_CACHE) as running:
        yield ready(running)


def backend_of(server: ServerProcess) -> str:
    return str(httpx.get(f"{server.url}/health/ready").json()["backend"])


def post(server: ServerProcess, **fields: Any) -> httpx.Response:
    body = {"input": SENTENCE, **fields}
    return httpx.post(server.url + SPEECH, json=body, timeout=120)


@pytest.mark.parametrize("audio_format", FORMATS)
def test_each_format_lasts_as_long_as_the_tokens_dictate_streamed_and_whole(
    server: ServerProcess, audio_format: str
) -> None:
    streamed = post(server, response_format=audio_format)
    whole = post(server, response_format=audio_format, stream=False)
    assert streamed.headers["x-speech-backend"] == backend_of(server)
    assert streamed.content[44:] == whole.content[44:]
    if audio_format == "pcm":
        samples, rate = decode_pcm(whole.content), 24_000
    else:
        samples, rate, _ = decode_file(whole.content)
    padding = CODEC_PADDING if audio_format in ("mp3", "aac", "opus") else 1
    expected_s = expected_samples(NUM_TOKENS) / MODEL_RATE
    assert len(samples) / rate == pytest.approx(expected_s, abs=padding / rate)
    assert 0.05 < np.abs(samples).max() <= 1.0


@pytest.mark.parametrize("speed", [0.5, 2.0])
def test_speed_is_kept_by_a_model_that_has_none(server: ServerProcess, speed: float) -> None:
    body = post(server, response_format="pcm", speed=speed).content
    expected_s = expected_samples(NUM_TOKENS) / MODEL_RATE / speed
    assert len(body) / 2 / 24_000 == pytest.approx(expected_s, rel=0.1)


def test_models_and_readiness_say_what_serves(server: ServerProcess) -> None:
    ready_report = httpx.get(f"{server.url}/health/ready").json()
    assert ready_report["skipped"] == []
    models = httpx.get(f"{server.url}/v1/models").json()["data"]
    assert {model["backend"] for model in models} == {ready_report["backend"]}
    voices = httpx.get(f"{server.url}/v1/audio/voices").json()["voices"]
    assert voices[0]["id"] == "soprano"


def test_auto_takes_soprano_when_a_checkpoint_is_named(
    make_checkpoint: MakeCheckpoint, tmp_path: Path
) -> None:
    directory = make_checkpoint(tokens_per_sentence=NUM_TOKENS)
    with server_process(tmp_path / "log", "--model", str(directory)) as running:
        answer = post(ready(running), response_format="pcm")
        assert answer.headers["x-speech-backend"] == "onnx"
        skipped = httpx.get(f"{running.url}/health/ready").json()["skipped"]
    assert [step["backend"] for step in skipped] == ["lmdeploy", "transformers"]


def test_auto_without_a_checkpoint_is_the_embedded_voice_and_says_why(tmp_path: Path) -> None:
    empty_cache = {"HF_HUB_CACHE": str(tmp_path / "cache")}
    with server_process(tmp_path / "log", environ=empty_cache) as running:
        ready(running)
        skipped = running.log_events(event="backend.skipped")
        report = httpx.get(f"{running.url}/health/ready").json()
    assert [event["backend"] for event in skipped] == ["lmdeploy", "transformers", "onnx"]
    assert "soprano-api models pull" in str(skipped[-1]["reason"])
    assert report["backend"] == "embedded"
    assert [step["backend"] for step in report["skipped"]] == ["lmdeploy", "transformers", "onnx"]


def test_a_backend_by_name_that_cannot_run_ends_the_start_with_one_line() -> None:
    done = run_console("serve", "--backend", "lmdeploy")
    assert done.returncode == 1
    assert len(done.stderr.decode().strip().splitlines()) == 1
    assert "no CUDA device" in done.stderr.decode()
    assert "soprano-tts-api[lmdeploy]" in done.stderr.decode()


def damaged(directory: Path, copy: Path, file: str, keep: float) -> Path:
    """A copy by hard links, one file of it cut to a part."""
    copy.mkdir()
    for path in directory.iterdir():
        if path.name == file:
            content = path.read_bytes()
            (copy / file).write_bytes(content[: int(len(content) * keep)])
        else:
            (copy / path.name).hardlink_to(path)
    return copy


@pytest.mark.parametrize("file", ["config.json", "model.safetensors", "decoder.pth"])
def test_a_damaged_checkpoint_ends_the_process_with_one_clear_line(
    make_checkpoint: MakeCheckpoint, tmp_path: Path, file: str
) -> None:
    directory = make_checkpoint(tokens_per_sentence=NUM_TOKENS)
    broken = damaged(directory, tmp_path / "broken", file, 0.5)
    done = run_console("serve", "--port", "0", "--model", str(broken))
    assert done.returncode == 1
    events = [json.loads(line) for line in done.stderr.decode().splitlines()]
    (failure,) = [event for event in events if event["level"] == "error"]
    assert failure["event"] == "model.load_failed"
    assert file in failure["reason"]
    assert "Traceback" not in done.stderr.decode()


def test_a_runaway_is_an_error_when_whole_and_a_cut_when_streamed(
    make_checkpoint: MakeCheckpoint, tmp_path: Path
) -> None:
    directory = make_checkpoint(tokens_per_sentence=60, loops=True)
    with server_process(tmp_path / "log", "--model", str(directory)) as running:
        whole = post(ready(running), stream=False)
        with pytest.raises(httpx.RemoteProtocolError):
            post(running)
        attempts = running.log_events(event="speech.sentence_failed")
        metrics = httpx.get(f"{running.url}/metrics").text
        cuts = running.wait_for_events(event="speech.cut")
    assert whole.status_code == 500
    assert whole.json()["error"]["code"] == "runaway_speech"
    assert 2 <= len(attempts) <= 4
    counted = f'soprano_sentences_failed_total{{error="runaway_speech"}} {len(attempts)}.0'
    assert counted in metrics
    assert [cut["error"] for cut in cuts] == ["runaway_speech"]


def test_a_sentence_that_runs_away_greedily_is_drawn_again_and_heard_whole(
    make_checkpoint: MakeCheckpoint, tmp_path: Path
) -> None:
    directory = make_checkpoint(tokens_per_sentence=NUM_TOKENS, loops="greedily")
    arguments = ["--backend", "onnx", "--model", str(directory)]
    with server_process(tmp_path / "log", *arguments, environ=WITHOUT_CACHE) as running:
        fields = {"response_format": "pcm", "sample_rate": MODEL_RATE}
        answers = [post(ready(running), **fields) for _ in range(2)]
        attempts = running.log_events(event="speech.sentence_failed")
    assert [len(answer.content) for answer in answers] == [2 * expected_samples(NUM_TOKENS)] * 2
    assert answers[0].content == answers[1].content
    assert [attempt["error"] for attempt in attempts] == ["runaway_speech"] * len(attempts)
    assert len(attempts) >= 2


def test_two_instances_speak_at_the_same_time(
    make_checkpoint: MakeCheckpoint, tmp_path: Path
) -> None:
    directory = make_checkpoint(tokens_per_sentence=300)
    environ = {"SOPRANO_MODEL__INSTANCES": "2", "SOPRANO_LOG__LEVEL": "debug", **WITHOUT_CACHE}
    arguments = ["--model", str(directory)]
    with server_process(tmp_path / "log", *arguments, environ=environ) as running:
        ready(running)
        running.wait_for_events(2, event="pool.instance_ready")
        with (
            httpx.stream("POST", running.url + SPEECH, json={"input": SENTENCE}) as first,
            httpx.stream("POST", running.url + SPEECH, json={"input": SENTENCE}) as second,
        ):
            assert first.read() == second.read()
        begun = running.log_events(event="pool.begun")[-2:]
    assert {event["instance"] for event in begun} == {0, 1}
    assert {event["num_running"] for event in begun} == {0}, "each had nothing else to do"


def test_captions_end_where_the_sound_of_their_sentences_ends(server: ServerProcess) -> None:
    """Every sentence of this checkpoint has the same number of tokens."""
    text = " ".join(f"This is sentence number {number} of twenty." for number in range(1, 21))
    fields = {"response_format": "pcm", "sample_rate": MODEL_RATE}
    answer = post(server, input=text, stream_format="sse", captions=True, **fields)
    events = read_events(answer.text)
    captions = [event for event in events if event["type"] == "speech.caption"]
    assert [caption["index"] for caption in captions] == list(range(20))
    ends = [caption["end"] for caption in captions]
    assert [caption["start"] for caption in captions] == [0.0, *ends[:-1]]
    sentence_s = expected_samples(NUM_TOKENS) / MODEL_RATE
    assert ends == pytest.approx([number * sentence_s for number in range(1, 21)], abs=1e-9)
    num_samples = len(b"".join(deltas(answer.text))) // 2
    assert num_samples == round(ends[-1] * MODEL_RATE)


def test_usage_is_what_the_model_has_read_and_drawn(server: ServerProcess) -> None:
    answer = post(
        server, stream_format="sse", input="A sentence that is long enough to be alone. " * 2
    )
    usage = read_events(answer.text)[-1]["usage"]
    num_sentences = 2
    assert usage["output_tokens"] == num_sentences * NUM_TOKENS
    assert usage["input_tokens"] > num_sentences * len(["[STOP]", "[TEXT]", "[START]"])
