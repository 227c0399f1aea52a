"""Hidden states to audio, through the package's decoder. Knows nothing of text or tokens."""

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from app.adapters.speech.soprano.checkpoint.checkpoint import Checkpoint
from app.adapters.speech.soprano.checkpoint.shapes import SAMPLES_PER_TOKEN
from app.adapters.speech.soprano.torch.windows import Window
from app.domain.errors import ModelLoadError

WEIGHTS_FILE = "decoder.pth"


class StateVocoder:
    """The package's decoder with the weights of a checkpoint, on one device.

    Args:
        checkpoint: 1.0 and 1.1 decoders differ in width and input kernel.
        device: torch's name of it.

    Raises:
        ModelLoadError: the weights do not fit.
    """

    def __init__(self, checkpoint: Checkpoint, device: str) -> None:
        self._device = device
        self._module = _build_module(checkpoint).to(device).eval()
        try:
            self._module.load_state_dict(_load_weights(checkpoint.directory, device))
        except Exception as error:
            kind = type(error).__name__
            raise ModelLoadError(f"{WEIGHTS_FILE} cannot be loaded: {kind}.") from error

    def decode(self, states: NDArray[np.float32], window: Window) -> NDArray[np.float32]:
        """The samples of a window.

        Args:
            states: (num_states, hidden_size), all of the sentence so far.
            window: within them.

        Returns:
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


def _build_module(checkpoint: Checkpoint) -> Any:
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
    return module


def _load_weights(directory: Path, device: str) -> Any:
    import torch

    # weights_only: tensors and nothing else are ever made from the file.
    return torch.load(directory / WEIGHTS_FILE, map_location=device, weights_only=True)
