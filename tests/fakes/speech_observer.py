"""A SpeechObserver that remembers."""

import msgspec

from app.domain.errors import SentenceError, SpeechError, StoreError
from app.domain.speech import ModelInfo, SpeechReport
from app.ports.speech_observer import StoreAction


class FakeSpeechObserver:
    """Attributes hold what it was told, oldest first."""

    def __init__(self) -> None:
        self.loaded: list[tuple[ModelInfo, float]] = []
        self.load_failures: list[SpeechError] = []
        self.failed_sentences: list[tuple[SentenceError, int]] = []
        self.reports: list[SpeechReport] = []
        self.store_failures: list[tuple[StoreAction, StoreError]] = []
        self.num_removed: list[int] = []

    def model_loaded(self, info: ModelInfo, duration_s: float) -> None:
        self.loaded.append((info, duration_s))

    def model_load_failed(self, info: ModelInfo, error: SpeechError) -> None:
        self.load_failures.append(error)

    def sentence_failed(self, error: SentenceError, attempt: int) -> None:
        self.failed_sentences.append((error, attempt))

    def speech_ended(self, report: SpeechReport) -> None:
        self.reports.append(msgspec.structs.replace(report))

    def store_failed(self, action: StoreAction, error: StoreError) -> None:
        self.store_failures.append((action, error))

    def store_cleaned(self, num_removed: int) -> None:
        self.num_removed.append(num_removed)
