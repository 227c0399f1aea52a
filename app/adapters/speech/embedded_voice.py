"""A small real English voice that ships inside a package: the first run speaks with no download.

The package behind it (hibari-tts) truncates words of more than 24 letters, cannot read numbers of
more than some 30 digits and speaks only Latin letters. All three are mended here, before it sees
the text; what it still cannot say is narrowed down to the one word, then the one letter.
"""

import asyncio
import os
import re
import threading
import unicodedata
from collections.abc import AsyncGenerator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import Any, Final

import msgspec
import numpy as np
import structlog
from anyascii import anyascii
from numpy.typing import NDArray

from app.adapters.speech.cores import count_cores
from app.adapters.speech.onnx_session import open_session
from app.adapters.speech.sentences import find_sentences
from app.adapters.speech.turns import Turns
from app.domain.audio import AudioChunk
from app.domain.errors import ModelLoadError, SynthesisError
from app.domain.segment import TextSegment
from app.domain.speech import Delivery, ModelInfo, Voice
from app.domain.text_splitting import fit, split_text

SAMPLE_RATE: Final = 24_000
"""Hz; fixed by the package."""

SAMPLES_PER_FRAME: Final = 300
"""Of the package's inverse transform; a frame is what its network draws at once."""

MAX_SEGMENT_CHARS: Final = 250
"""Longest segment, in spoken characters: about 16 s of audio, made in about 0.2 s on one core."""

MAX_CALL_PHONEMES: Final = 300
"""Most phonemes that the network is given at once, at speed 1: 0.2 s on one core. A call cannot be
interrupted. Only what is longer to say than it was estimated to be has more."""

MAX_WORD_LETTERS: Final = 24
"""The package's spelling-to-sound network drops the letters of a word beyond this."""

MAX_RUN_CHARS: Final = 32
"""Longest run without a space that the package reads at once: its time grows with the square of the
signs and letter groups in one, to 5 s for 250 of `+`."""

MAX_NUMBER_DIGITS: Final = 15
"""Longer runs of digits are read digit by digit."""

NICENESS: Final = 5
"""Of the threads that compute sound, see setpriority(2)."""

SEED: Final = 0
"""Of the noise in the voice: fixed, so that the same text gives the same samples."""

MAX_LEADING_SILENCE_S: Final = 0.06
MAX_TRAILING_SILENCE_S: Final = 0.30
"""The voice pads each sentence with up to 0.3 s before and 0.5 s after; more than this is cut."""

SILENCE_LEVEL: Final = 1e-3
"""Samples below this (-60 dB of full scale) count as silence."""

VOICE: Final = Voice(id="heart", name="Heart", language="en-US")

INFO: Final = ModelInfo(
    id="hibari",
    backend="embedded",
    sample_rate=SAMPLE_RATE,
    voices=(VOICE,),
    # Measured: below 1 the voice keeps the pace asked for within 5 %; above 1 it does not (asked
    # for 1.3 it gives 1.17, for 1.4 it gives 1.51), so that is left to time-stretching.
    min_speed=0.5,
    max_speed=1.0,
)

STREAMS_PER_THREAD: Final = 4
"""A thread makes sound some 50 times as fast as it is heard; with more texts at the same time, each
waits longer for its first sound."""

_LONG_NUMBER = re.compile(rf"\d[\d,]{{{MAX_NUMBER_DIGITS},}}")
_LONG_WORD = re.compile(rf"[^\W\d_]{{{MAX_WORD_LETTERS + 1},}}")
_LONG_RUN = re.compile(rf"\S{{{MAX_RUN_CHARS + 1},}}")
_RUN_PIECE = re.compile(
    rf"\S{{1,{MAX_RUN_CHARS}}}$|\S{{1,{MAX_RUN_CHARS - 1}}}[^\w\s]|\S{{1,{MAX_RUN_CHARS}}}"
)
_PHONEME_MARKUP = re.compile(r"\]\(")

_log = structlog.get_logger(__name__)


