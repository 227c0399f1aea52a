"""Pools of models that a test made."""

from app.adapters.speech.pool import PooledModel
from app.domain.resilience import TimeLimits
from app.ports.clock import Clock
from app.ports.speech_model import SpeechModel
from app.ports.telemetry import SpeechObserver
from tests.fakes.speech_observer import FakeSpeechObserver


def pool_of(
    model: SpeechModel, clock: Clock, observer: SpeechObserver | None = None
) -> PooledModel:
    """A pool whose only instance is `model`, again and again."""
    return PooledModel(lambda *_: model, 1, clock, observer or FakeSpeechObserver(), TimeLimits())
