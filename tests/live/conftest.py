"""What tests of a running server share: the server, and Node with its packages.

The server keeps nothing, so that what is asked twice is spoken twice.
"""

import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import pytest

from tests.serving import PATIENT, WITHOUT_CACHE, ServerProcess, server_process, wait_for_status

NODE_PROJECT: Final = Path(__file__).parent / "node"
INSTALL_TIMEOUT_S: Final = 120


@pytest.fixture(scope="session")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServerProcess]:
    log_path = tmp_path_factory.mktemp("live") / "server.log"
    with server_process(log_path, environ={**WITHOUT_CACHE, **PATIENT}) as running:
        wait_for_status(f"{running.url}/health/ready")
        yield running


@pytest.fixture(scope="session")
def node_directory(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of `node` with its packages installed; skips where there is no Node or npm."""
    npm = shutil.which("npm")
    if npm is None or shutil.which("node") is None:
        pytest.skip("node and npm are not installed")
    directory = tmp_path_factory.mktemp("node") / "node"
    shutil.copytree(NODE_PROJECT, directory)
    subprocess.run(
        [npm, "ci", "--no-audit", "--no-fund", "--ignore-scripts", "--prefer-offline"],
        cwd=directory,
        check=True,
        capture_output=True,
        timeout=INSTALL_TIMEOUT_S,
    )
    return directory


@pytest.fixture(scope="session")
def axe(request: pytest.FixtureRequest) -> str:
    """The script of axe-core, which finds what a page keeps from people; skips without it."""
    try:
        directory: Path = request.getfixturevalue("node_directory")
    except (subprocess.CalledProcessError, subprocess.TimeoutExpired):
        pytest.skip("npm cannot install axe-core")
    return (directory / "node_modules/axe-core/axe.min.js").read_text()
