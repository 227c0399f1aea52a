"""What is asked for, by whom it can be spoken, and what became of it."""

from enum import StrEnum
from typing import Final

import msgspec

from app.domain.audio import AudioFormat
from app.domain.errors import (
    EmptyInputError,
    InvalidSpeedError,
    ModelNotFoundError,
    VoiceNotFoundError,
)
from app.domain.text.pronunciations import Pronunciations

MIN_SPEED: Final = 0.25  # of `speed` in the OpenAI speech contract; 1 is the model's own pace
MAX_SPEED: Final = 4.0


class Voice(msgspec.Struct, frozen=True):
    """A speaker the model can imitate: `id` is what requests name, `name` is for people."""

    id: str
    name: str
    language: str = "en"


class SamplingParams(msgspec.Struct, frozen=True, kw_only=True):
    """Sampling parameters of a model that samples; None leaves it to the model's settings."""

    seed: int | None = None  # of the random numbers: the same one gives the same sound again
    temperature: float | None = None  # randomness; 0 takes the likeliest
    top_p: float | None = None  # probability mass that is drawn from, in (0, 1]
    repetition_penalty: float | None = None  # on what was drawn before; 1 is none


class SynthesisParams(msgspec.Struct, frozen=True):
    """How a segment is synthesized."""

    voice: Voice  # that speaks
    speed: float = 1.0  # pace; 1 is the model's own
    sampling: SamplingParams = SamplingParams()  # what of it is not left to the model
    is_whole: bool = False  # no chunk is used before the last one has come


class ModelInfo(msgspec.Struct, frozen=True, kw_only=True):
    """What a speech model is."""

    id: str  # the name requests use
    backend: str  # what runs it, as in the setting `model.backend`
    sample_rate: int  # of its audio, in Hz
    voices: tuple[Voice, ...]  # at least one; the first is the default
    min_speed: float = 1.0  # slowest pace that `synthesize` accepts
    max_speed: float = 1.0  # fastest pace that `synthesize` accepts
    num_streams: int = 8  # texts at the same time without playback gaps, as far as can be told
    has_sampling: bool = False  # it follows all of SamplingParams, else the seed alone
    min_segment_chars: int = 0  # a shorter segment is not spoken alone if it has a neighbour


OPENAI_MODELS: Final = ("tts-1", "tts-1-hd", "gpt-4o-mini-tts")
OPENAI_VOICES: Final = (
    "alloy", "ash", "ballad", "cedar", "coral", "echo", "fable",
    "marin", "nova", "onyx", "sage", "shimmer", "verse",
)  # fmt: skip


class Catalog:
    """Which model and voice a name means; with `accepts_unknown` any other means the default.

    Clients of the OpenAI endpoint send its names whatever server they talk to, so those are served
    too, by the model and its default voice.
    """

    def __init__(self, info: ModelInfo, *, accepts_unknown: bool = False) -> None:
        self.info = info
        self._accepts_unknown = accepts_unknown
        self._voices = {voice.id.casefold(): voice for voice in self.voices()}

    def model_ids(self) -> tuple[str, ...]:
        """Names to list: the model's own first."""
        return (self.info.id, *OPENAI_MODELS)

    def voices(self) -> tuple[Voice, ...]:
        """Voices to list: the model's own first, then OpenAI's names, which it speaks as well."""
        default = self.info.voices[0]
        own = {voice.id for voice in self.info.voices}
        aliases = tuple(
            Voice(id=name, name=f"{name.capitalize()} ({default.name})", language=default.language)
            for name in OPENAI_VOICES
            if name not in own
        )
        return self.info.voices + aliases

    def is_model(self, name: str) -> bool:
        """Whether `name` means the model served (dated OpenAI names count)."""
        return name in self.model_ids() or name.startswith("gpt-4o-mini-tts-")

    def is_voice(self, name: str) -> bool:
        """Whether `name` means a voice; case does not matter."""
        return name.casefold() in self._voices

    def check_model(self, name: str | None) -> None:
        """Raise ModelNotFoundError unless `name` means the model that is served."""
        if name is not None and not self._accepts_unknown and not self.is_model(name):
            raise ModelNotFoundError(name, self.model_ids())

    def find_voice(self, name: str | None) -> Voice:
        """The model's own voice that speaks for `name`; raises VoiceNotFoundError."""
        default = self.info.voices[0]
        if name is None:
            return default
        voice = self._voices.get(name.casefold())
        if voice is None and not self._accepts_unknown:
            raise VoiceNotFoundError(name, [voice.id for voice in self.voices()])
        return voice if voice in self.info.voices else default


