"""Every failure a caller can meet, by name. Knows nothing of HTTP.

`code` is what programs read, `param` the request field at fault, `is_retryable` whether the same
call may succeed later.
"""

import math
from collections.abc import Sequence
from typing import ClassVar, Final, Literal

# Of an instance of the model: it said so itself, its process ended, its process gave no sign of
# life any more, or it lives and does not speak.
InstanceDeath = Literal["failed", "crashed", "silent", "hung"]


class SpeechError(Exception):
    """Root of all failures. The message is safe to show to a client.

    A subclass names what of the four it does not inherit; `message` is the usual one.
    """

    code: str = "speech_error"
    param: str | None = None
    is_retryable: bool = False
    message: ClassVar[str] = ""

    def __init_subclass__(cls, **defaults: str | bool | float) -> None:
        super().__init_subclass__()
        for name, value in defaults.items():
            setattr(cls, name, value)

    def __init__(self, message: str | None = None) -> None:
        super().__init__(self.message if message is None else message)


class InvalidRequestError(SpeechError, code="invalid_request"):
    """The request cannot succeed as it is."""

    def __init__(
        self, message: str | None = None, *, code: str | None = None, param: str | None = None
    ) -> None:
        super().__init__(message)
        self.code, self.param = code or self.code, param or self.param


class EmptyInputError(InvalidRequestError, code="empty_input", param="input"):
    """The input is empty."""

    message = "The input is empty: give at least one character to speak."


class InputTooLongError(InvalidRequestError, code="string_above_max_length", param="input"):
    """The input has more characters (Unicode code points) than the limit allows.

    `subject` says of what they are: of the input as it is sent, or as it is spoken.
    """

    def __init__(self, length: int, limit: int, subject: str = "The input") -> None:
        super().__init__(f"{subject} has {length} characters; at most {limit} are allowed.")


EXPANDED_INPUT: Final = "With numbers and symbols in words the input"


class InvalidSpeedError(InvalidRequestError, code="invalid_speed", param="speed"):
    """The speed is outside its range, or not a number."""

    def __init__(self, speed: float, minimum: float, maximum: float) -> None:
        super().__init__(f"The speed must lie between {minimum} and {maximum}; got {speed}.")


class InvalidPronunciationError(InvalidRequestError, code="invalid_value", param="pronunciations"):
    """A pronunciation, or the word that it is for, cannot be one."""


class UnsupportedSampleRateError(
    InvalidRequestError, code="unsupported_sample_rate", param="sample_rate"
):
    """The format does not support that sample rate."""

    def __init__(self, sample_rate: int, audio_format: str, supported: Sequence[int]) -> None:
        rates = ", ".join(str(rate) for rate in supported)
        super().__init__(
            f"A sample rate of {sample_rate} Hz is not possible for {audio_format}; use {rates}."
        )


class ModelNotFoundError(InvalidRequestError, code="model_not_found", param="model"):
    """The model name is not served."""

    def __init__(self, model: str, known: Sequence[str]) -> None:
        super().__init__(f"The model {model!r} is not served here; known: {', '.join(known)}.")


class VoiceNotFoundError(InvalidRequestError, code="voice_not_found", param="voice"):
    """The voice name is not served."""

    def __init__(self, voice: str, known: Sequence[str]) -> None:
        super().__init__(f"The voice {voice!r} is not known; known: {', '.join(known)}.")


class InvalidApiKeyError(SpeechError, code="invalid_api_key"):
    """The API key is missing or unknown."""

    message = "The API key is not known here."


class MissingApiKeyError(InvalidApiKeyError):
    """The request needs an API key and has none."""

    message = "An API key is needed: send it as 'Authorization: Bearer KEY'."


class RateLimitError(SpeechError, code="rate_limit_exceeded", is_retryable=True):
    """The API key has reached one of its limits."""

    def __init__(self, limit: str, retry_after_s: float) -> None:
        wait_s = max(1, math.ceil(retry_after_s))
        super().__init__(
            f"This API key has reached its limit of requests: {limit}. Try again in {wait_s} s."
        )
        self.retry_after_s = retry_after_s


class RefusedError(SpeechError, is_retryable=True):
    """The server is too busy, or not ready; `retry_after_s` is how long to wait, in seconds."""

    def __init__(self, retry_after_s: float) -> None:
        super().__init__()
        self.retry_after_s = retry_after_s


class ServerOverloadedError(RefusedError, code="server_overloaded"):
    """The queue is full."""

    message = "The server has too much to speak; try again later."


class QueueTimeoutError(RefusedError, code="queue_timeout"):
    """The request waited in the queue for longer than the limit."""

    message = "The server was too busy to begin with the text in time; try again later."


