"""Soprano through the author's package on torch: one of its language models, then its vocoder."""

import asyncio
from collections.abc import AsyncGenerator, Callable
from contextlib import aclosing
from pathlib import Path
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from app.adapters.speech.cores import count_cores
from app.adapters.speech.soprano.checkpoint.checkpoint import Checkpoint
from app.adapters.speech.soprano.engine import Stream, as_instance_error, loading
from app.adapters.speech.soprano.sampling import RunawayDetector, Sampling
from app.adapters.speech.soprano.torch.vocoder import StateVocoder, next_window
from app.domain.errors import ModelLoadError, RunawaySpeechError, SynthesisError

# (hidden_size,), after the final norm: the state that predicted a token becomes its audio.
HiddenState = NDArray[np.float32]


class SopranoLanguageModel(Protocol):
    """Generates hidden states, of several sentences at once."""

    def load(self) -> None:
        """Load the weights. Blocks; called once, in a worker thread. Raises ModelLoadError."""
        ...

    def close(self) -> None:
        """Stop all work and free the weights. May be called without `load`, and twice."""
        ...

    def generate(self, prompt: str, sampling: Sampling, due_at: float) -> Stream[HiddenState]:
        """The states that predicted the tokens of `prompt`'s continuation, up to the end token.

        `aclose` stops within two tokens. Waiting sentences start in the order of `due_at`.

        Raises:
            TruncatedSpeechError: the limit of 512 tokens came before the end token.
            DeviceError: out of memory, or the device is lost.
            SynthesisError: anything else.
        """
        ...


# Of a checkpoint's directory, on a device by torch's name.
BuildLanguageModel = Callable[[Path, str], SopranoLanguageModel]


class TorchEngine:
    """Engine over a language model and a vocoder on one device.

    The device is `resolve_device(asked_device, index)`; `build_language_model` is called by `load`.
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
        self._vocoder: StateVocoder | None = None

    def load(self) -> None:
        with loading(f"Soprano cannot be loaded on {self._asked_device}", "soprano"):
            import torch

            torch.set_num_threads(count_cores())  # it knows of no quota
            device = resolve_device(self._asked_device, self._index)
            self.language_model = self._build_language_model(self._checkpoint.directory, device)
            self.language_model.load()
            self._vocoder = StateVocoder(self._checkpoint, device)

    def close(self) -> None:
        if self.language_model is not None:
            self.language_model.close()

    async def synthesize(
        self, prompt: str, sampling: Sampling, due_at: float
    ) -> AsyncGenerator[NDArray[np.float32], None]:
        if self.language_model is None or self._vocoder is None:
            raise SynthesisError("Soprano is not loaded.")
        pieces = _Pieces(self._vocoder)
        detector = RunawayDetector()
        states = self.language_model.generate(prompt, sampling, due_at)
        async with aclosing(states):
            async for state in states:
                if detector.push(state):
                    raise RunawaySpeechError
                pieces.states.append(state)
                num_ready = len(pieces.states) - detector.run_length
                for samples in await pieces.vocode(num_ready, is_finished=False):
                    yield samples
        for samples in await pieces.vocode(len(pieces.states), is_finished=True):
            yield samples


class _Pieces:
    """The states of one attempt, vocoded piece by piece."""

    def __init__(self, vocoder: StateVocoder) -> None:
        self._vocoder = vocoder
        self._num_tokens_sent = 0
        self._num_chunks_sent = 0
        self.states: list[HiddenState] = []

    async def vocode(self, num_states: int, *, is_finished: bool) -> list[NDArray[np.float32]]:
        """Audio that can leave now, if only the first `num_states` may be used."""
        pieces = []
        while window := next_window(
            num_states, self._num_tokens_sent, self._num_chunks_sent, is_finished=is_finished
        ):
            states = np.stack(self.states)
            try:
                pieces.append(await asyncio.to_thread(self._vocoder.decode, states, window))
            except Exception as error:
                raise as_instance_error(error) from error
            self._num_tokens_sent += window.num_tokens
            self._num_chunks_sent += 1
        return pieces


def resolve_device(asked: str, index: int) -> str:
    """Torch's name of a device that is asked for as `cpu`, `mps`, `cuda`, `cuda:N` or `auto`.

    `auto` and `cuda` spread instances, by their `index`, over the CUDA devices. Raises
    ModelLoadError if torch does not see the device.
    """
    import torch

    num_cuda = torch.cuda.device_count() if torch.cuda.is_available() else 0
    if asked in ("auto", "cuda") and num_cuda:
        return "cuda" if num_cuda == 1 else f"cuda:{index % num_cuda}"
    if asked.startswith("cuda") and not num_cuda:
        raise ModelLoadError(f"The device {asked} is not there: torch sees no CUDA device.")
    has_mps = torch.backends.mps.is_available()
    if asked == "mps" and not has_mps:
        raise ModelLoadError("The device mps is not there: torch sees no Apple GPU.")
    if asked == "auto":
        return "mps" if has_mps else "cpu"
    return asked
