"""A small real English voice that ships inside a package: the first run needs no download.

The package behind it (hibari-tts) has a reading of its own, which takes words for numerals and
abbreviations ("King Charles", "the answer is no."); it is entered below that, with words only. It
truncates words of more than 24 letters and speaks only Latin letters: both are mended here. What it
still cannot say is narrowed down to the one word, then the one letter.
"""

import asyncio
import heapq
import os
import re
import sys
import threading
import unicodedata
from collections.abc import AsyncGenerator, AsyncIterator, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager, contextmanager, suppress
from functools import partial
from itertools import count
from pathlib import Path
from typing import Any, Final

import msgspec
import numpy as np
import structlog
from anyascii import anyascii
from numpy.typing import NDArray

from app.adapters.speech.cores import count_cores
from app.adapters.speech.onnx_session import open_session
from app.domain.audio import AudioChunk
from app.domain.errors import ModelLoadError, SynthesisError
from app.domain.segment import TextSegment
from app.domain.speech import ModelInfo, SynthesisParams, Voice
from app.domain.text.mapped_text import MappedText, Rule
from app.domain.text.number_words import cardinal
from app.domain.text.reading.matching import JOINT
from app.domain.text.splitting import fit, is_speakable, split_sentences

SAMPLE_RATE: Final = 24_000  # Hz; fixed by the package

# Of the package's inverse transform; a frame is what its network generates at once.
SAMPLES_PER_FRAME: Final = 300

# Longest segment, in characters: about 16 s of audio, made in about 0.2 s on one core.
MAX_SEGMENT_CHARS: Final = 250

# Most phonemes of one network call, at speed 1: 0.2 s on one core. A call cannot be interrupted.
# Only speech that is longer than estimated has more.
MAX_CALL_PHONEMES: Final = 300

# The package's spelling-to-sound network drops the letters of a word beyond this.
MAX_WORD_LETTERS: Final = 24

# A segment that was cut after a word may be so much shorter than the longest.
MIN_CUT_CHARS: Final = MAX_SEGMENT_CHARS - MAX_WORD_LETTERS

# Longest run without a space that the package reads at once: its time grows with the square of the
# signs and letter groups in one, to 5 s for 250 of `+`.
MAX_RUN_CHARS: Final = 32

# Of the threads that compute audio, see setpriority(2): the event loop gets a core at once.
NICENESS: Final = 5

SCIPY: Final = "scipy.fft"  # all of SciPy that the package uses

SEED: Final = 0  # of the noise in the voice: fixed, so that the same text gives the same samples

# The voice pads each sentence with up to 0.3 s before and 0.5 s after; more than this is cut, and
# still more after a piece whose sentence goes on in the next one.
MAX_LEADING_SILENCE_S: Final = 0.06
MAX_TRAILING_SILENCE_S: Final = 0.30
MAX_CUT_SILENCE_S: Final = 0.06

SILENCE_LEVEL: Final = 1e-3  # samples below this (-60 dB of full scale) count as silence

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

# A thread makes audio some 50 times as fast as playback; with more streams each waits longer for
# its first audio.
STREAMS_PER_THREAD: Final = 4

_LONG_WORD = re.compile(rf"[^\W\d_]{{{MAX_WORD_LETTERS + 1},}}")
_WORD_PIECE = re.compile(rf".{{1,{MAX_WORD_LETTERS}}}")
_LONG_RUN = re.compile(rf"\S{{{MAX_RUN_CHARS + 1},}}")
_RUN_PIECE = re.compile(
    rf"\S{{1,{MAX_RUN_CHARS}}}$|\S{{1,{MAX_RUN_CHARS - 1}}}[^\w\s]|\S{{1,{MAX_RUN_CHARS}}}"
)
_LETTER_AND_MARKS = re.compile(r"\w[\u0300-\u036f]+")

_log = structlog.get_logger(__name__)


