"""`soprano-api models` lists, fetches and checks; what is damaged is one line and exit code 1."""

import subprocess
import sys
import zipfile
from pathlib import Path

import pytest
from click.testing import Result

from tests.command_line import run_main
from tests.serving import clean_environment
from tests.small_checkpoint import COMMIT, FILES, cache_small_checkpoint, write_small_checkpoint

ROOT = Path(__file__).parents[4]
REPO = "someone/Some-Voice"


def run(*arguments: str) -> Result:
    return run_main("models", *arguments)


def run_with_cache(cache_dir: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    """In a process of its own: the hub's library reads its settings when it is imported."""
    return subprocess.run(
        [
            sys.executable,
            "-c",
            "from app.entrypoints.cli.main import main; main()",
            "models",
            *arguments,
        ],
        cwd=ROOT,
        env=clean_environment({"HF_HUB_CACHE": str(cache_dir), "HF_HUB_OFFLINE": "1"}),
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )


def test_check_describes_a_directory(tmp_path: Path) -> None:
    directory = write_small_checkpoint(tmp_path / "a [bold] :name:")
    result = run("check", str(directory))
    assert result.exit_code == 0, result.output
    lines = dict(line.split("  ", 1) for line in result.stdout.splitlines())
    assert list(lines) == ["checkpoint", "language model", "decoder", "size"]
    assert lines["checkpoint"].strip() == str(directory)
    assert "2 layers of 6, MLP 10, 2 query and 1 key/value heads of 4" in lines["language model"]
    assert "vocabulary 16" in lines["language model"]
    assert "version 1.1" in lines["decoder"]
    assert "2 layers of 3, MLP 5, input kernel 1" in lines["decoder"]
    num_bytes = sum(path.stat().st_size for path in directory.iterdir())
    assert lines["size"].strip() == f"{num_bytes / 1e6:.1f} MB"


@pytest.mark.parametrize("name", FILES)
def test_check_refuses_what_is_damaged(tmp_path: Path, name: str) -> None:
    directory = write_small_checkpoint(tmp_path / "small")
    content = (directory / name).read_bytes()
    (directory / name).write_bytes(content[: len(content) // 2])
    result = run("check", str(directory))
    assert result.exit_code == 1
    assert result.stdout == ""
    assert len(result.stderr.splitlines()) == 1
    assert str(directory / name) in result.stderr


def test_check_refuses_wrong_checksums(tmp_path: Path) -> None:
    directory = write_small_checkpoint(tmp_path / "small")
    path = directory / "decoder.pth"
    with zipfile.ZipFile(path) as archive:
        largest = max(archive.infolist(), key=lambda entry: entry.file_size)
        numbers = archive.read(largest)
    content = path.read_bytes()
    assert content.count(numbers) == 1
    path.write_bytes(content.replace(numbers, numbers[::-1]))
    result = run("check", str(directory))
    assert result.exit_code == 1
    assert result.stdout == ""
    (line,) = result.stderr.splitlines()
    assert line.startswith(f"soprano-api: {path} is damaged: BadZipFile: Bad CRC-32 for file")


@pytest.mark.parametrize("model", ["nothing", "./nothing"])
def test_check_refuses_what_is_nowhere(model: str) -> None:
    result = run("check", model)
    assert result.exit_code == 1
    problem = "is no directory, and no repository of the Hugging Face hub (owner/name)."
    assert result.stderr.splitlines() == [f"soprano-api: {model} {problem}"]


def test_check_finds_a_cached_repository(tmp_path: Path) -> None:
    snapshot = cache_small_checkpoint(tmp_path / "cache", REPO)
    done = run_with_cache(tmp_path / "cache", "check", REPO, "--revision", "main")
    assert done.returncode == 0, done.stderr
    assert str(snapshot) in done.stdout
    assert done.stderr == ""


def test_check_downloads_nothing(tmp_path: Path) -> None:
    done = run_with_cache(tmp_path / "cache", "check", REPO)
    assert done.returncode == 1
    assert f"soprano-api models pull {REPO}" in done.stderr
    assert len(done.stderr.splitlines()) == 1


def test_list_shows_what_is_cached(tmp_path: Path) -> None:
    snapshot = cache_small_checkpoint(tmp_path / "cache", REPO)
    damaged = cache_small_checkpoint(tmp_path / "cache", REPO, ref="v1", commit="f" * 40)
    (damaged / "config.json").unlink()
    done = run_with_cache(tmp_path / "cache", "list")
    assert done.returncode == 0, done.stderr
    head, first, second = done.stdout.splitlines()[-3:]
    assert head.split() == ["repository", "revision", "size", "path"]
    assert first.split() == [REPO, "main", COMMIT[:8], "0.1", "MB", str(snapshot)]
    assert second.split()[-2:] == ["(incomplete)", str(damaged)]


def test_list_says_how_to_get_a_checkpoint(tmp_path: Path) -> None:
    done = run_with_cache(tmp_path / "cache", "list")
    assert done.returncode == 0, done.stderr
    assert "`soprano-api models pull`" in done.stdout


def test_pull_without_a_hub_gives_what_is_cached(tmp_path: Path) -> None:
    snapshot = cache_small_checkpoint(tmp_path / "cache", "ekwek/Soprano-1.1-80M")
    done = run_with_cache(tmp_path / "cache", "pull")
    assert done.returncode == 0, done.stderr
    assert str(snapshot) in done.stdout


def test_pull_without_a_hub_and_a_cache_fails_in_one_line(tmp_path: Path) -> None:
    done = run_with_cache(tmp_path / "cache", "pull", REPO, "--revision", "v1")
    assert done.returncode == 1
    assert done.stdout == ""
    errors = [line for line in done.stderr.splitlines() if not line.startswith("{")]
    assert len(errors) == 1
    fetched = f"{REPO} (revision v1) cannot be fetched: HF_HUB_OFFLINE"
    assert errors[0].startswith(f"soprano-api: {fetched}")


def test_pull_wants_the_name_of_a_repository(tmp_path: Path) -> None:
    done = run_with_cache(tmp_path / "cache", "pull", "a/b/c")
    assert done.returncode == 1
    assert "it must be owner/name" in done.stderr
    assert "Traceback" not in done.stderr
