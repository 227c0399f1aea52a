"""The console commands, as typed."""

import os
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from tests.listening import decode_file
from tests.serving import clean_environment, run_console


@pytest.mark.parametrize(
    ("name", "start"),
    [("a.mp3", b"\xff\xf3"), ("a.ogg", b"OggS"), ("a.opus", b"OggS"), ("a.wav", b"RIFF")],
)
def test_say_writes_the_format_of_the_extension(tmp_path: Path, name: str, start: bytes) -> None:
    done = run_console("say", "Hello there.", "-o", name, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert done.stdout.decode().strip() == name
    body = (tmp_path / name).read_bytes()
    assert body.startswith(start)
    samples, rate, _ = decode_file(body)
    assert 0.3 < len(samples) / rate < 3
    assert [path.name for path in tmp_path.iterdir()] == [name]


def test_a_wav_file_has_exact_sizes(tmp_path: Path) -> None:
    run_console("say", "Hello there.", "-o", "a.wav", cwd=tmp_path)
    body = (tmp_path / "a.wav").read_bytes()
    assert int.from_bytes(body[4:8], "little") == len(body) - 8


def test_say_reads_standard_input_and_writes_standard_output(tmp_path: Path) -> None:
    done = run_console("say", "-o", "-", "--format", "flac", cwd=tmp_path, stdin=b"Hello there.")
    assert done.stdout.startswith(b"fLaC")
    assert not list(tmp_path.iterdir())


def test_say_writes_into_a_pipe_and_leaves_it_one(tmp_path: Path) -> None:
    pipe = tmp_path / "pipe.wav"
    os.mkfifo(pipe)
    with ThreadPoolExecutor(1) as reader:
        heard = reader.submit(pipe.read_bytes)
        done = run_console("say", "--backend", "embedded", "-o", str(pipe), "Hello.")
        assert done.returncode == 0
        assert heard.result(10).startswith(b"RIFF")
    assert pipe.is_fifo()


@pytest.mark.parametrize("output", [".", "", "missing/x.wav"])
def test_say_refuses_what_can_be_no_file(tmp_path: Path, output: str) -> None:
    done = run_console(
        "say", "--backend", "embedded", "--format", "wav", "-o", output, "Hello.", cwd=tmp_path
    )
    assert done.returncode == 1
    assert done.stderr.decode().startswith("Error: ")


def test_say_has_no_limit_on_characters(tmp_path: Path) -> None:
    text = b"One more sentence to speak. " * 200
    done = run_console("say", "-o", "a.opus", "--speed", "4", cwd=tmp_path, stdin=text)
    assert done.returncode == 0, done.stderr
    samples, rate, _ = decode_file((tmp_path / "a.opus").read_bytes())
    assert len(samples) / rate > 60


def test_say_without_a_file_keeps_the_audio_under_the_next_name(tmp_path: Path) -> None:
    def say() -> str:
        done = run_console(
            "say", "Hello.", cwd=tmp_path, environ={"SOPRANO_STORE__DIRECTORY": "kept"}
        )
        return done.stdout.decode().strip()

    names = [say(), say()]
    assert names == ["kept/speech_000001.wav", "kept/speech_000002.wav"]
    assert all((tmp_path / name).read_bytes().startswith(b"RIFF") for name in names)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["say", "Hi.", "-o", "a.xyz"], "xyz"),
        (["say", "Hi.", "--voice", "nobody", "-o", "a.wav"], "nobody"),
        (["say", "Hi.", "--speed", "9", "-o", "a.wav"], "speed"),
        (["say", "-o", "a.wav"], "empty"),
        (["say", "Hi.", "-o", "missing/a.wav"], "missing"),
        (["say", "Hi.", "-o", "a.opus", "--sample-rate", "44100"], "44100"),
    ],
)
def test_what_cannot_be_said_is_one_clear_line_and_leaves_no_file(
    tmp_path: Path, arguments: list[str], message: str
) -> None:
    done = run_console(*arguments, cwd=tmp_path)
    assert done.returncode != 0
    assert message in done.stderr.decode()
    assert "Traceback" not in done.stderr.decode()
    assert not list(tmp_path.iterdir())