class SpeechOptions(msgspec.Struct, frozen=True, kw_only=True):
    """How a text is to be spoken and sent; raises InvalidSpeedError."""

    model: str | None = None  # a name the catalogue knows; None is the model that is served
    voice: str | None = None  # a name the catalogue knows; None is the model's default voice
    speed: float = 1.0  # pace in [0.25, 4]; 1 is the model's own
    sampling: SamplingParams = SamplingParams()  # what of it is not left to the model
    format: AudioFormat = AudioFormat.MP3  # of the answer
    sample_rate: int | None = None  # of the answer in Hz; None follows the format's rule
    is_normalized: bool = True  # markup, figures and signs are read; else spoken as they are
    pronunciations: Pronunciations = Pronunciations()  # of words that are said as respelled

    def __post_init__(self) -> None:
        if not MIN_SPEED <= self.speed <= MAX_SPEED:
            raise InvalidSpeedError(self.speed, MIN_SPEED, MAX_SPEED)


class SpeechRequest(SpeechOptions, frozen=True, kw_only=True):
    """A text to be spoken, all of it known; raises EmptyInputError and InvalidSpeedError."""

    text: str  # at least one character

    def __post_init__(self) -> None:
        super().__post_init__()
        if not self.text:
            raise EmptyInputError


class Outcome(StrEnum):
    """How a request for speech ended.

    REJECTED: it asked for what cannot be. REFUSED: the server was too busy, or not ready.
    """

    COMPLETED = "completed"
    REJECTED = "rejected"
    REFUSED = "refused"
    FAILED = "failed"
    CANCELLED = "cancelled"


class CacheStatus(StrEnum):
    """How much of a request was kept from an earlier one: all segments, some, none.

    BYPASS: nothing was looked for, because such speech is not kept or there was none to make.
    """

    HIT = "hit"
    PARTIAL = "partial"
    MISS = "miss"
    BYPASS = "bypass"


class SpeechReport(msgspec.Struct, kw_only=True):
    """What became of one request; never holds its text."""

    format: AudioFormat  # asked for
    num_chars: int = 0  # length of the input in code points
    voice: str | None = None  # that spoke, once known
    num_segments: int = 0  # that the text was split into
    num_segments_spoken: int = 0  # that are made so far
    num_input_tokens: int = 0  # that the model has read for what was handed out
    num_output_tokens: int = 0  # that it has drawn for it
    cache: CacheStatus | None = None  # how many of them were kept already, once known
    audio_s: float = 0.0  # playing time handed out so far, in seconds
    # for how long, in seconds, a listener who plays from the first audio on had to wait for more of
    # it; None where the answer is sent whole or the text was still being written
    stalled_s: float | None = 0.0
    num_stalls: int = 0  # how often that was
    queue_s: float | None = None  # from the request to the model's beginning with it, in seconds
    first_audio_s: float | None = None  # from the request to the first audio of the model
    total_s: float = 0.0  # from the request to its end, in seconds
    outcome: Outcome = Outcome.CANCELLED  # how it ended
    error_code: str | None = None  # of the failure, if any

    @property
    def real_time_factor(self) -> float | None:
        """Seconds of work per second of audio: below 1 is faster than playback."""
        return self.total_s / self.audio_s if self.audio_s else None
