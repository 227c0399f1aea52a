"""Every failure a caller can meet, by name. Knows nothing of HTTP.

`code` is what programs read, `param` the request field at fault, `is_retryable` whether the same
call may succeed later.
"""

import math
from collections.abc import Sequence
from typing import ClassVar, Literal

InstanceDeath = Literal["failed", "crashed", "silent", "hung"]
"""Of an instance of the model: it said so itself, its process ended, its process gave no sign of
life any more, or it lives and does not speak."""


class SpeechError(Exception):
    """Root of all failures. The message is safe to show to a client."""

    code: ClassVar[str] = "speech_error"
    param: ClassVar[str | None] = None
    is_retryable: ClassVar[bool] = False


class InvalidRequestError(SpeechError):
    """The request cannot succeed as it is."""

    code: ClassVar[str] = "invalid_request"


class EmptyInputError(InvalidRequestError):
    """The input is empty."""

    code: ClassVar[str] = "empty_input"
    param: ClassVar[str | None] = "input"

    def __init__(self) -> None:
        super().__init__("The input is empty: give at least one character to speak.")


class InputTooLongError(InvalidRequestError):
    """The input has more characters (Unicode code points) than the limit allows."""

    code: ClassVar[str] = "string_above_max_length"
    param: ClassVar[str | None] = "input"

    def __init__(self, length: int, limit: int, subject: str = "The input") -> None:
        super().__init__(f"{subject} has {length} characters; at most {limit} are allowed.")
        self.length = length
        self.limit = limit


class ExpandedInputTooLongError(InputTooLongError):
    """The same, counted after numbers and symbols are written as words."""

    def __init__(self, length: int, limit: int) -> None:
        super().__init__(length, limit, "With numbers and symbols in words the input")


class SlowedInputTooLongError(InputTooLongError):
    """The same, counted with the additional playing time of a speed below 1."""

    def __init__(self, length: int, limit: int) -> None:
        super().__init__(length, limit, "At this speed the input takes as long as a text that")


class InvalidSpeedError(InvalidRequestError):
    """The speed is outside its range, or not a number."""

    code: ClassVar[str] = "invalid_speed"
    param: ClassVar[str | None] = "speed"

    def __init__(self, speed: float, minimum: float, maximum: float) -> None:
        super().__init__(f"The speed must lie between {minimum} and {maximum}; got {speed}.")
        self.speed = speed


class UnsupportedSampleRateError(InvalidRequestError):
    """The format does not support that sample rate."""

    code: ClassVar[str] = "unsupported_sample_rate"
    param: ClassVar[str | None] = "sample_rate"

    def __init__(self, sample_rate: int, audio_format: str, supported: Sequence[int]) -> None:
        rates = ", ".join(str(rate) for rate in supported)
        super().__init__(
            f"A sample rate of {sample_rate} Hz is not possible for {audio_format}; use {rates}."
        )
        self.sample_rate = sample_rate
        self.supported = tuple(supported)


class ModelNotFoundError(InvalidRequestError):
    """The model name is not served."""

    code: ClassVar[str] = "model_not_found"
    param: ClassVar[str | None] = "model"

    def __init__(self, model: str, known: Sequence[str]) -> None:
        super().__init__(f"The model {model!r} is not served here; known: {', '.join(known)}.")
        self.model = model


class VoiceNotFoundError(InvalidRequestError):
    """The voice name is not served."""

    code: ClassVar[str] = "voice_not_found"
    param: ClassVar[str | None] = "voice"

    def __init__(self, voice: str, known: Sequence[str]) -> None:
        super().__init__(f"The voice {voice!r} is not known; known: {', '.join(known)}.")
        self.voice = voice


class InvalidApiKeyError(SpeechError):
    """The API key is missing or unknown."""

    code: ClassVar[str] = "invalid_api_key"

    def __init__(self, message: str = "The API key is not known here.") -> None:
        super().__init__(message)


class MissingApiKeyError(InvalidApiKeyError):
    """The request needs an API key and has none."""

    def __init__(self) -> None:
        super().__init__("An API key is needed: send it as 'Authorization: Bearer KEY'.")


class RateLimitError(SpeechError):
    """The API key has reached one of its limits."""

    code: ClassVar[str] = "rate_limit_exceeded"
    is_retryable: ClassVar[bool] = True

    def __init__(self, limit: str, retry_after_s: float) -> None:
        wait_s = max(1, math.ceil(retry_after_s))
        super().__init__(
            f"This API key has reached its limit of requests: {limit}. Try again in {wait_s} s."
        )
        self.retry_after_s = retry_after_s


class ServerOverloadedError(SpeechError):
    """The queue is full."""

    code: ClassVar[str] = "server_overloaded"
    is_retryable: ClassVar[bool] = True

    def __init__(self, retry_after_s: float) -> None:
        super().__init__("The server has too much to speak; try again later.")
        self.retry_after_s = retry_after_s


class QueueTimeoutError(SpeechError):
    """The request waited in the queue for longer than the limit."""

    code: ClassVar[str] = "queue_timeout"
    is_retryable: ClassVar[bool] = True

    def __init__(self, retry_after_s: float) -> None:
        super().__init__("The server was too busy to begin with the text in time; try again later.")
        self.retry_after_s = retry_after_s


class RequestTimeoutError(SpeechError):
    """The response did not begin, or was not complete, before the deadline."""

    code: ClassVar[str] = "request_timeout"
    is_retryable: ClassVar[bool] = True

    def __init__(self) -> None:
        super().__init__("The answer was not ready in the time that the request was given.")


