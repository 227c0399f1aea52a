"""The composition root: from settings to adapters. The only module that names them."""

from pathlib import Path

from app.adapters.audio_store.filesystem import FilesystemAudioStore, StoreLimits
from app.adapters.clock.system import SystemClock
from app.adapters.decorators.time_stretched import TimeStretchedModel
from app.adapters.encoding.encoders import StreamingEncoders
from app.adapters.observers.structured_log import StructuredLog
from app.adapters.speech.embedded_voice import EmbeddedVoice
from app.entrypoints.services import Ports
from app.entrypoints.settings import ModelSettings, Settings, StoreSettings
from app.ports.audio_store import AudioStore
from app.ports.clock import Clock
from app.ports.speech_model import SpeechModel


def build_ports(settings: Settings) -> Ports:
    """Construct every adapter; opens nothing."""
    clock = SystemClock()
    return Ports(
        model=_build_model(settings.model),
        encoders=StreamingEncoders(),
        store=_build_store(settings.store, clock),
        clock=clock,
        observer=StructuredLog(),
    )


def _build_model(settings: ModelSettings) -> SpeechModel:
    match settings.backend:
        case "auto" | "embedded":
            return TimeStretchedModel(EmbeddedVoice(settings.num_threads))


def _build_store(settings: StoreSettings, clock: Clock) -> AudioStore:
    limits = StoreLimits(
        max_files=settings.max_files,
        max_bytes=settings.max_bytes,
        max_age_s=settings.max_age_s,
    )
    return FilesystemAudioStore(Path(settings.directory), limits, clock)
