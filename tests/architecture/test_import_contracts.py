"""The import contracts hold, and each of them breaks when it is violated."""

import shutil
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

from tests.serving import clean_environment

ROOT = Path(__file__).parents[2]

PLANTED = {
    "hexagon": ("app/domain/audio.py", "import app.adapters.clock"),
    "services > ports > values": ("app/ports/clock.py", "import app.domain.services.lifecycle"),
    "domain modules have a place": ("app/domain/orphan.py", ""),
    "pure core": ("app/domain/segment.py", "import structlog"),
    "only bootstrap names adapters": (
        "app/entrypoints/http/status.py",
        "import app.adapters.clock",
    ),
    "rooms are independent": (
        "app/adapters/speech/sentences.py",
        "import app.adapters.encoding.encoders",
    ),
    "no cycles": ("app/entrypoints/settings.py", "import app.entrypoints.log"),
}


def lint(directory: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [Path(sys.executable).with_name("lint-imports"), "--no-cache"],
        cwd=directory,
        env=clean_environment({"PYTHONPATH": str(directory)}),
        capture_output=True,
        text=True,
        check=False,
    )


@pytest.fixture
def copy(tmp_path: Path) -> Path:
    shutil.copytree(
        ROOT / "app", tmp_path / "app", ignore=shutil.ignore_patterns("__pycache__", "static")
    )
    shutil.copy(ROOT / "pyproject.toml", tmp_path)
    return tmp_path


def test_all_contracts_hold(copy: Path) -> None:
    done = lint(copy)
    assert done.returncode == 0, done.stdout
    assert f"Contracts: {len(PLANTED)} kept, 0 broken." in done.stdout


def test_every_contract_has_a_planted_violation() -> None:
    settings = tomllib.loads((ROOT / "pyproject.toml").read_text())
    names = {contract["name"] for contract in settings["tool"]["importlinter"]["contracts"]}
    assert names == set(PLANTED)


@pytest.mark.parametrize("name", PLANTED)
def test_a_planted_import_breaks_its_contract(copy: Path, name: str) -> None:
    path, line = PLANTED[name]
    with (copy / path).open("a") as file:
        file.write(f"\n{line}\n")
    done = lint(copy)
    assert done.returncode != 0
    assert f"{name} BROKEN" in done.stdout, done.stdout
