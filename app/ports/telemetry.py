"""The ports to telemetry: observers of speech and of requests, metrics, traces."""

from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager
from typing import Literal, Protocol, runtime_checkable

import msgspec

from app.domain.admission import QueueLoad
from app.domain.errors import InstanceDeath, SentenceError, SpeechError, StoreError
from app.domain.resilience import BreakerState
from app.domain.speech import ModelInfo, SpeechReport

StoreAction = Literal["open", "save", "clean_up"]  # what is done with the store of finished audio


class SentenceObserver(Protocol):
    """Told of single sentences. Must return at once and never raise."""

    def sentence_failed(self, error: SentenceError, attempt: int) -> None:
        """One attempt at a sentence, from 0 on, has failed; there may be another."""


class SpeechObserver(SentenceObserver, Protocol):
    """Told what happened, after it happened. Must return at once and never raise."""

    def model_loaded(self, info: ModelInfo, duration_s: float, speed: float | None) -> None:
        """The model can speak, `duration_s` seconds after the start of loading.

        It makes `speed` seconds of audio per second of one text alone, if that is known.
        """

    def model_load_failed(self, info: ModelInfo, error: SpeechError) -> None:
        """The model will never speak."""

    def sentence_begun(self, num_running: int) -> None:
        """The model was given a sentence; it now has so many, this one included."""

    def sentence_ended(self, num_running: int) -> None:
        """It is done with one, however that ended; it now has so many."""

    def instance_died(self, index: int, reason: InstanceDeath) -> None:
        """One instance of the model, from 0 on, has stopped working, and will be replaced."""

    def speech_retried(self, error: SpeechError, attempt: int) -> None:
        """A sentence failed, and is begun again; `attempt` counts from 1 on."""

    def breaker_changed(self, old: BreakerState, new: BreakerState, reason: str) -> None:
        """The model is refused, tried or asked again; `reason` is for people."""

    def reading_failed(self, error: Exception) -> None:
        """A text, or a part of it, is spelled because a rule for reading raised this."""

    def speech_ended(self, report: SpeechReport) -> None:
        """One request for speech has ended, however it ended. Called exactly once per request."""

    def store_failed(self, action: StoreAction, error: StoreError) -> None:
        """The store of finished audio could not do this; speaking goes on without it.

        While `open` or `clean_up` fails over and over in the same way, it is told once.
        """

    def store_cleaned(self, num_removed: int) -> None:
        """So many files, at least one, were removed for the limits of the store."""


class RequestReport(msgspec.Struct, frozen=True, kw_only=True):
    """What became of one request, or of one socket."""

    method: str  # as in HTTP, upper case; "WEBSOCKET" of a socket
    # template of the address, `/v1/models/{model_id}`; None if there is nothing there
    route: str | None
    status: int  # of the answer; 101 of a socket that was accepted, 0 if nothing was answered
    duration_s: float  # to the end of the answer, or of the socket, in seconds


class RequestObserver(Protocol):
    """Told what happened, after it happened. Must return at once and never raise."""

    def request_ended(self, report: RequestReport) -> None:
        """A request or a socket has ended, however it ended."""

    def refused_unread(self, error_code: str, num_requests: int) -> None:
        """So many requests for speech were rejected before they were read, for one reason."""

    def sockets_changed(self, num_open: int) -> None:
        """So many sockets are open now."""


@runtime_checkable  # a controller takes it by injection, which checks the instance
class MetricsSource(Protocol):
    """All metrics as one page of text."""

    content_type: str
    """Of the page, as an HTTP media type without charset; it is UTF-8."""

    def watch_queue(self, ask: Callable[[], QueueLoad]) -> None:
        """Have what waits and runs told by `ask`, each time the page is made."""

    def render(self) -> bytes:
        """The page, with the values of now. Returns at once."""


Attributes = Mapping[str, str | int | float | bool]
"""What is known of a piece of work, by name. Never the text that is spoken, and no key."""


class Span(Protocol):
    """A piece of work that is followed. Must be ended, once; no method raises."""

    @property
    def trace_id(self) -> str:
        """Of the request that it belongs to, on all servers: 32 hexadecimal digits."""

    def rename(self, name: str) -> None:
        """Give it the name that was not known at the beginning."""

    def add_event(self, name: str) -> None:
        """Something happened, now."""

    def end(self, attributes: Attributes, error: str | None = None) -> None:
        """It is over, now; `error` is the code of its failure."""


class Tracing(Protocol):
    """Follows requests."""

    def follow(
        self, name: str, headers: Mapping[str, str], attributes: Attributes
    ) -> AbstractContextManager[Span]:
        """A request; what begins within the context belongs to it.

        Args:
            name: of the kind of request.
            headers: by lower-case name; they may say which trace it continues (W3C Trace Context).
            attributes: known already.
        """

    def begin(self, name: str, attributes: Attributes) -> Span:
        """A piece of work of the request that is followed here, or of none."""

    async def close(self) -> None:
        """Hand over what is not handed over yet; takes a bounded time."""
