import re
import stat
import subprocess
import sys
from pathlib import Path

import pytest
from click.testing import Result

from app.adapters.reloaded_files import read_keys
from app.domain.api_keys import ApiKey, KeyLimits, hash_key
from tests.command_line import run_main


def run(*arguments: str) -> Result:
    return run_main("keys", "create", *arguments)


def test_a_key_is_shown_with_the_lines_that_let_it_in(tmp_path: Path) -> None:
    done = run("alice")
    assert done.exit_code == 0
    key, _, entry = done.stdout.partition("\n\n")
    assert re.fullmatch(r"sk-soprano-[A-Za-z0-9_-]{43}", key)
    assert key not in entry
    path = tmp_path / "keys.toml"
    path.write_text(entry)
    assert read_keys(path, KeyLimits()) == [ApiKey("alice", hash_key(key))]


def test_a_file_gets_the_lines_and_only_the_key_is_shown(tmp_path: Path) -> None:
    path = tmp_path / "keys.toml"
    keys = [run(name, "--file", str(path)).stdout.strip() for name in ("alice", "bob")]
    assert [key.digest for key in read_keys(path, KeyLimits())] == [hash_key(key) for key in keys]
    assert not any(key in path.read_text() for key in keys)
    assert stat.S_IMODE(path.stat().st_mode) == 0o600


def test_a_name_is_given_once(tmp_path: Path) -> None:
    path = tmp_path / "keys.toml"
    run("alice", "--file", str(path))
    before = path.read_text()
    done = run("alice", "--file", str(path))
    assert done.exit_code == 1
    assert "a key named alice already" in done.output
    assert path.read_text() == before


def test_a_name_that_cannot_be_one_is_refused() -> None:
    done = run("Alice")
    assert done.exit_code == 1
    assert "The name of a key" in done.output


@pytest.mark.integration
def test_a_key_that_nobody_has_seen_is_not_kept(tmp_path: Path) -> None:
    path = tmp_path / "keys.toml"
    run("alice", "--file", str(path))
    before = path.read_text()
    command = [sys.executable, "-m", "app", "keys", "create", "bob", "--file", str(path)]
    with Path("/dev/full").open("wb") as full:
        done = subprocess.run(command, stdout=full, stderr=subprocess.PIPE, text=True, check=False)
    assert done.returncode == 1
    assert done.stderr.startswith("Error: Standard output cannot be written: ")
    assert done.stderr.count("\n") == 1
    assert path.read_text() == before
    assert list(tmp_path.iterdir()) == [path]