class EmbeddedVoice:
    """SpeechModel over hibari-tts, on ONNX Runtime; `num_threads` of 0 is one per physical core."""

    def __init__(self, num_threads: int = 0) -> None:
        self._num_threads = num_threads or count_cores()
        self.info = msgspec.structs.replace(
            INFO, num_streams=STREAMS_PER_THREAD * self._num_threads
        )
        self._queue = DueQueue(self._num_threads)
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

    def split(self, paragraphs: Sequence[MappedText]) -> list[MappedText]:
        return [
            piece
            for paragraph in paragraphs
            for sentence in split_sentences(in_voice_form(paragraph))
            for piece in fit(sentence, MAX_SEGMENT_CHARS)
            if is_speakable(piece.text)
        ]

    async def synthesize(
        self, segment: TextSegment, params: SynthesisParams, due_at: float = 0.0
    ) -> AsyncGenerator[AudioChunk, None]:
        if self._executor is None:
            raise SynthesisError("The embedded voice is not loaded.")
        call = partial(asyncio.get_running_loop().run_in_executor, self._executor)
        speech = _speak(self._hibari, segment.text, params)
        is_last = False
        while not is_last:
            async with self._queue.take(due_at):
                chunk, is_last = await call(next, speech, (None, True))
            if chunk is not None:
                due_at += chunk.duration_s
                yield chunk


def _step_back() -> None:
    """Let the event loop have a core at once when it needs one: refusals and health do not wait."""
    with suppress(AttributeError, OSError):  # Linux alone has a priority for each thread
        os.setpriority(os.PRIO_PROCESS, threading.get_native_id(), NICENESS)


def _load_hibari() -> Any:
    with _without_scipy():
        from hibari import Hibari

    hibari = Hibari(voice=VOICE.id, threads=1)
    with ThreadPoolExecutor(1) as second:
        reading = second.submit(lambda: hibari.g2p)  # its dictionaries, when first asked for
        # Its own keeps what the longest texts at the same time ever took, and is no faster for it.
        hibari.sess = open_session(Path(hibari.model_path), num_threads=1, keeps_memory=False)
        reading.result()
    hibari("Ready.", seed=SEED)  # what else it loads, it loads here, not in several threads at once
    return hibari


@contextmanager
def _without_scipy() -> Iterator[None]:
    """Let the package transform with numpy, which costs it 1 % of its speed.

    To load SciPy takes a quarter of a second of a core and 16 MB.
    """
    if SCIPY in sys.modules:
        yield
        return
    sys.modules[SCIPY] = None  # type: ignore[assignment] # cannot be imported
    try:
        yield
    finally:
        del sys.modules[SCIPY]


def in_voice_form(paragraph: MappedText) -> MappedText:
    """Rewrite what the package would truncate, misread or skip; everything else stays."""
    # Letters with their marks in one character (NFC), for the package drops loose marks.
    composed = paragraph.sub(_LETTER_AND_MARKS, lambda run: unicodedata.normalize("NFC", run[0]))
    return composed.apply(_FORM)


_LAST_LATIN: Final = 0xFF  # end of the Unicode block Latin-1; the package drops most letters beyond


_FORM: Final[tuple[Rule, ...]] = (
    (re.compile(JOINT), " "),
    (  # letters beyond Latin and figures in ASCII; accents, marks and symbols stay
        re.compile(rf"[^\x00-\x{_LAST_LATIN:02x}]|[\xb2\xb3\xb9\xbc-\xbe]"),
        lambda char: anyascii(char[0]) if char[0].isalnum() else None,
    ),
    (re.compile(r"\d+"), lambda figures: f" {cardinal(figures[0])} "),
    (_LONG_WORD, lambda word: " ".join(_WORD_PIECE.findall(word[0]))),
    (_LONG_RUN, lambda run: " ".join(_RUN_PIECE.findall(run[0]))),
    (re.compile(r"\]\("), "] ("),  # would be markup of phonemes
    (re.compile(r"\s+"), " "),
)


