"""Importing any module of the package does nothing but define things."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from tests.serving import clean_environment

ROOT = Path(__file__).parents[2]

PROBE = """
import json, os, pkgutil, sys

HEAVY = {"torch", "transformers", "lmdeploy", "onnxruntime", "ray", "hibari", "av", "soxr",
         "soprano", "huggingface_hub", "inflect", "onnx", "tokenizers", "scipy", "matplotlib",
         "opentelemetry", "valkey"}
found = []

DEEDS = ("socket.bind", "socket.connect", "subprocess.Popen", "os.mkdir", "os.system")
WRITING = os.O_WRONLY | os.O_RDWR

def watch(event, arguments):
    if event == "open" and isinstance(arguments[2], int) and arguments[2] & WRITING:
        found.append(f"writes {arguments[0]}")
    elif event in DEEDS:
        found.append(f"{event} {arguments[:1]}")

sys.addaudithook(watch)
import app
modules = pkgutil.walk_packages(app.__path__, "app.")
names = [module.name for module in modules if not module.name.endswith("__main__")]
for name in names:
    __import__(name)
found += [f"loads {name}" for name in HEAVY if name in sys.modules]
print(json.dumps({"found": found, "modules": names}))
"""


def probe(directory: Path) -> dict[str, list[str]]:
    done = subprocess.run(
        [sys.executable, "-c", PROBE],
        cwd=directory,
        env=clean_environment({"PYTHONPATH": str(directory), "PYTHONDONTWRITEBYTECODE": "1"}),
        capture_output=True,
        text=True,
        check=True,
    )
    result: dict[str, list[str]] = json.loads(done.stdout)
    return result


def test_importing_every_module_writes_nothing_and_loads_nothing_heavy() -> None:
    result = probe(ROOT)
    assert len(result["modules"]) > 40
    assert result["found"] == []


BEFORE_HANDLERS = """
import os, signal, sys
before = set(sys.modules)
import app.entrypoints.cli.start
print(*(set(sys.modules) - before))
"""


def test_before_the_handlers_of_signals_are_set_nothing_of_weight_is_loaded() -> None:
    done = subprocess.run(
        [sys.executable, "-S", "-c", BEFORE_HANDLERS],  # what `site` loads depends on the machine
        env=clean_environment({"PYTHONPATH": str(ROOT)}),
        capture_output=True,
        text=True,
        check=True,
    )
    assert set(done.stdout.split()) == {
        "app",
        "app.entrypoints",
        "app.entrypoints.cli",
        "app.entrypoints.cli.start",
        "gc",
    }


@pytest.mark.parametrize(
    ("planted", "finding"),
    [
        ("open('left-behind', 'w').close()", "writes left-behind"),
        ("import onnxruntime", "loads onnxruntime"),
        ("import socket; socket.socket().bind(('127.0.0.1', 0))", "socket.bind"),
    ],
)
def test_the_probe_sees_a_planted_deed(tmp_path: Path, planted: str, finding: str) -> None:
    package = tmp_path / "app"
    package.mkdir()
    (package / "__init__.py").write_text("")
    (package / "loud.py").write_text(planted)
    assert any(finding in found for found in probe(tmp_path)["found"])
