"""Texts as people write them, to the voice that ships inside."""

import json
import time
from pathlib import Path

import httpx
import numpy as np
import pytest
from numpy.typing import NDArray
from websockets.sync.client import connect

from tests.listening import decode_file, decode_pcm
from tests.serving import ServerProcess, run_console, server_process, wait_for_status

TEXT = "1. Milk\n2. Eggs\n3. Bread\n"
PAUSE_S = 2.0
WINDOW_S = 0.001
SILENT = 0.003


def silent_run_s(samples: NDArray[np.float32], rate: int) -> float:
    """The longest silence, in seconds."""
    size = round(WINDOW_S * rate)
    windows = samples[: len(samples) // size * size].reshape(-1, size)
    longest = run = 0
    for is_silent in np.abs(windows).max(axis=1) < SILENT:
        run = run + 1 if is_silent else 0
        longest = max(longest, run)
    return longest * size / rate


def speak(server: ServerProcess, text: str, audio_format: str) -> tuple[NDArray[np.float32], int]:
    body = {"input": text, "response_format": audio_format, "sample_rate": 24_000, "stream": False}
    answer = httpx.post(f"{server.url}/v1/audio/speech", json=body, timeout=30)
    assert answer.status_code == 200, answer.text
    if audio_format == "pcm":
        return decode_pcm(answer.content), 24_000
    samples, rate, _ = decode_file(answer.content)
    return samples, rate


@pytest.mark.parametrize("audio_format", ["pcm", "wav", "flac", "mp3", "opus", "aac"])
def test_a_pause_has_its_length_in_every_format(server: ServerProcess, audio_format: str) -> None:
    without, rate = speak(server, "Cat.\n\nDog.", "pcm")
    with_pause, heard_rate = speak(server, f"Cat. [pause:{PAUSE_S}s] Dog.", audio_format)
    expected_s = silent_run_s(without, rate) + PAUSE_S
    assert silent_run_s(with_pause, heard_rate) == pytest.approx(expected_s, abs=0.01)


def spoken_over_http(server: ServerProcess) -> list[str]:
    body = {"input": TEXT, "stream_format": "sse", "captions": True}
    answer = httpx.post(f"{server.url}/v1/audio/speech", json=body, timeout=30)
    events = [json.loads(line[6:]) for line in answer.text.splitlines() if line.startswith("data:")]
    return [event["spoken"] for event in events if event["type"] == "speech.caption"]


def spoken_over_a_socket(server: ServerProcess) -> list[str]:
    spoken = []
    address = server.url.replace("http", "ws", 1) + "/v1/audio/speech/stream"
    with connect(address) as socket:
        for word in TEXT.replace(" ", " \0").split("\0"):
            socket.send(json.dumps({"type": "text", "text": word}))
        socket.send(json.dumps({"type": "end"}))
        for message in socket:
            event = json.loads(message) if isinstance(message, str) else {"type": "sound"}
            if event["type"] == "caption":
                spoken.append(event["spoken"])
            if event["type"] == "utterance.ended":
                break
    return spoken


def test_a_text_is_read_alike_over_http_a_socket_and_on_the_command_line(
    server: ServerProcess,
) -> None:
    done = run_console("normalize", "--backend", "embedded", "--voice-form", TEXT)
    on_the_command_line = done.stdout.decode().splitlines()
    assert on_the_command_line == ["one, Milk", "two, Eggs", "three, Bread"]
    assert spoken_over_http(server) == on_the_command_line
    assert spoken_over_a_socket(server) == on_the_command_line


def test_a_lexicon_is_read_and_read_again(tmp_path: Path) -> None:
    lexicon = tmp_path / "lexicon.toml"
    lexicon.write_text('milk = "melk"\n')
    environ = {"SOPRANO_TEXT__LEXICON_FILE": str(lexicon)}
    with server_process(tmp_path / "log", "--backend", "embedded", environ=environ) as server:
        wait_for_status(f"{server.url}/health/ready")
        assert spoken_over_http(server)[0] == "one, melk"
        lexicon.write_text('milk = "mulk"\n')
        time.sleep(1.1)  # it is looked at once a second
        assert spoken_over_http(server)[0] == "one, mulk"


def test_a_lexicon_that_cannot_be_used_stops_the_start_with_its_line(tmp_path: Path) -> None:
    lexicon = tmp_path / "lexicon.toml"
    lexicon.write_text('milk = "melk"\neggs = "3ggs"\n')
    done = run_console("normalize", "hi", environ={"SOPRANO_TEXT__LEXICON_FILE": str(lexicon)})
    assert done.returncode == 2
    assert f"{lexicon}, line 2" in done.stderr.decode()


def test_json_lines_are_read_and_written() -> None:
    done = run_console("normalize", "--jsonl", stdin=b'"$5"\n"a\\n\\nb"\n')
    assert done.stdout.decode().splitlines() == ['"five dollars"', '"a b"']


def test_json_lines_leave_no_room_for_a_text() -> None:
    done = run_console("normalize", "--jsonl", "$5", stdin=b'"$6"\n')
    assert (done.returncode, done.stdout) == (2, b"")
    assert "--jsonl reads standard input" in done.stderr.decode()
    assert run_console("normalize", "--jsonl", "-", stdin=b'"$6"\n').returncode == 0


def test_a_json_line_that_is_not_utf_8_is_refused_as_other_bad_lines_are() -> None:
    done = run_console("normalize", "--jsonl", stdin=b'"x 1"\n"\xff"\n')
    assert done.returncode == 1
    assert done.stdout.decode().splitlines() == ['"x one"']
    (line,) = done.stderr.decode().splitlines()
    assert line.startswith("Error: Line 2 is not a JSON string: ")


@pytest.mark.parametrize("arguments", [["normalize"], ["say", "-o", "-"]])
def test_a_text_that_is_not_utf_8_is_refused(arguments: list[str]) -> None:
    done = run_console(*arguments, stdin=b"a \xff b")
    assert done.returncode == 1
    assert done.stdout == b""
    assert done.stderr.decode() == "Error: The text on standard input is not UTF-8.\n"
