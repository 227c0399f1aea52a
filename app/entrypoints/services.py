"""The services over a set of ports, and their life. Names no adapter."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from random import random
from typing import Final

from app.domain.admission import AdmissionLimits
from app.domain.errors import SpeechError
from app.domain.resilience import EngineHealth
from app.domain.services.access_control import AccessControl
from app.domain.services.admission import Admission
from app.domain.services.audio_library import AudioLibrary
from app.domain.services.lifecycle import Intake, Readiness
from app.domain.services.prefetch import PrefetchLimits
from app.domain.services.speech import SpeechLimits, SpeechService
from app.domain.services.speech_ports import SpeechPorts
from app.domain.speech import Catalog
from app.entrypoints.backends import Choice
from app.entrypoints.settings import Settings
from app.ports.audio_store import AudioStores
from app.ports.reloaded_files import KeySource
from app.ports.shared_state import SharedLimits
from app.ports.telemetry import MetricsSource, RequestObserver, Tracing

QUEUED_TEXTS: Final = 16  # of the longest that are allowed, in the queue


class Ports(SpeechPorts, frozen=True, eq=False, kw_only=True):
    """The outside world, one adapter per port. Constructed, not yet opened."""

    choice: Choice  # which backend the model is, and which better ones it is not
    stores: AudioStores
    keys: KeySource
    requests: RequestObserver
    metrics: MetricsSource
    health: Callable[[], EngineHealth] = EngineHealth  # of the model once it is loaded
    count_instances: Callable[[], int] = int  # of the model, that can be asked
    tracing: Tracing | None = None  # follows requests
    limits: SharedLimits | None = None  # of keys, for several servers together
    random: Callable[[], float] = random  # numbers in [0, 1)


class Services:
    """What entrypoints call."""

    def __init__(self, ports: Ports, settings: Settings) -> None:
        self.ports = ports
        self.settings = settings
        self.intake = Intake()
        self.library = AudioLibrary(ports.stores, ports.clock, ports.observer)
        self.access = AccessControl(ports.keys, ports.clock, ports.random, ports.limits)
        admission = settings.admission
        limits = AdmissionLimits(
            min_running=admission.max_running or 1,
            max_running=admission.max_running or ports.model.info.num_streams,
            max_queued=admission.max_queued,
            max_queued_chars=QUEUED_TEXTS * settings.speech.max_chars,
            max_wait_s=admission.max_wait_s,
        )
        self.admission = Admission(limits, ports.clock, ports.random)
        ports.metrics.watch_queue(self.admission.load)
        self.readiness = Readiness(ports, settings.model.load_wait_s)
        self.speech = SpeechService(
            ports,
            self.readiness,
            self.admission,
            Catalog(ports.model.info, accepts_unknown=settings.speech.unknown_names == "default"),
            SpeechLimits(
                max_chars=settings.speech.max_chars,
                has_markup=settings.text.markup == "auto",
                prefetch=PrefetchLimits(max_buffered_s=settings.speech.prefetch_s),
            ),
        )

    @asynccontextmanager
    async def running(
        self, on_settled: Callable[[SpeechError | None], None] = lambda _: None
    ) -> AsyncIterator[None]:
        """Load the model in the background, and close it and traces at the end.

        `on_settled` is called when the model is ready, or with why it cannot be loaded.
        """

        async def load() -> None:
            try:
                await self.readiness.load()
            except SpeechError as error:
                on_settled(error)
                return
            if self.readiness.speed is not None:
                self.admission.set_speed(self.readiness.speed)
            on_settled(None)

        loading = asyncio.create_task(load(), name="load-model")
        try:
            yield
        finally:
            loading.cancel()
            with suppress(asyncio.CancelledError):
                await loading
            await self.ports.model.close()
            if self.ports.tracing is not None:
                await self.ports.tracing.close()
