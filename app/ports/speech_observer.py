"""The port to observers of speech: logs, metrics, traces."""

from typing import Literal, Protocol

from app.domain.errors import InstanceDeath, SentenceError, SpeechError, StoreError
from app.domain.resilience import BreakerState
from app.domain.speech import ModelInfo, SpeechReport

StoreAction = Literal["open", "save", "clean_up"]
"""What is done with the store of finished audio."""


class SentenceObserver(Protocol):
    """Told of single sentences. Must return at once and never raise."""

    def sentence_failed(self, error: SentenceError, attempt: int) -> None:
        """One attempt at a sentence, from 0 on, has failed; there may be another."""
        ...


class SpeechObserver(SentenceObserver, Protocol):
    """Told what happened, after it happened. Must return at once and never raise."""

    def model_loaded(self, info: ModelInfo, duration_s: float) -> None:
        """The model can speak, `duration_s` seconds after the start of loading."""
        ...

    def model_load_failed(self, info: ModelInfo, error: SpeechError) -> None:
        """The model will never speak."""
        ...

    def sentence_begun(self, num_running: int) -> None:
        """The model was given a sentence; it now has so many, this one included."""
        ...

    def sentence_ended(self, num_running: int) -> None:
        """It is done with one, however that ended; it now has so many."""
        ...

    def instance_died(self, index: int, reason: InstanceDeath) -> None:
        """One instance of the model, from 0 on, has stopped working, and will be replaced."""
        ...

    def speech_retried(self, error: SpeechError, attempt: int) -> None:
        """A sentence failed, and is begun again; `attempt` counts from 1 on."""
        ...

    def breaker_changed(self, old: BreakerState, new: BreakerState, reason: str) -> None:
        """The model is refused, tried or asked again; `reason` is for people."""
        ...

    def refused_unread(self, error: SpeechError) -> None:
        """A request for speech was rejected before it was read; it has no report."""
        ...

    def reading_failed(self, error: Exception) -> None:
        """A text, or a part of it, is spelled because a rule for reading raised this."""
        ...

    def speech_ended(self, report: SpeechReport) -> None:
        """One request for speech has ended, however it ended. Called exactly once per request."""
        ...

    def store_failed(self, action: StoreAction, error: StoreError) -> None:
        """The store of finished audio could not do this; speaking goes on without it.

        While `open` or `clean_up` fails over and over in the same way, it is told once.
        """
        ...

    def store_cleaned(self, num_removed: int) -> None:
        """So many files, at least one, were removed for the limits of the store."""
        ...
