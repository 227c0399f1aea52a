"""The lane of each test, and what several folders of tests share.

A test belongs to exactly one lane. `make check` runs those without a marker, `make test` adds
`integration`, `make test-all` adds `nightly`; `make test-deploy` runs `deploy` alone. A marker at a
test or a parameter is stronger than the lane of its module, which is stronger than that of its
folder.
"""

import functools
import gc
import os
import secrets
import ssl
import sys
from collections.abc import Callable, Generator, Iterator
from pathlib import Path
from typing import Any

import pytest
import structlog
from hypothesis import settings

from tests.examples import CI, DEV
from tests.object_storage import make_bucket, seaweedfs, use_storage

LANES = {
    # a server in a process of its own; one module for each way to use it
    "live": "nightly",
    "live/test_console.py": "integration",
    "live/test_keys.py": "integration",
    "live/test_openai_client.py": "integration",
    "live/test_repeats.py": "integration",
    "live/test_server_process.py": "integration",
    "live/test_shutdown.py": "integration",
    "live/test_verify.py": "integration",
    "live/test_websocket_keys.py": "integration",
    "faults/test_connections.py": "nightly",
    "faults/test_failing_server.py": "integration",
    # other processes
    "architecture/test_import_contracts.py": "nightly",
    "architecture/test_import_is_quiet.py": "integration",
    "unit/adapters/speech/soprano/checkpoint/test_hub.py": "integration",
    "unit/adapters/speech/worker/test_worker_model.py": "integration",
    "unit/adapters/speech/test_ray_serve.py": "nightly",
    "unit/entrypoints/cli/test_models.py": "integration",
    "unit/entrypoints/cli/test_doctor.py": "integration",
    "unit/adapters/speech/soprano/torch/test_lmdeploy_signatures.py": "nightly",
    # a real model, torch, or the package soprano-tts
    "unit/adapters/speech/soprano/torch/test_devices.py": "integration",
    "checkpoints": "integration",
    "unit/adapters/speech/test_pooled_soprano.py": "integration",
    "unit/adapters/speech/soprano/test_model.py": "integration",
    "unit/adapters/speech/soprano/test_text_equality.py": "integration",
    "unit/adapters/speech/test_embedded_voice.py": "integration",
    "unit/adapters/speech/soprano/onnx/test_agreement.py": "integration",
    "unit/adapters/speech/soprano/onnx/test_vocoder_session.py": "integration",
    "unit/adapters/speech/soprano/onnx/test_language_model_session.py": "integration",
    # a server of object storage
    "unit/adapters/audio_store/test_object_store.py": "integration",
    # a root file system, and the tools of containers
    "deploy": "deploy",
    # very many requests
    "fuzz": "nightly",
    "load": "nightly",
}

MARKED_LANES = ("integration", "nightly", "deploy")

# No test speaks TLS, and an HTTP client that reads the certificates of the system takes longer to
# make (45 ms) than most tests take: they are read once.
ssl.create_default_context = functools.cache(ssl.create_default_context)  # type: ignore[assignment]

# The default shows the values of all variables, and takes seconds for it while a server waits.
_renderer = structlog.dev.ConsoleRenderer(exception_formatter=structlog.dev.plain_traceback)
structlog.configure(processors=[*structlog.get_config()["processors"][:-1], _renderer])

# A gate says the same of the same commit; chance explores in the runs of developers.
settings.register_profile("ci", deadline=None, max_examples=CI, derandomize=True)
settings.register_profile("dev", deadline=None, max_examples=DEV)
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "dev"))


def lane_of(path: Path) -> str:
    """Of a module: its own in LANES, or that of its nearest folder."""
    place = path.relative_to(Path(__file__).parent)
    return next((LANES[str(one)] for one in (place, *place.parents) if str(one) in LANES), "")


def pytest_ignore_collect(collection_path: Path, config: pytest.Config) -> bool | None:
    """Do not even import a module whose whole lane is deselected."""
    if collection_path.suffix != ".py":
        return None
    lane = lane_of(collection_path)
    return True if lane and f"not {lane}" in config.option.markexpr else None


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        has_own = any(item.get_closest_marker(name) for name in MARKED_LANES)
        lane = lane_of(item.path)
        if not lane and "make_checkpoint" in getattr(item, "fixturenames", ()):
            lane = "integration"  # torch writes it
        if lane and not has_own:
            item.add_marker(lane)


@pytest.hookimpl(trylast=True)
def pytest_collection_finish() -> None:
    """The collector need not look again and again at modules and tests, which all stay."""
    gc.collect()
    gc.freeze()


class Guard:
    """Fails what takes a test without a marker out of its lane: torch, and other processes."""

    is_on = False

    def audit(self, event: str, arguments: tuple[Any, ...]) -> None:
        if self.is_on and (
            event == "subprocess.Popen" or (event == "import" and arguments[0] == "torch")
        ):
            raise RuntimeError(f"{event}: the test needs the marker 'integration' or 'nightly'")


GUARD = Guard()
sys.addaudithook(GUARD.audit)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_protocol(item: pytest.Item) -> Generator[None, object, object]:
    GUARD.is_on = not any(item.get_closest_marker(name) for name in MARKED_LANES)
    try:
        return (yield)
    finally:
        GUARD.is_on = False


@pytest.fixture(scope="session")
def make_checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Callable[..., Path]:
    """A checkpoint with the arguments of `build_checkpoint`, made once."""
    from tests.checkpoints.build import build_checkpoint

    made: dict[str, Path] = {}

    def make(**arguments: Any) -> Path:
        key = repr(sorted(arguments.items()))
        if key not in made:
            made[key] = build_checkpoint(tmp_path_factory.mktemp("checkpoint"), **arguments)
        return made[key]

    return make


@pytest.fixture(scope="session")
def moto_endpoint() -> Iterator[str]:
    """A stand-in for S3 in this process; skips without it."""
    pytest.importorskip("obstore")
    server = pytest.importorskip("moto.server").ThreadedMotoServer("127.0.0.1", 0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    yield f"http://{host}:{port}"
    server.stop()


@pytest.fixture
def bucket_url(moto_endpoint: str, monkeypatch: pytest.MonkeyPatch) -> str:
    """An empty bucket, which the environment says how to reach."""
    use_storage(monkeypatch, moto_endpoint)
    return make_bucket(moto_endpoint)


@pytest.fixture(scope="session")
def seaweed_endpoint(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Storage that speaks S3, in a process of its own; skips without it."""
    pytest.importorskip("obstore")
    with seaweedfs(tmp_path_factory.mktemp("seaweed")) as endpoint:
        yield endpoint


@pytest.fixture(scope="session")
def seaweed_bucket(seaweed_endpoint: str) -> str:
    """One for all tests: SeaweedFS takes new volumes for each."""
    return make_bucket(seaweed_endpoint)


@pytest.fixture
def seaweed_url(seaweed_endpoint: str, seaweed_bucket: str, monkeypatch: pytest.MonkeyPatch) -> str:
    """A prefix where nothing is; the environment says how to reach it."""
    use_storage(monkeypatch, seaweed_endpoint)
    return f"{seaweed_bucket}/{secrets.token_hex(8)}"


@pytest.fixture
def lmdeploy_standin(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """`import lmdeploy` finds the stand-in."""
    monkeypatch.syspath_prepend(str(Path(__file__).parent / "standins"))
    yield
    sys.modules.pop("lmdeploy", None)
