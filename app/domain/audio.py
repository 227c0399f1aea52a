"""Audio as plain data: mono float32 samples with their rate, formats and file names.

Knows nothing of containers or codecs beyond their names.
"""

import re
from collections.abc import Iterator
from enum import StrEnum
from typing import Final

import msgspec
import numpy as np
from numpy.typing import NDArray

from app.domain.errors import InvalidAudioError, InvalidFileNameError

# Hz of raw `pcm` unless asked otherwise: clients of the OpenAI endpoint assume it (no header).
PCM_SAMPLE_RATE: Final = 24_000


class AudioFormat(StrEnum):
    """The formats of the OpenAI speech endpoint, and ours after them; also the file extensions."""

    MP3 = "mp3"
    OPUS = "opus"
    AAC = "aac"
    M4A = "m4a"
    FLAC = "flac"
    WAV = "wav"
    PCM = "pcm"
    WEBM = "webm"
    MULAW = "mulaw"
    ALAW = "alaw"

    @classmethod
    def _missing_(cls, value: object) -> "AudioFormat | None":
        """As people write it: in any case, with blanks around it, and by other names."""
        name = str(value).strip().lower()
        return next((one for one in cls if one == _OTHER_NAMES.get(name, name)), None)


_FIXED_RATES: Final = {
    AudioFormat.PCM: PCM_SAMPLE_RATE,
    **dict.fromkeys((AudioFormat.MULAW, AudioFormat.ALAW), 8_000),  # as telephones take G.711
    **dict.fromkeys((AudioFormat.OPUS, AudioFormat.WEBM), 48_000),  # RFC 7845, section 4
}
_OTHER_NAMES: Final = {"ogg": "opus", "ulaw": "mulaw", "mp4": "m4a", "m4b": "m4a"}


class AudioChunk(msgspec.Struct, frozen=True, eq=False):
    """A run of samples; raises InvalidAudioError if they are not what is said here."""

    # (num_samples,) float32, nominally in [-1, 1]; finite. Louder is allowed and clipped where it
    # is written
    samples: NDArray[np.float32]
    sample_rate: int  # in Hz
    num_input_tokens: int = 0  # that the model has read for it, without those of chunks before it
    num_output_tokens: int = 0  # that the model has generated for it

    def __post_init__(self) -> None:
        if self.samples.ndim != 1 or self.samples.dtype != np.float32:
            raise InvalidAudioError("Audio must be one-dimensional float32.")
        if self.sample_rate < 1:
            raise InvalidAudioError("Audio must have a positive sample rate.")
        if not np.isfinite(self.samples).all():
            raise InvalidAudioError("The model produced samples that are not finite.")

    @property
    def num_samples(self) -> int:
        """How many samples."""
        return len(self.samples)

    @property
    def duration_s(self) -> float:
        """Playing time in seconds."""
        return len(self.samples) / self.sample_rate

    def pieces(self, max_s: float) -> Iterator["AudioChunk"]:
        """The same samples in chunks of at most `max_s` seconds; the first one has the tokens."""
        max_samples = max(1, int(max_s * self.sample_rate))
        yield msgspec.structs.replace(self, samples=self.samples[:max_samples])
        for start in range(max_samples, len(self.samples), max_samples):
            yield AudioChunk(self.samples[start : start + max_samples], self.sample_rate)


class PlaybackClock:
    """When a listener who plays audio as it arrives has played all of it."""

    def __init__(self, starts_at: float) -> None:
        # seconds of the port Clock's `monotonic`; before the first chunk, when it is due
        self.ends_at = starts_at

    def on_chunk(self, chunk: AudioChunk, now: float) -> None:
        """Add a chunk that arrives now: it plays at once, or after those before it."""
        self.ends_at = max(self.ends_at, now) + chunk.duration_s


class AudioEncoding(msgspec.Struct, frozen=True):
    """What the listener receives: a format and its sample rate in Hz."""

    format: AudioFormat
    sample_rate: int


def silence(duration_s: float, sample_rate: int) -> AudioChunk:
    """Zeros for `duration_s` seconds."""
    return AudioChunk(np.zeros(round(duration_s * sample_rate), np.float32), sample_rate)


def to_pcm16(samples: NDArray[np.float32]) -> NDArray[np.int16]:
    """(num_samples,) float32, finite, to int16 in [-32767, 32767]: clipped and never wrapped."""
    scaled: NDArray[np.float32] = np.rint(np.clip(samples, -1.0, 1.0) * 32767.0)
    return scaled.astype(np.int16)


def choose_sample_rate(audio_format: AudioFormat, asked: int | None, model_rate: int) -> int:
    """The rate in Hz of what is sent: the one asked for, else the format's rule.

    Raw formats name no rate, so theirs are fixed; Opus has one clock; the others name their rate
    and keep the model's own.
    """
    return asked if asked is not None else _FIXED_RATES.get(audio_format, model_rate)


# Start of the name of a stored file; ASCII only, so that no two names look alike. The store adds
# the number and the extension.
STEM: Final = re.compile(r"[A-Za-z0-9_-]{1,64}")
DEFAULT_STEM: Final = "speech"


def choose_stem(file_name: str | None, audio_format: AudioFormat) -> str:
    """The stem that a caller means by a stem, one with the extension of `audio_format`, or None.

    Anything else is an InvalidFileNameError, never mended: a mended name would be another file's.
    """
    if file_name is None:
        return DEFAULT_STEM
    stem = file_name.removesuffix(f".{audio_format}")
    if not STEM.fullmatch(stem):
        raise InvalidFileNameError(
            "A file name has letters, digits, '-' and '_', at most 64 of them; its extension may "
            f"follow, which is '.{audio_format}' here."
        )
    return stem