def _speak(
    hibari: Any, text: str, params: SynthesisParams
) -> Iterator[tuple[AudioChunk | None, bool]]:
    """A chunk for each call of the network, None if it is empty, and whether it is the last one."""
    max_phonemes = round(MAX_CALL_PHONEMES * min(1.0, params.speed))
    calls = [
        hibari.ids(piece.text)
        for phonemes in _read(hibari, text)
        for piece in fit(MappedText.of(phonemes), max_phonemes)
    ]
    noise = UniformNoise(SEED if params.sampling.seed is None else params.sampling.seed)
    # Whether its sentence goes on in the next segment: no mark ends it, and it is long.
    is_cut = text[-1:].isalnum() and len(text) > MIN_CUT_CHARS
    for number, ids in enumerate(calls, 1):
        is_last = number == len(calls)
        raw = hibari.from_ids(ids, params.speed, noise)
        trailing_s = MAX_CUT_SILENCE_S if is_cut or not is_last else MAX_TRAILING_SILENCE_S
        samples = trim_silence(raw, params.speed, trailing_s)
        chunk = AudioChunk(samples, SAMPLE_RATE, len(ids), len(raw) // SAMPLES_PER_FRAME)
        yield chunk if len(samples) else None, is_last


def _read(hibari: Any, text: str) -> list[str]:
    """The phonemes of `text`; where the package raises, those of its halves, down to characters."""
    try:
        phonemes: str = hibari.g2p(text, normalize_text=False)
    except Exception as error:  # noqa: BLE001 - whatever it raises, the rest of the text is spoken
        units, space = text.split(), " "
        if len(units) < 2:  # noqa: PLR2004 - a single word is halved by characters
            units, space = list(text), ""
        middle = len(units) // 2
        if not middle:
            _log.warning("embedded_voice.character_skipped", error=type(error).__name__)
            return []
        halves = space.join(units[:middle]), space.join(units[middle:])
        return [phonemes for half in halves for phonemes in _read(hibari, half)]
    return [phonemes] if phonemes else []


def trim_silence(
    samples: NDArray[np.float32], speed: float, trailing_s: float
) -> NDArray[np.float32]:
    """Shorten the silence at both ends to its limit; at a slower `speed` the limit is longer."""
    loud = np.flatnonzero(np.abs(samples) > SILENCE_LEVEL)
    if not len(loud):
        return samples
    lead = round(MAX_LEADING_SILENCE_S * SAMPLE_RATE / speed)
    trail = round(trailing_s * SAMPLE_RATE / speed)
    return samples[max(0, loud[0] - lead) : loud[-1] + 1 + trail]


class UniformNoise:
    """The package's random numbers, four times as fast as those of numpy's normal distribution.

    Its inverse transform adds up hundreds of them for each sample, and that sum is normal.
    """

    def __init__(self, seed: int) -> None:
        self._random = np.random.default_rng(seed)

    def standard_normal(
        self, size: tuple[int, ...], dtype: type[np.float32]
    ) -> NDArray[np.float32]:
        """Numbers of mean 0 and variance 1, as the method of numpy's Generator."""
        numbers = self._random.random(size, dtype=dtype)
        numbers -= 0.5
        numbers *= 12**0.5  # uniform numbers over a length of 1 have a variance of 1/12
        return numbers


class DueQueue:
    """Turns for work of which only `num_at_once` pieces can be done at the same time."""

    def __init__(self, num_at_once: int) -> None:
        self._num_free = num_at_once
        self._waiting: list[tuple[float, int, asyncio.Future[None]]] = []
        self._arrivals = count()

    @asynccontextmanager
    async def take(self, due_at: float) -> AsyncIterator[None]:
        """Wait for a turn; it ends with the block. Equal times are served as they came."""
        if self._num_free:
            self._num_free -= 1
        else:
            given = asyncio.get_running_loop().create_future()
            heapq.heappush(self._waiting, (due_at, next(self._arrivals), given))
            try:
                await given
            except asyncio.CancelledError:
                if given.done() and not given.cancelled():
                    self._end()  # it was given in the same moment
                raise
        try:
            yield
        finally:
            self._end()

    def _end(self) -> None:
        while self._waiting:
            *_, given = heapq.heappop(self._waiting)
            if not given.done():
                given.set_result(None)
                return
        self._num_free += 1
