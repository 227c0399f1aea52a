"""Speaks through the package: hidden states from one of its backends, then its decoder."""

import asyncio
from collections.abc import AsyncGenerator
from contextlib import aclosing

import numpy as np
from numpy.typing import NDArray

from app.adapters.speech.soprano.checkpoint import Checkpoint
from app.adapters.speech.soprano.decoder import StateDecoder
from app.adapters.speech.soprano.devices import resolve_device
from app.adapters.speech.soprano.errors import as_instance_error, missing_package
from app.adapters.speech.soprano.language_model import (
    BuildLanguageModel,
    HiddenState,
    SopranoLanguageModel,
)
from app.adapters.speech.soprano.runaway import RunawayDetector
from app.adapters.speech.soprano.sampling import Sampling
from app.adapters.speech.soprano.windows import next_window
from app.domain.errors import RunawaySpeechError, SynthesisError


class TorchSpeaker:
    """SopranoSpeaker over a language model and a decoder of one device.

    Args:
        checkpoint: of both.
        asked_device: as in `resolve_device`.
        index: of the instance, likewise.
        build_language_model: of a directory, on a device.
    """

    def __init__(
        self,
        checkpoint: Checkpoint,
        asked_device: str,
        index: int,
        build_language_model: BuildLanguageModel,
    ) -> None:
        self._checkpoint = checkpoint
        self._asked_device = asked_device
        self._index = index
        self._build_language_model = build_language_model
        self.language_model: SopranoLanguageModel | None = None
        self._decoder: StateDecoder | None = None

    def load(self) -> None:
        try:
            device = resolve_device(self._asked_device, self._index)
            self.language_model = self._build_language_model(self._checkpoint.directory, device)
            self.language_model.load()
            self._decoder = StateDecoder(self._checkpoint, device)
        except ImportError as error:
            raise missing_package("soprano", error) from error

    def close(self) -> None:
        if self.language_model is not None:
            self.language_model.close()

    async def speak(
        self, prompt: str, sampling: Sampling, due_at: float
    ) -> AsyncGenerator[NDArray[np.float32], None]:
        if self.language_model is None or self._decoder is None:
            raise SynthesisError("Soprano is not loaded.")
        pieces = _Pieces(self._decoder)
        detector = RunawayDetector()
        states = self.language_model.generate(prompt, sampling, due_at)
        async with aclosing(states):
            async for state in states:
                if detector.push(state):
                    raise RunawaySpeechError
                for samples in await pieces.push(state, detector.run_length):
                    yield samples
        for samples in await pieces.finish():
            yield samples


class _Pieces:
    """The states of one attempt, decoded piece by piece."""

    def __init__(self, decoder: StateDecoder) -> None:
        self._decoder = decoder
        self._states: list[HiddenState] = []
        self._num_tokens_sent = 0
        self._num_chunks_sent = 0

    async def push(self, state: HiddenState, num_held: int) -> list[NDArray[np.float32]]:
        """What can be heard now, if the latest `num_held` states must wait."""
        self._states.append(state)
        return await self._decode(len(self._states) - num_held, is_finished=False)

    async def finish(self) -> list[NDArray[np.float32]]:
        """All the rest."""
        return await self._decode(len(self._states), is_finished=True)

    async def _decode(self, num_states: int, *, is_finished: bool) -> list[NDArray[np.float32]]:
        pieces = []
        while window := next_window(
            num_states, self._num_tokens_sent, self._num_chunks_sent, is_finished=is_finished
        ):
            states = np.stack(self._states)
            try:
                samples = await asyncio.to_thread(self._decoder.decode, states, window)
            except Exception as error:
                raise as_instance_error(error) from error
            pieces.append(samples)
            self._num_tokens_sent += window.num_tokens
            self._num_chunks_sent += 1
        return pieces