class ModelLoadingError(SpeechError):
    """The model is still loading."""

    code: ClassVar[str] = "model_loading"
    is_retryable: ClassVar[bool] = True

    def __init__(self, retry_after_s: float) -> None:
        super().__init__("The speech model is still loading; try again shortly.")
        self.retry_after_s = retry_after_s


class ServerDrainingError(SpeechError):
    """The server is shutting down and accepts no new requests for speech."""

    code: ClassVar[str] = "server_draining"
    is_retryable: ClassVar[bool] = True
    retry_after_s: ClassVar[float] = 2.0

    def __init__(self) -> None:
        super().__init__("The server is about to restart; try again shortly.")


class ModelLoadError(SpeechError):
    """The model cannot be loaded."""

    code: ClassVar[str] = "model_load_failed"


class CheckpointError(ModelLoadError):
    """The files of the model are missing, corrupt or those of another model."""

    code: ClassVar[str] = "invalid_checkpoint"

    def __init__(self, message: str) -> None:
        super().__init__(" ".join(message.split()))


class SynthesisError(SpeechError):
    """The model failed during synthesis."""

    code: ClassVar[str] = "synthesis_failed"

    def __init__(self, message: str = "The model failed while speaking.") -> None:
        super().__init__(message)


class InvalidAudioError(SynthesisError):
    """The model returned invalid audio: wrong shape or dtype, NaN or infinite samples."""

    code: ClassVar[str] = "invalid_audio"


class SentenceError(SynthesisError):
    """The model works, but failed on this sentence."""


class RunawaySpeechError(SentenceError):
    """Generation of a sentence ran away into a long vowel or silence, in every attempt."""

    code: ClassVar[str] = "runaway_speech"

    def __init__(self) -> None:
        super().__init__("The model could not speak a sentence: it ran away every time.")


class TruncatedSpeechError(SentenceError):
    """Generation reached the token limit before the end of a sentence."""

    code: ClassVar[str] = "truncated_speech"

    def __init__(self) -> None:
        super().__init__("The model reached its limit of tokens before the end of a sentence.")


class InstanceDeadError(SynthesisError):
    """An instance of the model died, none is alive, or the circuit breaker is open."""

    code: ClassVar[str] = "engine_unavailable"
    is_retryable: ClassVar[bool] = True
    retry_after_s: ClassVar[float] = 5.0

    def __init__(
        self,
        message: str = "The speech model failed and is started again.",
        reason: InstanceDeath = "failed",
    ) -> None:
        super().__init__(message)
        self.reason = reason


class InstanceLostError(InstanceDeadError):
    """The death of this instance was already reported by another of its sentences."""


class DeviceError(InstanceDeadError):
    """The device is out of memory or lost."""

    code: ClassVar[str] = "device_failed"

    def __init__(self) -> None:
        super().__init__("The device that runs the speech model is out of memory or lost.")


class NoInstanceError(InstanceDeadError):
    """No instance of the model is alive."""


class EngineUnavailableError(SynthesisError):
    """The circuit breaker is open."""

    code: ClassVar[str] = "engine_unavailable"
    is_retryable: ClassVar[bool] = True

    def __init__(self, retry_after_s: float) -> None:
        super().__init__(
            "The speech model failed repeatedly; its circuit is open. Try again later."
        )
        self.retry_after_s = float(math.ceil(retry_after_s))


class SpeechTimeoutError(SynthesisError):
    """The model returned no audio within the time limit."""

    code: ClassVar[str] = "speech_timeout"
    is_retryable: ClassVar[bool] = True

    def __init__(self, limit_s: float) -> None:
        super().__init__(f"The model gave no sound for {limit_s:g} s.")
        self.limit_s = limit_s


class EngineBusyError(SpeechTimeoutError):
    """This sentence got no audio within the time limit while other sentences did."""

    code: ClassVar[str] = "engine_busy"
    retry_after_s: ClassVar[float] = 5.0


class EncodingError(SpeechError):
    """The audio could not be encoded in the requested format."""

    code: ClassVar[str] = "encoding_failed"


class StoreError(SpeechError):
    """The store of finished audio failed."""

    code: ClassVar[str] = "store_failed"


class StoreFullError(StoreError):
    """The store has no space or no free name left."""

    code: ClassVar[str] = "store_full"


class InvalidFileNameError(InvalidRequestError):
    """The file name is not one that the store can assign."""

    code: ClassVar[str] = "invalid_file_name"
    param: ClassVar[str | None] = "file_name"

    def __init__(
        self,
        message: str = (
            "A file name has letters, digits, '-' and '_' (at most 64), a number and an extension."
        ),
    ) -> None:
        super().__init__(message)


class UnknownCursorError(InvalidRequestError):
    """The page cursor `after` names a file that is not stored."""

    code: ClassVar[str] = "unknown_cursor"
    param: ClassVar[str | None] = "after"

    def __init__(self, after: str) -> None:
        super().__init__(f"There is no stored audio named {after!r} that a page could follow.")
        self.after = after


class StoredAudioNotFoundError(InvalidRequestError):
    """No stored file has this name."""

    code: ClassVar[str] = "file_not_found"
    param: ClassVar[str | None] = "file_name"

    def __init__(
        self, name: str, message: str = "There is no stored audio named {name!r}."
    ) -> None:
        super().__init__(message.format(name=name))
        self.name = name


class CaptionsNotFoundError(StoredAudioNotFoundError):
    """The stored file has no captions, or does not exist."""

    code: ClassVar[str] = "captions_not_found"

    def __init__(self, name: str) -> None:
        super().__init__(name, "The stored audio {name!r} was kept without captions.")
