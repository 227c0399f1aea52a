"""Soprano as a SpeechModel: sentences in, sound out as it is made.

A sentence that runs away is begun again, with other random numbers, as long as none of its sound
has left. Later the stream breaks off.
"""

import asyncio
from collections.abc import AsyncGenerator, Callable
from contextlib import aclosing
from typing import Final

import msgspec

from app.adapters.speech.soprano.checkpoint import Checkpoint
from app.adapters.speech.soprano.sampling import Sampling
from app.adapters.speech.soprano.shapes import SAMPLE_RATE
from app.adapters.speech.soprano.speaker import SopranoSpeaker
from app.adapters.speech.soprano.text import prompt_for, split_for_soprano
from app.domain.audio import AudioChunk
from app.domain.errors import SentenceError, SynthesisError
from app.domain.segment import TextSegment
from app.domain.speech import Delivery, ModelInfo, Voice
from app.ports.speech_observer import SpeechObserver

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
        observer: SpeechObserver,
    ) -> None:
        self.info = ModelInfo(
            id=model_id,
            backend=backend,
            sample_rate=SAMPLE_RATE,
            voices=(VOICE,),
            has_sampling=True,
        )
        self._find_checkpoint = find_checkpoint
        self._build_speaker = build_speaker
        self._sampling = sampling
        self._max_regenerations = max_regenerations
        self._observer = observer
        self.speaker: SopranoSpeaker | None = None

    async def load(self) -> None:
        await asyncio.to_thread(self._load)

    def _load(self) -> None:
        self.speaker = self._build_speaker(self._find_checkpoint())
        self.speaker.load()
        split_for_soprano("1")  # what reads numbers is imported here, not in the first request

    async def close(self) -> None:
        if self.speaker is not None:
            await asyncio.to_thread(self.speaker.close)

    def split(self, text: str) -> list[TextSegment]:
        return split_for_soprano(text)

    async def synthesize(
        self, segment: TextSegment, delivery: Delivery, due_at: float = 0.0
    ) -> AsyncGenerator[AudioChunk, None]:
        if self.speaker is None:
            raise SynthesisError("Soprano is not loaded.")
        chosen = self._sampling.chosen(delivery.sampling)
        has_spoken = False
        for attempt in range(self._max_regenerations + 1):
            sampling = msgspec.structs.replace(chosen, attempt=attempt)
            try:
                pieces = self.speaker.speak(prompt_for(segment), sampling, due_at)
                async with aclosing(pieces):
                    async for samples in pieces:
                        has_spoken = True
                        yield AudioChunk(samples, SAMPLE_RATE)
            except SentenceError as error:
                self._observer.sentence_failed(error, attempt)
                if has_spoken or attempt == self._max_regenerations:
                    raise
            else:
                return
