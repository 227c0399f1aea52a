"""Soprano as a SpeechModel: sentences in, audio out as it is generated.

A sentence that runs away is generated again, with other random numbers, if none of its audio was
delivered; otherwise the stream breaks off.
"""

import asyncio
from collections.abc import AsyncGenerator, Callable, Sequence
from contextlib import aclosing
from typing import Any, Final

from app.adapters.speech.soprano.checkpoint.checkpoint import Checkpoint, load_tokenizer
from app.adapters.speech.soprano.checkpoint.shapes import SAMPLE_RATE, SAMPLES_PER_TOKEN
from app.adapters.speech.soprano.engine import Engine, Sampling
from app.adapters.speech.soprano.text import MIN_SENTENCE_CHARS, prompt_for, split_for_soprano
from app.domain.audio import AudioChunk
from app.domain.errors import InstanceDeadError, SentenceError
from app.domain.segment import TextSegment
from app.domain.speech import ModelInfo, SynthesisParams, Voice
from app.domain.text.mapped_text import MappedText
from app.ports.telemetry import SentenceObserver

VOICE: Final = Voice(id="soprano", name="Soprano", language="en")


class SopranoModel:
    """SpeechModel over one of Soprano's backends.

    `load` calls `find_checkpoint`, which fetches, reads and checks the files, then `load_engine`,
    both in a thread. `sampling` is that of every sentence, but for what a request chooses. One that
    ran away or hit the token limit is begun again, `max_regenerations` times at most; `observer` is
    told of each.
    """

    def __init__(  # noqa: PLR0913 - what the root decides, each named once
        self,
        *,
        model_id: str,
        backend: str,
        find_checkpoint: Callable[[], Checkpoint],
        load_engine: Callable[[Checkpoint], Engine],
        sampling: Sampling,
        max_regenerations: int = 1,
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
        self._load_engine = load_engine
        self._sampling = sampling
        self._max_regenerations = max_regenerations
        self._observer = observer
        self.engine: Engine | None = None
        self._tokenizer: Any = None

    async def load(self) -> None:
        checkpoint = await asyncio.to_thread(self._find_checkpoint)
        self.engine = await asyncio.to_thread(self._load_engine, checkpoint)
        self._tokenizer = await asyncio.to_thread(load_tokenizer, checkpoint.directory)

    async def close(self) -> None:
        engine, self.engine = self.engine, None  # and its memory
        if engine is not None:
            await asyncio.to_thread(engine.close)

    def split(self, paragraphs: Sequence[MappedText]) -> list[MappedText]:
        return split_for_soprano(paragraphs)

    async def synthesize(
        self, segment: TextSegment, params: SynthesisParams, due_at: float = 0.0
    ) -> AsyncGenerator[AudioChunk, None]:
        if (engine := self.engine) is None:
            raise InstanceDeadError("Soprano is not loaded.")
        chosen = self._sampling.chosen(params.sampling)
        prompt = prompt_for(segment)
        num_prompt_tokens = len(self._tokenizer.encode(prompt).ids)
        num_samples = 0
        for attempt in range(self._max_regenerations + 1):
            sampling = chosen.for_attempt(attempt)
            try:
                async with aclosing(engine.synthesize(prompt, sampling, due_at)) as pieces:
                    async for samples in pieces:
                        before, num_samples = num_samples, num_samples + len(samples)
                        yield AudioChunk(
                            samples,
                            SAMPLE_RATE,
                            num_input_tokens=0 if before else num_prompt_tokens,
                            num_output_tokens=_num_tokens(num_samples) - _num_tokens(before),
                        )
            except SentenceError as error:
                self._observer.sentence_failed(error, attempt)
                if num_samples or attempt == self._max_regenerations:
                    raise
            else:
                return


def _num_tokens(num_samples: int) -> int:
    """Output tokens behind so much audio of a sentence: n tokens are n states, audio is between."""
    return 1 + num_samples // SAMPLES_PER_TOKEN if num_samples else 0
