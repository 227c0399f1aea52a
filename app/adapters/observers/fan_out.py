"""Several observers as one."""

from app.domain.errors import InstanceDeath, SentenceError, SpeechError, StoreError
from app.domain.resilience import BreakerState
from app.domain.speech import ModelInfo, SpeechReport
from app.ports.speech_observer import SpeechObserver, StoreAction


class FanOut:
    """SpeechObserver that tells all others, in order."""

    def __init__(self, *observers: SpeechObserver) -> None:
        self._observers = observers

    def model_loaded(self, info: ModelInfo, duration_s: float) -> None:
        for observer in self._observers:
            observer.model_loaded(info, duration_s)

    def model_load_failed(self, info: ModelInfo, error: SpeechError) -> None:
        for observer in self._observers:
            observer.model_load_failed(info, error)

    def sentence_begun(self, num_running: int) -> None:
        for observer in self._observers:
            observer.sentence_begun(num_running)

    def sentence_ended(self, num_running: int) -> None:
        for observer in self._observers:
            observer.sentence_ended(num_running)

    def sentence_failed(self, error: SentenceError, attempt: int) -> None:
        for observer in self._observers:
            observer.sentence_failed(error, attempt)

    def instance_died(self, index: int, reason: InstanceDeath) -> None:
        for observer in self._observers:
            observer.instance_died(index, reason)

    def speech_retried(self, error: SpeechError, attempt: int) -> None:
        for observer in self._observers:
            observer.speech_retried(error, attempt)

    def breaker_changed(self, old: BreakerState, new: BreakerState, reason: str) -> None:
        for observer in self._observers:
            observer.breaker_changed(old, new, reason)

    def refused_unread(self, error: SpeechError) -> None:
        for observer in self._observers:
            observer.refused_unread(error)

    def reading_failed(self, error: Exception) -> None:
        for observer in self._observers:
            observer.reading_failed(error)

    def speech_ended(self, report: SpeechReport) -> None:
        for observer in self._observers:
            observer.speech_ended(report)

    def store_failed(self, action: StoreAction, error: StoreError) -> None:
        for observer in self._observers:
            observer.store_failed(action, error)

    def store_cleaned(self, num_removed: int) -> None:
        for observer in self._observers:
            observer.store_cleaned(num_removed)
