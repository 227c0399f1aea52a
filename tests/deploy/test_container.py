"""The image of the Dockerfile: what it weighs, and a server in it as engines run it.

`make test-deploy`; needs root and debootstrap.
"""

import os
import shutil
import time
from collections.abc import Callable
from pathlib import Path
from typing import Final

import httpx
import pytest

from tests.deploy.image import ROOT, Container, Image, build, container, copy, make_base, weigh
from tests.listening import decode_file

MAX_BYTES: Final = 500_000_000
START_TIMEOUT_S: Final = 60.0
URL: Final = "http://127.0.0.1:8000"

pytestmark = [
    pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() != 0, reason="needs root"),
    pytest.mark.skipif(shutil.which("debootstrap") is None, reason="debootstrap is not installed"),
    pytest.mark.timeout(1_200),
]


@pytest.fixture(scope="module")
def image() -> Image:
    pytest.importorskip("dockerfile_parse")
    return build(ROOT / "Dockerfile", {"EXTRAS": ""})


def wait_until_ready(running: Container) -> None:
    """As an engine does, but more often and without a new process each time."""

    def ask() -> httpx.Response:
        deadline = time.monotonic() + START_TIMEOUT_S
        while time.monotonic() < deadline:
            try:
                if (answer := httpx.get(f"{URL}/health/ready")).status_code == 200:
                    return answer
            except httpx.TransportError:
                pass
            time.sleep(0.02)
        raise TimeoutError

    running.call(ask)


def test_the_image_weighs_less_than_500_mb(
    image: Image, capsys: pytest.CaptureFixture[str]
) -> None:
    total, base = weigh(image.root), weigh(make_base())
    with capsys.disabled():
        print(f"\nimage: {total / 1e6:.0f} MB, of it the base image: {base / 1e6:.0f} MB")
    assert total < MAX_BYTES


@pytest.mark.parametrize("user", ["", "1234567:0"], ids=["its own user", "any user of group 0"])
def test_a_server_speaks_in_a_container_that_is_read_only(
    image: Image, user: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    begun = time.monotonic()
    with container(image, tmp_path, user=user) as running:
        wait_until_ready(running)
        start_s = time.monotonic() - begun
        body = {"input": "Spoken in a container.", "response_format": "wav"}
        answer = running.call(lambda: httpx.post(f"{URL}/v1/audio/speech", json=body, timeout=60))
        samples, rate, _ = decode_file(answer.content)
        assert len(samples) / rate > 0.5
        stored = running.call(
            lambda: httpx.post(f"{URL}/v1/audio/speech", json={**body, "store": True}, timeout=60)
        )
        name = stored.headers["x-stored-file"]
        assert (tmp_path / "volume" / "speech").is_dir()
        kept = running.call(lambda: httpx.get(f"{URL}/v1/audio/files/{name}"))
        assert kept.content == stored.content
        assert running.execute(*image.healthcheck).returncode == 0
        assert running.execute("touch", "/opt/soprano/changed").returncode != 0
        assert (
            running.execute("id", "--user").stdout.decode().strip()
            == (user or image.user).split(":")[0]
        )
        assert running.stop() == 0
    with capsys.disabled():
        print(f"\nready {start_s:.2f} s after the start")
    assert '"level":"error"' not in (tmp_path / "log").read_text().replace(" ", "")


def test_the_health_check_fails_where_nothing_serves(image: Image, tmp_path: Path) -> None:
    with container(image, tmp_path, "60", entrypoint="sleep") as running:
        assert running.execute(*image.healthcheck).returncode != 0


def test_the_engine_for_cpus_builds_its_graphs_in_the_volume(
    image: Image, make_checkpoint: Callable[..., Path], tmp_path: Path
) -> None:
    checkpoint = tmp_path / "volume" / "checkpoint"
    copy(make_checkpoint(), checkpoint)
    checkpoint.chmod(0o755)  # the user of the container may read it
    flags = ("serve", "--backend", "onnx", "--model", "checkpoint")
    with container(image, tmp_path, *flags) as running:
        wait_until_ready(running)
        body = {"input": "Spoken by the engine.", "seed": 1}
        answer = running.call(lambda: httpx.post(f"{URL}/v1/audio/speech", json=body, timeout=60))
        assert answer.status_code == 200
        assert answer.headers["x-speech-backend"] == "onnx"
        assert running.stop() == 0
    assert list((tmp_path / "volume").rglob("*.onnx"))