class EmbeddedVoice:
    """SpeechModel over hibari-tts, on ONNX Runtime, one thread per sentence.

    Args:
        num_threads: sentences synthesized at the same time; 0 means one per physical core.
    """

    def __init__(self, num_threads: int = 0) -> None:
        self._num_threads = num_threads or count_cores()
        self.info = msgspec.structs.replace(
            INFO, num_streams=STREAMS_PER_THREAD * self._num_threads
        )
        self._turns = Turns(self._num_threads)
        self._executor: ThreadPoolExecutor | None = None
        self._hibari: Any = None

    async def load(self) -> None:
        self._executor = ThreadPoolExecutor(
            self._num_threads, thread_name_prefix="embedded-voice", initializer=_step_back
        )
        loop = asyncio.get_running_loop()
        try:
            self._hibari = await loop.run_in_executor(self._executor, _load_hibari)
        except Exception as error:
            raise ModelLoadError(f"The embedded voice cannot be loaded: {error}") from error

    async def close(self) -> None:
        if self._executor is not None:
            self._executor.shutdown(wait=False, cancel_futures=True)

    def split(self, text: str) -> list[TextSegment]:
        return split_text(spell_long_numbers(text), MAX_SEGMENT_CHARS, find_sentences)

    async def synthesize(
        self, segment: TextSegment, delivery: Delivery, due_at: float = 0.0
    ) -> AsyncGenerator[AudioChunk, None]:
        if self._executor is None:
            raise SynthesisError("The embedded voice is not loaded.")
        call = partial(asyncio.get_running_loop().run_in_executor, self._executor)
        async with self._turns.take(due_at):
            calls = await call(_phonemize, self._hibari, make_sayable(segment.text), delivery.speed)
        seed = SEED if delivery.sampling.seed is None else delivery.sampling.seed
        noise = np.random.default_rng(seed)
        for ids in calls:
            async with self._turns.take(due_at):
                raw = await call(self._hibari.from_ids, ids, delivery.speed, noise)
            samples = trim_silence(raw, delivery.speed)
            if len(samples):
                chunk = AudioChunk(samples, SAMPLE_RATE, len(ids), len(raw) // SAMPLES_PER_FRAME)
                due_at += chunk.duration_s
                yield chunk


def _step_back() -> None:
    """Let the event loop have a core at once when it needs one: refusals and health do not wait."""
    with suppress(AttributeError, OSError):  # Linux alone has a priority for each thread
        os.setpriority(os.PRIO_PROCESS, threading.get_native_id(), NICENESS)


def _load_hibari() -> Any:
    from hibari import Hibari

    hibari = Hibari(voice=VOICE.id, threads=1)
    # Its own keeps what the longest texts at the same time ever took, and is no faster for it.
    hibari.sess = open_session(Path(hibari.model_path), num_threads=1, keeps_memory=False)
    hibari("Ready.", seed=SEED)  # loads its dictionaries here, not in several threads at once
    return hibari


def make_sayable(text: str) -> str:
    """Rewrite what the package would truncate, misread or skip; everything else stays."""
    text = unicodedata.normalize("NFC", spell_long_numbers(text))  # it drops letters with marks
    text = "".join(_transliterate(char) for char in text)
    text = _LONG_WORD.sub(lambda word: " ".join(_pieces(word[0])), text)
    text = _LONG_RUN.sub(lambda run: " ".join(_RUN_PIECE.findall(run[0])), text)
    return _PHONEME_MARKUP.sub("] (", text)


def spell_long_numbers(text: str) -> str:
    """Put spaces between the digits of numbers that are too long to be read as one."""
    return _LONG_NUMBER.sub(lambda run: " ".join(run[0].replace(",", "")), text)


def _transliterate(char: str) -> str:
    """Letters beyond Latin by their usual Latin spelling; accents, marks and symbols stay."""
    return anyascii(char) if char.isalpha() and ord(char) > _LAST_LATIN else char


_LAST_LATIN: Final = 0xFF
"""End of the Unicode block Latin-1; the package drops most letters beyond."""


def _pieces(word: str) -> list[str]:
    return [word[i : i + MAX_WORD_LETTERS] for i in range(0, len(word), MAX_WORD_LETTERS)]


def _phonemize(hibari: Any, text: str, speed: float) -> list[list[int]]:
    """Phonemes of `text` for each call of the network; what cannot be read is left out."""
    max_phonemes = round(MAX_CALL_PHONEMES * min(1.0, speed))
    return [
        hibari.ids(piece)
        for phonemes in _read(hibari, text)
        for piece in fit(phonemes, max_phonemes, lambda part: [1] * len(part))
    ]


def _read(hibari: Any, text: str) -> list[str]:
    """The phonemes of `text`; where the package raises, those of its halves, down to characters."""
    try:
        phonemes: list[str] = hibari.phonemize(text)
    except Exception as error:  # noqa: BLE001 - whatever it raises, the rest of the text is spoken
        halves = _halve(text)
        if not halves:
            _log.warning("embedded_voice.character_skipped", error=type(error).__name__)
        return [phonemes for half in halves for phonemes in _read(hibari, half)]
    return phonemes


def _halve(text: str) -> list[str]:
    """Two halves by words, else by characters; nothing for a single character."""
    words = text.split()
    if len(words) > 1:
        middle = len(words) // 2
        return [" ".join(words[:middle]), " ".join(words[middle:])]
    middle = len(text) // 2
    return [text[:middle], text[middle:]] if middle else []


def trim_silence(samples: NDArray[np.float32], speed: float) -> NDArray[np.float32]:
    """Shorten the silence at both ends to its limit; at a slower `speed` the limit is longer."""
    loud = np.flatnonzero(np.abs(samples) > SILENCE_LEVEL)
    if not len(loud):
        return samples
    lead = round(MAX_LEADING_SILENCE_S * SAMPLE_RATE / speed)
    trail = round(MAX_TRAILING_SILENCE_S * SAMPLE_RATE / speed)
    return samples[max(0, loud[0] - lead) : loud[-1] + 1 + trail]
