"""Soprano as a SpeechModel: prompts in, hidden states through a decoder, sound out as it is made.

A sentence that runs away is begun again, with other random numbers, as long as none of its sound
has left; sound that may belong to a run-away waits until it is clear. Later the stream breaks off.
"""

import asyncio
from collections.abc import AsyncGenerator, Callable
from contextlib import aclosing
from typing import Final

import numpy as np

from app.adapters.speech.soprano.checkpoint import Checkpoint
from app.adapters.speech.soprano.decoder import StateDecoder
from app.adapters.speech.soprano.errors import as_instance_error, missing_package
from app.adapters.speech.soprano.language_model import HiddenState, SopranoLanguageModel
from app.adapters.speech.soprano.runaway import RunawayDetector
from app.adapters.speech.soprano.text import prompt_for, split_for_soprano
from app.adapters.speech.soprano.windows import next_window
from app.domain.audio import AudioChunk
from app.domain.errors import (
    RunawaySpeechError,
    SentenceError,
    SynthesisError,
)
from app.domain.segment import TextSegment
from app.domain.speech import ModelInfo, Voice
from app.ports.speech_observer import SpeechObserver

SAMPLE_RATE: Final = 32_000
"""Hz, of the model card."""

VOICE: Final = Voice(id="soprano", name="Soprano", language="en")


class SopranoModel:
    """SpeechModel over a language model and a decoder of one device.

    Args:
        model_id: the name requests use.
        backend: as in the setting `model.backend`.
        find_checkpoint: fetches, reads and checks the files; called by `load`.
        find_device: torch's name of it; called by `load`.
        build_language_model: of a checkpoint on a device.
        max_regenerations: how often a sentence that ran away or hit the token limit is begun again.
        observer: told of each such sentence.
    """

    def __init__(  # noqa: PLR0913 - what the root decides, each named once
        self,
        *,
        model_id: str,
        backend: str,
        find_checkpoint: Callable[[], Checkpoint],
        find_device: Callable[[], str],
        build_language_model: Callable[[Checkpoint, str], SopranoLanguageModel],
        max_regenerations: int,
        observer: SpeechObserver,
    ) -> None:
        self.info = ModelInfo(
            id=model_id, backend=backend, sample_rate=SAMPLE_RATE, voices=(VOICE,)
        )
        self._find_checkpoint = find_checkpoint
        self._find_device = find_device
        self._build_language_model = build_language_model
        self._max_regenerations = max_regenerations
        self._observer = observer
        self._language_model: SopranoLanguageModel | None = None
        self._decoder: StateDecoder | None = None

    async def load(self) -> None:
        await asyncio.to_thread(self._load)

    def _load(self) -> None:
        checkpoint = self._find_checkpoint()
        try:
            device = self._find_device()
            self._language_model = self._build_language_model(checkpoint, device)
            self._language_model.load()
            self._decoder = StateDecoder(checkpoint, device)
        except ImportError as error:
            raise missing_package("soprano", error) from error
        split_for_soprano("1")  # what reads numbers is imported here, not in the first request

    async def close(self) -> None:
        if self._language_model is not None:
            await asyncio.to_thread(self._language_model.close)

    def split(self, text: str) -> list[TextSegment]:
        return split_for_soprano(text)

    async def synthesize(
        self, segment: TextSegment, voice: Voice, speed: float
    ) -> AsyncGenerator[AudioChunk, None]:
        has_spoken = False
        for attempt in range(self._max_regenerations + 1):
            try:
                async with aclosing(self._speak(segment, attempt)) as chunks:
                    async for chunk in chunks:
                        has_spoken = True
                        yield chunk
            except SentenceError as error:
                self._observer.sentence_failed(error, attempt)
                if has_spoken or attempt == self._max_regenerations:
                    raise
            else:
                return

    async def _speak(self, segment: TextSegment, attempt: int) -> AsyncGenerator[AudioChunk, None]:
        """One attempt at a sentence."""
        if self._language_model is None or self._decoder is None:
            raise SynthesisError("Soprano is not loaded.")
        pieces = _Pieces(self._decoder)
        detector = RunawayDetector()
        states = self._language_model.generate(prompt_for(segment), attempt)
        async with aclosing(states):
            async for state in states:
                if detector.push(state):
                    raise RunawaySpeechError
                for chunk in await pieces.push(state, detector.run_length):
                    yield chunk
        for chunk in await pieces.finish():
            yield chunk


class _Pieces:
    """The states of one attempt, decoded piece by piece."""

    def __init__(self, decoder: StateDecoder) -> None:
        self._decoder = decoder
        self._states: list[HiddenState] = []
        self._num_tokens_sent = 0
        self._num_chunks_sent = 0

    async def push(self, state: HiddenState, num_held: int) -> list[AudioChunk]:
        """What can be heard now, if the latest `num_held` states must wait."""
        self._states.append(state)
        return await self._decode(len(self._states) - num_held, is_finished=False)

    async def finish(self) -> list[AudioChunk]:
        """All the rest."""
        return await self._decode(len(self._states), is_finished=True)

    async def _decode(self, num_states: int, *, is_finished: bool) -> list[AudioChunk]:
        chunks = []
        while window := next_window(
            num_states, self._num_tokens_sent, self._num_chunks_sent, is_finished=is_finished
        ):
            states = np.stack(self._states)
            try:
                samples = await asyncio.to_thread(self._decoder.decode, states, window)
            except Exception as error:
                raise as_instance_error(error) from error
            chunks.append(AudioChunk(samples, SAMPLE_RATE))
            self._num_tokens_sent += window.num_tokens
            self._num_chunks_sent += 1
        return chunks
