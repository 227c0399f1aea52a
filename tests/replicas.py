"""Models on Ray Serve, on a Ray of their own; the functions that make them are pickled by name."""

from pathlib import Path
from typing import Final

from app.adapters.clock import SystemClock
from app.adapters.speech.ray_serve.client import (
    ClusterAddress,
    RayModel,
    ReplicaOptions,
    bind_replicas,
)
from app.adapters.speech.ray_serve.replica import BuildReplica
from app.ports.clock import Clock
from app.ports.speech_model import SpeechModel
from app.ports.telemetry import SentenceObserver
from tests.fakes.speech_model import FakeSpeechModel
from tests.fakes.speech_observer import FakeSpeechObserver
from tests.obedient_worker import ObedientModel
from tests.soprano_models import build_soprano

TREE: Final = str(Path(__file__).parents[1])
ONE: Final = ReplicaOptions(
    min_replicas=1,
    max_replicas=1,
    target_ongoing_requests=2,
    max_ongoing_requests=16,
    max_queued_requests=8,
    num_cpus=0.1,
    num_gpus=0,
    shutdown_s=5,
)


def build_fake(_: bytes, __: SentenceObserver) -> tuple[SpeechModel, Clock]:
    return FakeSpeechModel(), SystemClock()


def build_obedient(_: bytes, observer: SentenceObserver) -> tuple[SpeechModel, Clock]:
    return ObedientModel(observer), SystemClock()


def build_onnx(directory: bytes, _: SentenceObserver) -> tuple[SpeechModel, Clock]:
    return build_soprano("onnx", Path(directory.decode())), SystemClock()


def on_ray(
    outline: SpeechModel,
    build: BuildReplica,
    assignment: bytes = b"",
    options: ReplicaOptions = ONE,
    observer: SentenceObserver | None = None,
) -> RayModel:
    return RayModel(
        outline,
        lambda: bind_replicas(build, assignment, options),
        ClusterAddress("", {"PYTHONPATH": TREE}),
        options.max_replicas,
        SystemClock(),
        observer or FakeSpeechObserver(),
    )
