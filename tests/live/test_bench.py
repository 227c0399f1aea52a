"""`python -m benchmarks` from start to end, on a small checkpoint."""

import subprocess
import sys
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path

import psutil
import pytest

from tests.checkpoints.build import TINY
from tests.serving import STOP_TIMEOUT_S, clean_environment

TIMEOUT_S = 280
NUM_TOKENS = 12
ROOT = Path(__file__).parents[2]
PNG_HEAD = b"\x89PNG\r\n\x1a\n"


BENCH = (sys.executable, "-m", "benchmarks", "--quick")


def environment(directory: Path) -> dict[str, str]:
    """From any directory, with graphs below this one."""
    own = {"PYTHONPATH": str(ROOT), "SOPRANO_MODEL__GRAPH_DIRECTORY": str(directory / "graphs")}
    return clean_environment(own)


def run_bench(directory: Path, checkpoint: Path, *flags: str) -> tuple[str, str]:
    """What it prints, and the report."""
    done = subprocess.run(
        [*BENCH, "--model", str(checkpoint), "--output", "results/bench.md", *flags],
        cwd=directory,
        env=environment(directory),
        capture_output=True,
        timeout=TIMEOUT_S,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.decode(), (directory / "results/bench.md").read_text()


def row_of(text: str, title: str) -> list[str]:
    """The cells of a row of Markdown, without the title."""
    (line,) = (line for line in text.splitlines() if line.startswith(f"| {title} |"))
    return [cell.strip() for cell in line.split("|")[2:-1]]


def test_ours_alone_gives_tables_a_document_and_a_plot(
    make_checkpoint: Callable[..., Path], tmp_path: Path
) -> None:
    checkpoint = make_checkpoint(size=TINY, tokens_per_sentence=NUM_TOKENS)
    printed, text = run_bench(tmp_path, checkpoint, "--skip-package")
    assert "Against the package" in printed
    assert "without the package" in printed
    int8, fp32, *others = row_of(text, "one sentence")
    assert all(float(cell.removesuffix(" x")) > 1 for cell in (int8, fp32))
    assert set(others) == {"-"}
    assert row_of(text, "2 clients at once, a sentence each")
    assert row_of(text, "long text read slowly, peak above one sentence")
    assert "(bench.png)" in text
    assert (tmp_path / "results/bench.png").read_bytes().startswith(PNG_HEAD)
    assert str(tmp_path) not in text
    assert f"--model {checkpoint.name}" in text


def test_a_run_that_is_terminated_leaves_nobody_behind(
    make_checkpoint: Callable[..., Path], tmp_path: Path
) -> None:
    options = ("--skip-package", "--model", str(make_checkpoint()), "--output", "bench.md")
    with subprocess.Popen(
        [*BENCH, *options],
        cwd=tmp_path,
        env=environment(tmp_path),
        stderr=subprocess.PIPE,
    ) as run:
        assert run.stderr is not None
        while b"one sentence" not in run.stderr.readline():
            assert run.poll() is None
        servers = psutil.Process(run.pid).children()
        run.terminate()
        run.communicate(timeout=STOP_TIMEOUT_S)
    assert len(servers) == 2
    assert not any(server.is_running() for server in servers)


@pytest.mark.skipif(find_spec("soprano") is None, reason="soprano-tts is not installed")
def test_the_package_and_its_server_are_measured_beside_ours(
    make_checkpoint: Callable[..., Path], tmp_path: Path
) -> None:
    checkpoint = make_checkpoint(size=TINY, tokens_per_sentence=NUM_TOKENS)
    _, text = run_bench(tmp_path, checkpoint)
    assert "-" not in row_of(text, "one sentence")
    assert "-" not in row_of(text, "resident memory, loaded")
    _, _, package, server, *_ = row_of(text, "2 clients at once, a sentence each")
    assert package == "-"
    assert server != "-"
