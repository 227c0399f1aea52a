"""A SpeechObserver that remembers."""

import msgspec

from app.domain.errors import SentenceError, SpeechError
from app.domain.speech import ModelInfo, SpeechReport


class FakeSpeechObserver:
    """Attributes hold what it was told, oldest first."""

    def __init__(self) -> None:
        self.loaded: list[tuple[ModelInfo, float]] = []
        self.load_failures: list[SpeechError] = []
        self.failed_sentences: list[tuple[SentenceError, int]] = []
        self.reports: list[SpeechReport] = []

    def model_loaded(self, info: ModelInfo, duration_s: float) -> None:
        self.loaded.append((info, duration_s))

    def model_load_failed(self, info: ModelInfo, error: SpeechError) -> None:
        self.load_failures.append(error)

    def sentence_failed(self, error: SentenceError, attempt: int) -> None:
        self.failed_sentences.append((error, attempt))

    def speech_ended(self, report: SpeechReport) -> None:
        self.reports.append(msgspec.structs.replace(report))
