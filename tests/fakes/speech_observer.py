"""A SpeechObserver that remembers."""

import msgspec

from app.domain.errors import InstanceDeath, SentenceError, SpeechError, StoreError
from app.domain.resilience import BreakerState
from app.domain.speech import ModelInfo, SpeechReport
from app.ports.telemetry import StoreAction


class FakeSpeechObserver:
    """Attributes hold what it was told, oldest first."""

    def __init__(self) -> None:
        self.loaded: list[tuple[ModelInfo, float]] = []
        self.load_failures: list[SpeechError] = []
        self.nums_running: list[int] = []
        self.failed_sentences: list[tuple[SentenceError, int]] = []
        self.deaths: list[tuple[int, InstanceDeath]] = []
        self.retries: list[tuple[SpeechError, int]] = []
        self.breaker_changes: list[tuple[BreakerState, BreakerState, str]] = []
        self.reading_failures: list[Exception] = []
        self.reports: list[SpeechReport] = []
        self.store_failures: list[tuple[StoreAction, StoreError]] = []
        self.num_removed: list[int] = []

    def model_loaded(self, info: ModelInfo, duration_s: float, speed: float | None) -> None:
        self.loaded.append((info, duration_s))

    def model_load_failed(self, info: ModelInfo, error: SpeechError) -> None:
        self.load_failures.append(error)

    def sentence_begun(self, num_running: int) -> None:
        self.nums_running.append(num_running)

    def sentence_ended(self, num_running: int) -> None:
        self.nums_running.append(num_running)

    def sentence_failed(self, error: SentenceError, attempt: int) -> None:
        self.failed_sentences.append((error, attempt))

    def instance_died(self, index: int, reason: InstanceDeath) -> None:
        self.deaths.append((index, reason))

    def speech_retried(self, error: SpeechError, attempt: int) -> None:
        self.retries.append((error, attempt))

    def breaker_changed(self, old: BreakerState, new: BreakerState, reason: str) -> None:
        self.breaker_changes.append((old, new, reason))

    def reading_failed(self, error: Exception) -> None:
        self.reading_failures.append(error)

    def speech_ended(self, report: SpeechReport) -> None:
        self.reports.append(msgspec.structs.replace(report))

    def store_failed(self, action: StoreAction, error: StoreError) -> None:
        self.store_failures.append((action, error))

    def store_cleaned(self, num_removed: int) -> None:
        self.num_removed.append(num_removed)
