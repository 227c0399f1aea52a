"""What happened, as log events with fields. Never the text that was spoken."""

import traceback
from collections.abc import Callable
from typing import Any

import structlog

from app.domain.errors import InstanceDeath, SentenceError, SpeechError, StoreError
from app.domain.resilience import BreakerState
from app.domain.speech import ModelInfo, Outcome, SpeechReport
from app.ports.telemetry import SpeechObserver, StoreAction

_log = structlog.get_logger(__name__)


class StructuredLog:
    """SpeechObserver that writes one event per happening."""

    def model_loaded(self, info: ModelInfo, duration_s: float, speed: float | None) -> None:
        _log.info(
            "model.loaded",
            model=info.id,
            backend=info.backend,
            sample_rate=info.sample_rate,
            speed=speed and round(speed, 1),
            duration_s=round(duration_s, 3),
        )

    def model_load_failed(self, info: ModelInfo, error: SpeechError) -> None:
        _log.error("model.load_failed", model=info.id, backend=info.backend, reason=str(error))

    def sentence_begun(self, *_: object) -> None:
        """Too often for an event."""

    sentence_ended = sentence_begun

    def sentence_failed(self, error: SentenceError, attempt: int) -> None:
        _log.warning("speech.sentence_failed", error=error.code, attempt=attempt)

    def instance_died(self, index: int, reason: InstanceDeath) -> None:
        _log.error("model.instance_died", instance=index, reason=reason)

    def speech_retried(self, error: SpeechError, attempt: int) -> None:
        _log.warning("speech.retried", error=error.code, attempt=attempt)

    def breaker_changed(self, old: BreakerState, new: BreakerState, reason: str) -> None:
        write = _log.error if new is BreakerState.OPEN else _log.info
        write("breaker.changed", old=old.value, new=new.value, reason=reason)

    def reading_failed(self, error: Exception) -> None:
        place = traceback.extract_tb(error.__traceback__)[-1]
        _log.warning(
            "text.spelled", error=type(error).__name__, place=f"{place.name}:{place.lineno}"
        )

    def speech_ended(self, report: SpeechReport) -> None:
        write = _log.error if report.outcome is Outcome.FAILED else _log.info
        write(
            "speech.ended",
            outcome=report.outcome.value,
            error=report.error_code,
            num_chars=report.num_chars,
            num_segments=report.num_segments,
            cache=report.cache.value if report.cache else None,
            voice=report.voice,
            format=report.format.value,
            audio_s=round(report.audio_s, 3),
            stalled_s=_rounded(report.stalled_s),
            queue_s=_rounded(report.queue_s),
            first_audio_s=_rounded(report.first_audio_s),
            total_s=round(report.total_s, 4),
            real_time_factor=_rounded(report.real_time_factor),
        )

    def store_failed(self, action: StoreAction, error: StoreError) -> None:
        reason = str(error)
        # What the system said: it names the place, which clients are not told.
        cause = None if error.__cause__ is None else str(error.__cause__)
        if action == "open":
            setting = "store.directory"
            _log.error(
                "store.unavailable", setting=setting, error=error.code, reason=reason, cause=cause
            )
        else:
            _log.error("store.failed", action=action, error=error.code, reason=reason, cause=cause)

    def store_cleaned(self, num_removed: int) -> None:
        _log.info("store.cleaned", num_removed=num_removed)


def _rounded(value: float | None) -> float | None:
    return None if value is None else round(value, 4)


class FanOut:
    """SpeechObserver that tells all others, in order."""

    def __init__(self, *observers: SpeechObserver) -> None:
        self._observers = observers

    def __getattr__(self, event: str) -> Callable[..., None]:
        def tell(*details: Any) -> None:
            for observer in self._observers:
                getattr(observer, event)(*details)

        return tell
