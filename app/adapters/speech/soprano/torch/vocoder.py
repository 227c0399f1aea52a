"""Hidden states to audio, through the package's decoder. Knows nothing of text or tokens."""

from typing import Any, Final

import msgspec
import numpy as np
from numpy.typing import NDArray

from app.adapters.speech.soprano.checkpoint.checkpoint import DECODER, Checkpoint
from app.adapters.speech.soprano.checkpoint.shapes import SAMPLES_PER_TOKEN
from app.domain.errors import ModelLoadError

# States on each side that a window needs, see above; fewer change the samples at its edges.
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
            module.decoder = VocosBackbone(
                input_channels=shape.input_channels,
                dim=shape.dim,
                intermediate_dim=shape.intermediate_dim,
                num_layers=shape.num_layers,
                input_kernel_size=shape.input_kernel_size,
                dw_kernel_size=module.dw_kernel,
            )
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

        part = states[window.first_state : window.end_state]
        frames = torch.from_numpy(part.T[np.newaxis].copy()).to(self._device)  # (1, hidden, states)
        with torch.inference_mode():
            samples = self._module(frames)[0].float().cpu().numpy()
        start = window.num_skipped * SAMPLES_PER_TOKEN
        kept: NDArray[np.float32] = samples[start : start + window.num_tokens * SAMPLES_PER_TOKEN]
        return kept
