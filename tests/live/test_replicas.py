"""A server whose model runs as replicas on Ray Serve, beside one that has the model itself."""

import json
import os
import signal
import time
from collections.abc import Iterator

import httpx
import psutil
import pytest

from app.domain.audio import AudioFormat
from tests.network import own_network
from tests.serving import WITHOUT_CACHE, ServerProcess, run_console, server_process, wait_for_status

SPEECH = "/v1/audio/speech"
TEXT = "The first sentence is here. The second one has 2 numbers, 3 and 4. And this is the last."
ON_RAY = {**WITHOUT_CACHE, "SOPRANO_MODEL__PLACEMENT": "ray"}
NUM_REQUESTS = 15
MAX_LATER_S = 0.06


@pytest.fixture(scope="module")
def servers(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, ServerProcess]]:
    path = tmp_path_factory.mktemp("logs")
    embedded = ("--backend", "embedded")
    with (
        own_network(),
        server_process(path / "here", *embedded, environ=WITHOUT_CACHE) as here,
        server_process(path / "ray", *embedded, environ=ON_RAY) as ray,
    ):
        for server in (here, ray):
            wait_for_status(f"{server.url}/health/ready")
        yield {"here": here, "ray": ray}


def stream(server: ServerProcess, text: str, audio_format: str = "pcm") -> tuple[float, bytes]:
    """Time to the first bytes, and all of them."""
    body = {"input": text, "response_format": audio_format}
    first_s, received = 0.0, b""
    started = time.monotonic()
    with httpx.stream("POST", f"{server.url}{SPEECH}", json=body, timeout=60) as answer:
        assert answer.status_code == 200
        for part in answer.iter_raw():
            first_s = first_s or time.monotonic() - started
            received += part
    return first_s, received


@pytest.mark.parametrize("audio_format", AudioFormat)
def test_streamed_bytes_are_those_of_a_model_in_the_server(
    servers: dict[str, ServerProcess], audio_format: AudioFormat
) -> None:
    bodies = [stream(server, TEXT, audio_format)[1] for server in servers.values()]
    assert bodies[0]
    assert bodies[0] == bodies[1]


def test_first_audio_is_not_much_later(servers: dict[str, ServerProcess]) -> None:
    """The soonest of each: other tests run at the same time."""
    times = {
        name: min(
            stream(server, f"Number {number} comes first.")[0] for number in range(NUM_REQUESTS)
        )
        for name, server in servers.items()
    }
    print({name: f"{seconds * 1e3:.1f} ms" for name, seconds in times.items()})
    assert times["ray"] - times["here"] < MAX_LATER_S


def test_health_and_metrics_count_the_replicas(servers: dict[str, ServerProcess]) -> None:
    report = httpx.get(f"{servers['ray'].url}/health/ready").json()
    assert report["parts"]["engine"]["instances"] == 1
    assert "\nsoprano_instances_alive 1.0" in httpx.get(f"{servers['ray'].url}/metrics").text


def test_the_command_describes_what_runs() -> None:
    done = run_console("deploy", "ray", "--backend", "embedded")
    (application,) = json.loads(done.stdout)["applications"]
    assert application["name"] == "soprano"
    assert application["args"]["assignment"]["backend"] == "embedded"


def test_its_ray_listens_on_this_machine_only(servers: dict[str, ServerProcess]) -> None:
    processes = psutil.Process(servers["ray"].pid).children(recursive=True)
    listening = [
        connection.laddr.ip
        for process in processes
        for connection in process.net_connections("inet")
        if connection.status == psutil.CONN_LISTEN
    ]
    assert len(listening) > 5
    assert {ip.removeprefix("::ffff:") for ip in listening} == {"127.0.0.1"}


def test_its_ray_knows_no_settings(servers: dict[str, ServerProcess]) -> None:
    processes = psutil.Process(servers["ray"].pid).children(recursive=True)
    names = {name for process in processes for name in process.environ()}
    assert "RAY_AUTH_TOKEN" in names
    assert not [name for name in names if name.startswith("SOPRANO_")]


def test_the_end_of_the_server_ends_its_ray(servers: dict[str, ServerProcess]) -> None:
    server = servers["ray"]
    processes = psutil.Process(server.pid).children(recursive=True)
    assert any("ServeReplica" in " ".join(process.cmdline()) for process in processes)
    os.kill(server.pid, signal.SIGTERM)
    assert server.exit_code() == 0
    assert not server.log_events(level="error")
    _, alive = psutil.wait_procs(processes, timeout=10)
    assert alive == []
