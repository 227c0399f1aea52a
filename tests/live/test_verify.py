"""`soprano-api verify`, as typed: a table, a verdict, a report and an exit code."""

import re
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.serving import run_console

MakeCheckpoint = Callable[..., Path]

TEXT = (
    "Is this the first sentence of a short text?\n\nThe second of its sentences has 2 numbers, 17."
)


@pytest.fixture(scope="session")
def directory(make_checkpoint: MakeCheckpoint) -> Path:
    return make_checkpoint(says="anything", tokens_per_sentence=8)


def verify(
    tmp_path: Path, *arguments: str, environ: dict[str, str] | None = None
) -> subprocess.CompletedProcess[bytes]:
    graphs = {"SOPRANO_MODEL__GRAPH_DIRECTORY": str(tmp_path / "graphs")}
    return run_console("verify", *arguments, cwd=tmp_path, environ={**graphs, **(environ or {})})


def test_a_text_is_compared_sentence_by_sentence(tmp_path: Path, directory: Path) -> None:
    (tmp_path / "text.txt").write_text(TEXT)
    done = verify(
        tmp_path, "--model", str(directory), "--text", "text.txt", "--output", "report.md"
    )
    output = done.stdout.decode()
    rows = [line for line in output.splitlines() if re.match(r"\d ", line)]
    assert [re.findall(r"fp32|int8", row) for row in rows] == [["fp32"], ["int8"]] * 2
    assert rows[0].startswith("1 is this the first...")
    for row in (rows[0], rows[2]):
        assert re.search(r"fp32 +\d+ +100\.0% +100\.0% +\de-0\d +0\.00 dB +1\.00000 +yes", row)
    assert "fp32: good: the same tokens, samples within" in output
    found = re.findall(r"int8: (good|usable|not usable): \d+\.\d% of the tokens", output)
    assert len(found) == 1
    assert done.returncode == (1 if "not usable" in found else 0), done.stderr
    assert b"Traceback" not in done.stderr
    check_report((tmp_path / "report.md").read_text(), directory, found)


def check_report(report: str, directory: Path, verdicts: list[str]) -> None:
    assert report.startswith("# Soprano on ONNX Runtime against soprano-tts\n")
    assert f"`{directory}`; soprano-tts " in report
    assert f"- int8: **{verdicts[0]}**: " in report
    tables = [block.splitlines() for block in report.split("\n\n") if block.startswith("|")]
    assert [len(table) for table in tables] == [2 + 2, 2 + 4]
    for table in tables:
        assert len({line.count("|") for line in table}) == 1
    assert report.endswith("2. the second of its sentences has two numbers, seventeen.\n")


def test_the_built_in_sentences_are_cut_to_the_number_asked_for(
    tmp_path: Path, make_checkpoint: MakeCheckpoint
) -> None:
    """With a checkpoint whose tokens are known: int8 says the same and is good."""
    done = verify(tmp_path, "--model", str(make_checkpoint()), "--sentences", "3")
    assert done.returncode == 0, done.stderr
    output = done.stdout.decode()
    assert len(re.findall(r"^\d .*fp32 +13 ", output, re.MULTILINE)) == 3
    assert "int8: good: 100.0% of the tokens along the reference agree" in output
    assert re.search(r"^int8 +100\.0% +0 ", output, re.MULTILINE)
    assert [path.name for path in tmp_path.iterdir()] == ["graphs"]


def test_without_the_package_one_line_says_what_to_install(tmp_path: Path, directory: Path) -> None:
    missing = tmp_path / "modules" / "soprano"
    missing.mkdir(parents=True)
    (missing / "__init__.py").write_text("raise ModuleNotFoundError('none', name='soprano')\n")
    environ = {"PYTHONPATH": str(missing.parent)}
    done = verify(tmp_path, "--model", str(directory), environ=environ)
    assert done.returncode == 1
    assert done.stdout == b""
    assert done.stderr.decode().splitlines() == [
        "soprano-api: The package soprano is missing: pip install 'soprano-tts-api[soprano]'."
    ]


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (["--model", "./nothing"], 1, "./nothing is no directory"),
        (["--model", "."], 1, "is no Soprano checkpoint"),
        (["--text", "empty.txt"], 1, "empty.txt has no sentence to speak"),
        (["--text", "nothing.txt"], 2, "nothing.txt"),
        (["--sentences", "0"], 2, "0"),
        (["--output", "nowhere/report.md"], 1, "nowhere"),
    ],
)
def test_what_is_missing_is_said_in_one_line(
    tmp_path: Path, arguments: list[str], code: int, message: str
) -> None:
    (tmp_path / "empty.txt").write_text("...\n")
    done = verify(tmp_path, *arguments)
    assert done.returncode == code
    assert done.stdout == b""
    lines = done.stderr.decode().splitlines()
    assert message in lines[-1]
    assert "Traceback" not in done.stderr.decode()
    assert len(lines) == 1 or code == 2