def test_what_is_not_utf_8_is_not_spoken(tmp_path: Path) -> None:
    done = run_console("say", "-o", "a.wav", cwd=tmp_path, stdin="caf\u00e9".encode("latin-1"))
    assert done.returncode == 1
    assert "not UTF-8" in done.stderr.decode()
    assert not list(tmp_path.iterdir())


def test_config_shows_each_setting_with_its_origin(tmp_path: Path) -> None:
    (tmp_path / "c.toml").write_text("[server]\nport = 9000\n")
    done = run_console(
        "config",
        "--config",
        "c.toml",
        "--host",
        "::1",
        cwd=tmp_path,
        environ={"SOPRANO_LOG__LEVEL": "debug"},
    )
    lines = {line.split()[0]: line for line in done.stdout.decode().splitlines()}
    assert "9000" in lines["server.port"]
    assert "file c.toml" in lines["server.port"]
    assert "command line" in lines["server.host"]
    assert "environment SOPRANO_LOG__LEVEL" in lines["log.level"]
    assert "default" in lines["speech.max_chars"]


@pytest.mark.parametrize("command", [[], ["serve"], ["say"], ["verify"], ["config"]])
def test_each_command_explains_itself(tmp_path: Path, command: list[str]) -> None:
    done = run_console(*command, "--help", cwd=tmp_path)
    assert done.returncode == 0
    assert b"Usage: soprano-api" in done.stdout


def run_redirected(
    redirection: str, *arguments: str, cwd: Path
) -> subprocess.CompletedProcess[bytes]:
    """Run `soprano-api` as a shell does with `redirection`."""
    shell = ["sh", "-c", f'exec "$@" {redirection}', "sh", sys.executable, "-m", "app"]
    environ = {"PYTHONPATH": str(Path(__file__).parents[2]), "PYTHONUNBUFFERED": ""}
    return subprocess.run(
        [*shell, *arguments],
        cwd=cwd,
        env=clean_environment(environ),
        capture_output=True,
        timeout=120,
        check=False,
    )


@pytest.mark.skipif(sys.platform != "linux", reason="needs a full device")
@pytest.mark.parametrize("redirection", [">&-", "> /dev/full"])
@pytest.mark.parametrize(
    "arguments",
    [
        ["config"], ["models", "list"], ["keys", "create", "alice"], ["say", "Hi.", "-o", "a.wav"],
        ["say", "Hi.", "-o", "-"], ["say", "Hi.", "-o", "-", "--format", "opus"], ["--help"],
    ],
)  # fmt: skip
def test_standard_output_that_takes_nothing_is_one_clear_line(
    tmp_path: Path, redirection: str, arguments: list[str]
) -> None:
    done = run_redirected(redirection, *arguments, cwd=tmp_path)
    assert done.returncode == 1
    (line,) = done.stderr.decode().splitlines()
    assert line.startswith("soprano-api: ")
    assert "closed" in line or "No space left" in line


def test_standard_error_may_be_closed(tmp_path: Path) -> None:
    done = run_redirected("2>&-", "say", "Hi.", "-o", "a.wav", cwd=tmp_path)
    assert done.returncode == 0
    assert (tmp_path / "a.wav").stat().st_size > 10_000


@pytest.mark.parametrize("host", ["a" * 70 + ".b", "\udcff"])
def test_a_host_that_no_machine_can_have_is_one_clear_event(tmp_path: Path, host: str) -> None:
    done = run_console("serve", "--port", "0", "--host", host, cwd=tmp_path)
    assert done.returncode == 1
    assert done.stderr.count(b"server.bind_failed") == 1
    assert b"Traceback" not in done.stderr


@pytest.mark.parametrize(
    "arguments", [["say", "-o", "a.wav"], ["normalize"], ["normalize", "--jsonl"]]
)
def test_no_standard_input_is_one_clear_line(tmp_path: Path, arguments: list[str]) -> None:
    done = run_redirected("<&-", *arguments, cwd=tmp_path)
    assert done.returncode == 1
    assert done.stderr.decode() == "Error: Standard input is closed.\n"
    assert not list(tmp_path.iterdir())
