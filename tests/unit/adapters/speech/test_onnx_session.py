"""What ONNX Runtime does beside computing."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

CODE = """
import asyncio, time
from app.adapters.speech.embedded_voice import EmbeddedVoice
asyncio.run(EmbeddedVoice(1).load())
time.sleep(1)
"""


@pytest.mark.integration
def test_the_runtime_tells_nobody_of_this_machine(tmp_path: Path) -> None:
    """It would keep what it reports to its maker in the user's cache until it can."""
    home = {"HOME": str(tmp_path), "XDG_CACHE_HOME": str(tmp_path), "TMPDIR": str(tmp_path)}
    environ = {name: value for name, value in os.environ.items() if not name.startswith("ORT_")}
    subprocess.run([sys.executable, "-c", CODE], check=True, timeout=100, env=environ | home)
    assert not [
        path for path in tmp_path.rglob("*") if "icrosoft" in path.name or path.name == ".ses"
    ]
