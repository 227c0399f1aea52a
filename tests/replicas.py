"""Models on Ray Serve, on a Ray of their own; the functions that make them are pickled by name."""

import asyncio
import os
import time
from collections.abc import AsyncGenerator
from pathlib import Path
from typing import Final

from app.adapters.clock import SystemClock
from app.adapters.speech import ray_serve
from app.adapters.speech.ray_serve import (
    Application,
    BuildReplica,
    RayModel,
    ReplicaOptions,
    bind_replicas,
)
from app.domain.audio import AudioChunk, silence
from app.domain.errors import ModelLoadError
from app.domain.resilience import PROBE_TEXT
from app.domain.segment import TextSegment
from app.domain.speech import SynthesisParams
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
    max_ongoing_requests=4,
    num_cpus=0.1,
    num_gpus=0,
    shutdown_s=5,
)


def build_fake(_: bytes, __: SentenceObserver) -> tuple[SpeechModel, Clock]:
    return FakeSpeechModel(), SystemClock()


def build_obedient(_: bytes, observer: SentenceObserver) -> tuple[SpeechModel, Clock]:
    return ObedientModel(observer), SystemClock()


def build_hasty(assignment: bytes, observer: SentenceObserver) -> tuple[SpeechModel, Clock]:
    """Obedient; a second of silence is taken for a hang."""
    ray_serve.MAX_SILENCE_S = 1.0  # type: ignore[misc] # in the process of the replica
    return build_obedient(assignment, observer)


def build_onnx(directory: bytes, _: SentenceObserver) -> tuple[SpeechModel, Clock]:
    return build_soprano("onnx", Path(directory.decode())), SystemClock()


class EndlessModel(FakeSpeechModel):
    """Never ends a sentence; when one is stopped it writes the time into a file."""

    def __init__(self, record: Path) -> None:
        super().__init__()
        self._record = record

    async def synthesize(
        self, segment: TextSegment, params: SynthesisParams, due_at: float = 0.0
    ) -> AsyncGenerator[AudioChunk, None]:
        if segment.text == PROBE_TEXT:
            return
        try:
            while True:
                yield silence(0.1, self.info.sample_rate)
                await asyncio.sleep(0.05)
        finally:
            with self._record.open("a") as file:
                file.write(f"{segment.index} {time.monotonic()}\n")


def build_endless(record: bytes, _: SentenceObserver) -> tuple[SpeechModel, Clock]:
    return EndlessModel(Path(record.decode())), SystemClock()


def build_nothing(_: bytes, __: SentenceObserver) -> tuple[SpeechModel, Clock]:
    raise ModelLoadError("There are no weights on this node.")


def on_ray(
    outline: SpeechModel,
    build: BuildReplica,
    assignment: bytes = b"",
    options: ReplicaOptions = ONE,
    observer: SentenceObserver | None = None,
) -> RayModel:
    application = Application(
        address="",
        environment={**os.environ, "PYTHONPATH": TREE},
        max_replicas=options.max_replicas,
        bind=lambda: bind_replicas(build, assignment, options),
        check=lambda _: None,
    )
    return RayModel(outline, application, SystemClock(), observer or FakeSpeechObserver())
