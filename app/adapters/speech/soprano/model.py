"""Soprano as a SpeechModel: sentences in, sound out as it is made.

A sentence that runs away is begun again, with other random numbers, as long as none of its sound
has left. Later the stream breaks off.
"""

import asyncio
from collections.abc import AsyncGenerator, Callable, Sequence
from contextlib import aclosing
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from app.adapters.speech.soprano.checkpoint import Checkpoint
from app.adapters.speech.soprano.sampling import Sampling
from app.adapters.speech.soprano.shapes import SAMPLE_RATE
from app.adapters.speech.soprano.speaker import SopranoSpeaker
from app.adapters.speech.soprano.text import prompt_for, split_for_soprano
from app.adapters.speech.soprano.text_sentences import MIN_SENTENCE_CHARS
from app.adapters.speech.soprano.tokenizer_files import load_tokenizer
from app.adapters.speech.soprano.windows import SAMPLES_PER_TOKEN
from app.domain.audio import AudioChunk
from app.domain.errors import SentenceError, SynthesisError
from app.domain.segment import TextSegment
from app.domain.speech import ModelInfo, SynthesisParams, Voice
from app.domain.text.mapped_text import MappedText
from app.ports.speech_observer import SentenceObserver

VOICE: Final = Voice(id="soprano", name="Soprano", language="en")


class SopranoModel:
    """SpeechModel over one of Soprano's backends.

    Args:
        model_id: the name requests use.
        backend: as in the setting `model.backend`.
        find_checkpoint: fetches, reads and checks the files; called by `load`.
        build_speaker: of a checkpoint; called by `load`.
        sampling: of every sentence, but for what a request chooses.
        max_regenerations: how often a sentence that ran away or hit the token limit is begun again.
        num_streams: see ModelInfo.
        observer: told of each such sentence.
    """

    def __init__(  # noqa: PLR0913 - what the root decides, each named once
        self,
        *,
        model_id: str,
        backend: str,
        find_checkpoint: Callable[[], Checkpoint],
        build_speaker: Callable[[Checkpoint], SopranoSpeaker],
        sampling: Sampling,
        max_regenerations: int,
        num_streams: int,
        observer: SentenceObserver,
    ) -> None:
        self.info = ModelInfo(
            id=model_id,
            backend=backend,
            sample_rate=SAMPLE_RATE,
            voices=(VOICE,),
            num_streams=num_streams,
            has_sampling=True,
            min_segment_chars=MIN_SENTENCE_CHARS,
        )
        self._find_checkpoint = find_checkpoint
        self._build_speaker = build_speaker
        self._sampling = sampling
        self._max_regenerations = max_regenerations
        self._observer = observer
        self.speaker: SopranoSpeaker | None = None
        self._tokenizer: Any = None

    async def load(self) -> None:
        await asyncio.to_thread(self._load)

    def _load(self) -> None:
        checkpoint = self._find_checkpoint()
        self.speaker = self._build_speaker(checkpoint)
        self.speaker.load()
        self._tokenizer = load_tokenizer(checkpoint.directory)

    async def close(self) -> None:
        if self.speaker is not None:
            await asyncio.to_thread(self.speaker.close)

    def split(self, paragraphs: Sequence[MappedText]) -> list[MappedText]:
        return split_for_soprano(paragraphs)

    async def synthesize(
        self, segment: TextSegment, params: SynthesisParams, due_at: float = 0.0
    ) -> AsyncGenerator[AudioChunk, None]:
        if self.speaker is None:
            raise SynthesisError("Soprano is not loaded.")
        chosen = self._sampling.chosen(params.sampling)
        prompt = prompt_for(segment)
        tally = _Tally(len(self._tokenizer.encode(prompt).ids))
        for attempt in range(self._max_regenerations + 1):
            sampling = chosen.for_attempt(attempt)
            try:
                async with aclosing(self.speaker.speak(prompt, sampling, due_at)) as pieces:
                    async for samples in pieces:
                        yield tally.chunk(samples)
            except SentenceError as error:
                self._observer.sentence_failed(error, attempt)
                if tally.has_spoken or attempt == self._max_regenerations:
                    raise
            else:
                return


class _Tally:
    """Counts the tokens of one sentence: those read at its first chunk, those drawn as they sound.

    n tokens are n hidden states, and sound lies between two of them (see windows.py).
    """

    def __init__(self, num_read: int) -> None:
        self._num_read = num_read
        self._num_samples = 0

    @property
    def has_spoken(self) -> bool:
        return self._num_samples > 0

    @property
    def _num_drawn(self) -> int:
        return 1 + self._num_samples // SAMPLES_PER_TOKEN if self.has_spoken else 0

    def chunk(self, samples: NDArray[np.float32]) -> AudioChunk:
        num_read = 0 if self.has_spoken else self._num_read
        num_drawn_before = self._num_drawn
        self._num_samples += len(samples)
        return AudioChunk(samples, SAMPLE_RATE, num_read, self._num_drawn - num_drawn_before)
