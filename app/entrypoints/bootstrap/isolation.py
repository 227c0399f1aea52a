"""Instances in processes of their own: what the server tells them, and what they make of it."""

import os
import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path
from socket import socket
from typing import Final

import msgspec

import app
from app.adapters.clock import SystemClock
from app.adapters.speech.worker.client import WorkerModel, start_worker
from app.adapters.speech.worker.protocol import Channel, Init, ToWorker, open_channel
from app.adapters.speech.worker.server import ModelServer
from app.domain.errors import InstanceDeadError
from app.entrypoints.bootstrap.instances import build_instance
from app.entrypoints.settings import LogSettings, ModelSettings, Settings
from app.entrypoints.settings_loader import environment_without_settings
from app.ports.clock import Clock
from app.ports.speech_model import SpeechModel
from app.ports.telemetry import SentenceObserver, SpeechObserver

WORKER_COMMAND: Final = (sys.executable, "-P", "-m", "app.entrypoints.worker")
"""Without the working directory on the module path, which may have an `app` of somebody else."""

OnDeath = Callable[[InstanceDeadError], None]


class Assignment(msgspec.Struct, frozen=True):
    """What a worker is to be. Nothing of it is secret.

    Attributes:
        backend: as chosen.
        index: of the instance, from 0 on.
        model: of all instances.
        log: settings of its log.
    """

    backend: str
    index: int
    model: ModelSettings
    log: LogSettings


def build_isolated(
    backend: str,
    settings: Settings,
    clock: Clock,
    observer: SpeechObserver,
    index: int,
    on_death: OnDeath,
) -> SpeechModel:
    """The instance of that index, to be loaded by a process; `on_death` is told if it dies."""
    assignment = Assignment(backend, index, settings.model, settings.log)
    start = partial(
        start_worker,
        WORKER_COMMAND,
        worker_environment(),
        msgspec.json.encode(assignment),
        index,
    )
    outline = build_instance(backend, settings.model, clock, observer, index)
    return WorkerModel(outline, start, clock, observer, on_death)


def worker_environment() -> dict[str, str]:
    """Ours without our settings; this package is found first."""
    environment = environment_without_settings()
    root = Path(app.__path__[0]).parent
    paths = [str(root), environment.get("PYTHONPATH", "")]
    return {**environment, "PYTHONPATH": os.pathsep.join(filter(None, paths))}


async def open_worker(end: socket) -> tuple[Assignment, ModelServer]:
    """What the worker at this end of a socket is to be, and what serves its model there.

    Raises:
        ConnectionError: nobody is at the other end.
    """
    channel: Channel[ToWorker] = await open_channel(end, ToWorker)
    match await channel.receive():
        case (Init(assignment=assignment), _):
            decoded = msgspec.json.decode(assignment, type=Assignment)
            return decoded, ModelServer(channel, SystemClock())
        case _:
            raise ConnectionError


def build_assigned(assignment: Assignment, observer: SentenceObserver) -> SpeechModel:
    """The model of a worker."""
    return build_instance(
        assignment.backend, assignment.model, SystemClock(), observer, assignment.index
    )
