"""Soprano through the author's package on torch: one of its language models, then its vocoder."""

import asyncio
from collections.abc import AsyncGenerator, Callable
from contextlib import aclosing
from pathlib import Path
from typing import Any, Final, Protocol

import msgspec
import numpy as np
from numpy.typing import NDArray

from app.adapters.speech.cores import count_cores
from app.adapters.speech.soprano.checkpoint.checkpoint import DECODER, Checkpoint
from app.adapters.speech.soprano.checkpoint.shapes import SAMPLES_PER_TOKEN
from app.adapters.speech.soprano.engine import (
    RunawayDetector,
    Sampling,
    Stream,
    as_instance_error,
    loading,
)
from app.domain.errors import ModelLoadError, RunawaySpeechError

# (hidden_size,), after the final norm: the state that predicted a token becomes its audio.
HiddenState = NDArray[np.float32]


class SopranoLanguageModel(Protocol):
    """Generates hidden states, of several sentences at once."""

    def close(self) -> None:
        """Stop all work and free the weights. May be called twice."""

    def generate(self, prompt: str, sampling: Sampling, due_at: float) -> Stream[HiddenState]:
        """The states that predicted the tokens of `prompt`'s continuation, up to the end token.

        `aclose` stops within two tokens. Waiting sentences start in the order of `due_at`.

        Raises:
            TruncatedSpeechError: the limit of 512 tokens came before the end token.
            DeviceError: out of memory, or the device is lost.
            SynthesisError: anything else.
        """


# Of a checkpoint's directory, on a device by torch's name. Raises ModelLoadError.
LoadLanguageModel = Callable[[Path, str], SopranoLanguageModel]


class TorchEngine:
    """Engine over a language model and a vocoder."""

    def __init__(self, language_model: SopranoLanguageModel, vocoder: "StateVocoder") -> None:
        self.language_model = language_model
        self._vocoder = vocoder

    def close(self) -> None:
        self.language_model.close()

    async def synthesize(
        self, prompt: str, sampling: Sampling, due_at: float
    ) -> AsyncGenerator[NDArray[np.float32], None]:
        detector = RunawayDetector()
        states: list[HiddenState] = []
        num_tokens_sent = num_chunks_sent = 0
        generated = self.language_model.generate(prompt, sampling, due_at)
        async with aclosing(generated):
            is_finished = False
            while not is_finished:
                state = await anext(generated, None)
                if state is None:
                    is_finished = True
                elif detector.push(state):
                    raise RunawaySpeechError
                else:
                    states.append(state)
                num_ready = len(states) - (0 if is_finished else detector.run_length)
                while window := next_window(
                    num_ready, num_tokens_sent, num_chunks_sent, is_finished=is_finished
                ):
                    vocode = self._vocoder.decode
                    try:
                        samples = await asyncio.to_thread(vocode, np.stack(states), window)
                    except Exception as error:
                        raise as_instance_error(error) from error
                    yield samples
                    num_tokens_sent += window.num_tokens
                    num_chunks_sent += 1


def load_torch_engine(
    checkpoint: Checkpoint, asked_device: str, index: int, load_language_model: LoadLanguageModel
) -> TorchEngine:
    """An engine on the device `resolve_device(asked_device, index)`; raises ModelLoadError."""
    with loading(f"Soprano cannot be loaded on {asked_device}", "soprano"):
        import torch

        torch.set_num_threads(count_cores())  # it knows of no quota
        device = resolve_device(asked_device, index)
        vocoder = StateVocoder(
            checkpoint, device
        )  # first: a language model has threads to be ended
        return TorchEngine(load_language_model(checkpoint.directory, device), vocoder)


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


# States on each side that a window needs; fewer change the samples at its edges.
CONTEXT_STATES: Final = 3

# The first chunk is as small as possible, so that audio starts early; later ones waste less work on
# context. The last entry repeats.
TOKENS_PER_CHUNK: Final = (1, 2, 4, 8, 16)


class Window(msgspec.Struct, frozen=True):
    """Decode states [first_state, end_state), drop `num_skipped` tokens, keep `num_tokens`."""

    first_state: int
    end_state: int
    num_skipped: int
    num_tokens: int


def next_window(
    num_states: int, num_tokens_sent: int, num_chunks_sent: int, *, is_finished: bool
) -> Window | None:
    """The next window that can be decoded, or None if more states are needed first.

    `num_states` exist, or may be used so far; earlier windows kept the tokens and chunks sent.
    """
    num_ready = num_states - 1 if is_finished else num_states - 1 - CONTEXT_STATES
    wanted = TOKENS_PER_CHUNK[min(num_chunks_sent, len(TOKENS_PER_CHUNK) - 1)]
    num_tokens = min(num_ready - num_tokens_sent, wanted)
    if num_tokens < 1 or (num_tokens < wanted and not is_finished):
        return None
    end_token = num_tokens_sent + num_tokens
    first_state = max(0, num_tokens_sent - CONTEXT_STATES)
    return Window(
        first_state=first_state,
        end_state=min(num_states, end_token + 1 + CONTEXT_STATES),
        num_skipped=num_tokens_sent - first_state,
        num_tokens=num_tokens,
    )


class StateVocoder:
    """The package's decoder with the weights of a checkpoint, on one device.

    Decoders of 1.0 and 1.1 differ in width and input kernel. Raises ModelLoadError if the weights
    do not fit.
    """

    def __init__(self, checkpoint: Checkpoint, device: str) -> None:
        import torch
        from soprano.vocos.decoder import SopranoDecoder
        from soprano.vocos.models import VocosBackbone

        shape = checkpoint.decoder
        module = SopranoDecoder(
            num_input_channels=shape.input_channels,
            decoder_num_layers=shape.num_layers,
            decoder_dim=shape.dim,
            decoder_intermediate_dim=shape.intermediate_dim,
        )
        if shape.input_kernel_size != 1:  # the package's module has a fixed input kernel of 1
            sizes = msgspec.structs.asdict(shape)  # of the backbone's names
            module.decoder = VocosBackbone(**sizes, dw_kernel_size=module.dw_kernel)
        self._device = device
        self._module: Any = module.to(device).eval()
        path = checkpoint.directory / DECODER
        try:
            # weights_only: tensors and nothing else are ever made from the file.
            weights = torch.load(path, map_location=device, weights_only=True)
            self._module.load_state_dict(weights)
        except Exception as error:
            kind = type(error).__name__
            raise ModelLoadError(f"{DECODER} cannot be loaded: {kind}.") from error

    def decode(self, states: NDArray[np.float32], window: Window) -> NDArray[np.float32]:
        """The samples of a window of a sentence's `states`, which are (num_states, hidden_size).

        (window.num_tokens * 2048,) float32.
        """
        import torch

        part = states[window.first_state : window.end_state].T  # (hidden, states)
        frames = torch.from_numpy(part[np.newaxis].copy()).to(self._device)
        with torch.inference_mode():
            samples = self._module(frames)[0].float().cpu().numpy()
        start = window.num_skipped * SAMPLES_PER_TOKEN
        kept: NDArray[np.float32] = samples[start : start + window.num_tokens * SAMPLES_PER_TOKEN]
        return kept