class RequestTimeoutError(SpeechError, code="request_timeout", is_retryable=True):
    """The response did not begin, or was not complete, before the deadline."""

    message = "The answer was not ready in the time that the request was given."


class ModelLoadingError(RefusedError, code="model_loading"):
    """The model is still loading."""

    message = "The speech model is still loading; try again shortly."


class ServerDrainingError(SpeechError, code="server_draining", is_retryable=True):
    """The server is shutting down and accepts no new requests for speech."""

    message = "The server is about to restart; try again shortly."

    retry_after_s: ClassVar[float] = 2.0


class ModelLoadError(SpeechError, code="model_load_failed"):
    """The model cannot be loaded."""


class CheckpointError(ModelLoadError, code="invalid_checkpoint"):
    """The files of the model are missing, corrupt or those of another model."""

    def __init__(self, message: str) -> None:
        super().__init__(" ".join(message.split()))


class SynthesisError(SpeechError, code="synthesis_failed"):
    """The model failed during synthesis."""

    message = "The model failed while speaking."


class InvalidAudioError(SynthesisError, code="invalid_audio"):
    """The model returned invalid audio: wrong shape or dtype, NaN or infinite samples."""


class SentenceError(SynthesisError):
    """The model works, but failed on this sentence."""


class RunawaySpeechError(SentenceError, code="runaway_speech"):
    """Generation of a sentence ran away into a long vowel or silence, in every attempt."""

    message = "The model could not speak a sentence: it ran away every time."


class TruncatedSpeechError(SentenceError, code="truncated_speech"):
    """Generation reached the token limit before the end of a sentence."""

    message = "The model reached its limit of tokens before the end of a sentence."


class InstanceDeadError(SynthesisError, code="engine_unavailable", is_retryable=True):
    """An instance of the model died, none is alive, or the circuit breaker is open."""

    message = "The speech model failed and is started again."
    retry_after_s: ClassVar[float] = 5.0

    def __init__(self, message: str | None = None, reason: InstanceDeath = "failed") -> None:
        super().__init__(message)
        self.reason = reason


class InstanceLostError(InstanceDeadError):
    """The death of this instance was already reported by another of its sentences."""


class DeviceError(InstanceDeadError, code="device_failed"):
    """The device is out of memory or lost."""

    message = "The device that runs the speech model is out of memory or lost."


class NoInstanceError(InstanceDeadError):
    """No instance of the model is alive."""


class ReplicaLostError(SynthesisError, code="engine_unavailable", is_retryable=True):
    """The replica that had this sentence died, or cannot be reached; others may live."""

    message = "The replica that was synthesizing this sentence failed."
    retry_after_s: ClassVar[float] = 2.0


class EngineUnavailableError(SynthesisError, code="engine_unavailable", is_retryable=True):
    """The circuit breaker is open."""

    message = "The speech model failed repeatedly; its circuit is open. Try again later."

    def __init__(self, retry_after_s: float) -> None:
        super().__init__()
        self.retry_after_s = float(math.ceil(retry_after_s))


class SpeechTimeoutError(SynthesisError, code="speech_timeout", is_retryable=True):
    """The model returned no audio within the time limit."""

    def __init__(self, limit_s: float) -> None:
        super().__init__(f"The model gave no sound for {limit_s:g} s.")
        self.limit_s = limit_s


class InstanceSilentError(SpeechTimeoutError):
    """The silence of this instance was already reported by another of its sentences."""


class EngineBusyError(SpeechTimeoutError, code="engine_busy"):
    """This sentence got no audio within the time limit while other sentences did."""

    retry_after_s: ClassVar[float] = 5.0


class EncodingError(SpeechError, code="encoding_failed"):
    """The audio could not be encoded in the requested format."""


class StoreError(SpeechError, code="store_failed"):
    """The store of finished audio failed."""


class StoreFullError(StoreError, code="store_full"):
    """The store has no space or no free name left."""


class InvalidFileNameError(InvalidRequestError, code="invalid_file_name", param="file_name"):
    """The file name is not one that the store can assign."""

    message = (
        "A file name has letters, digits, '-' and '_' (at most 64), a number and an extension."
    )


class UnknownCursorError(InvalidRequestError, code="unknown_cursor", param="after"):
    """The page cursor `after` names a file that is not stored."""

    def __init__(self, after: str) -> None:
        super().__init__(f"There is no stored audio named {after!r} that a page could follow.")


class StoredAudioNotFoundError(InvalidRequestError, code="file_not_found", param="file_name"):
    """No stored file has this name."""

    message = "There is no stored audio named {name!r}."

    def __init__(self, name: str) -> None:
        super().__init__(self.message.format(name=name))


class CaptionsNotFoundError(StoredAudioNotFoundError, code="captions_not_found"):
    """The stored file has no captions, or does not exist."""

    message = "The stored audio {name!r} was kept without captions."
