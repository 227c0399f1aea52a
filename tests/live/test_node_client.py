"""OpenAI's own Node package against a running server; skipped where Node is not installed."""

import base64
import json
import subprocess
from pathlib import Path
from typing import Any, Final

import pytest

from app.domain.audio import AudioFormat
from app.entrypoints.http.schemas import CONTENT_TYPES
from tests.listening import CODEC_PADDING, decode_file
from tests.serving import ServerProcess

PCM_RATE: Final = 24_000
FORMATS: Final = ("mp3", "opus", "aac", "flac", "wav")  # that the client knows, but for pcm
NODE_TIMEOUT_S: Final = 60


@pytest.fixture(scope="module")
def audio_directory(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("audio")


@pytest.fixture(scope="module")
def found(server: ServerProcess, node_directory: Path, audio_directory: Path) -> dict[str, Any]:
    """What `speak.mjs` saw of the server."""
    done = subprocess.run(
        ["node", "speak.mjs", f"{server.url}/v1", audio_directory],
        cwd=node_directory,
        capture_output=True,
        timeout=NODE_TIMEOUT_S,
        check=False,
    )
    assert done.returncode == 0, done.stderr.decode()
    report: dict[str, Any] = json.loads(done.stdout)
    return report


@pytest.mark.parametrize("audio_format", [AudioFormat(name) for name in FORMATS])
def test_every_format_arrives_whole_in_a_buffer(
    found: dict[str, Any], audio_directory: Path, audio_format: AudioFormat
) -> None:
    assert found["types"][audio_format] == CONTENT_TYPES[audio_format]
    samples, rate, _ = decode_file((audio_directory / f"speech.{audio_format}").read_bytes())
    exact_s = (audio_directory / "speech.pcm").stat().st_size / 2 / PCM_RATE
    assert len(samples) / rate == pytest.approx(exact_s, abs=CODEC_PADDING / rate)


def test_a_stream_arrives_in_chunks_that_are_the_whole(
    found: dict[str, Any], audio_directory: Path
) -> None:
    assert found["streamed"]["transferEncoding"] == "chunked"
    assert found["streamed"]["count"] > 1
    streamed = (audio_directory / "streamed.pcm").read_bytes()
    assert streamed == (audio_directory / "speech.pcm").read_bytes()


def test_the_request_id_reaches_the_caller(found: dict[str, Any]) -> None:
    assert found["requestId"]["id"] == found["requestId"]["header"]
    assert found["requestId"]["id"]


@pytest.mark.parametrize(
    ("field", "name", "status", "code"),
    [
        ("voice", "BadRequestError", 400, "voice_not_found"),
        ("model", "NotFoundError", 404, "model_not_found"),
        ("input", "BadRequestError", 400, "empty_input"),
        ("speed", "BadRequestError", 400, "invalid_value"),
        ("response_format", "BadRequestError", 400, "invalid_value"),
    ],
)
def test_mistakes_are_the_packages_own_errors(
    found: dict[str, Any], field: str, name: str, status: int, code: str
) -> None:
    mistake = found["mistakes"][field]
    assert mistake.pop("requestID")
    assert mistake == {
        "name": name,
        "status": status,
        "code": code,
        "param": field,
        "type": "invalid_request_error",
    }


def test_models_are_listed(found: dict[str, Any]) -> None:
    assert found["models"][1:] == ["tts-1", "tts-1-hd", "gpt-4o-mini-tts"]


def test_events_are_read_off_the_body_of_fetch(
    found: dict[str, Any], audio_directory: Path
) -> None:
    assert found["sse"]["type"].partition(";")[0] == "text/event-stream"
    *deltas, done = found["sse"]["events"]
    assert {event["type"] for event in deltas} == {"speech.audio.delta"}
    joined = b"".join(base64.b64decode(event["audio"], validate=True) for event in deltas)
    assert joined == (audio_directory / "speech.pcm").read_bytes()
    assert done["type"] == "speech.audio.done"
    assert done["usage"]["output_tokens"] > 0
