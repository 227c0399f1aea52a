"""What both Soprano backends give: the hidden states of a sentence, one by one."""

from collections.abc import AsyncGenerator, Callable
from pathlib import Path
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from app.adapters.speech.soprano.sampling import Sampling

HiddenState = NDArray[np.float32]
"""(hidden_size,), after the final norm: the state that predicted a token becomes its sound."""


class SopranoLanguageModel(Protocol):
    """Makes hidden states; several sentences at once."""

    def load(self) -> None:
        """Load the weights. Blocks; called once, in a worker thread.

        Raises:
            ModelLoadError: with what to install or change.
        """
        ...

    def close(self) -> None:
        """Stop all work and free the weights. May be called without `load`, and twice."""
        ...

    def generate(
        self, prompt: str, sampling: Sampling, due_at: float
    ) -> AsyncGenerator[HiddenState, None]:
        """The states that predicted the tokens of `prompt`'s continuation, up to the end token.

        `aclose` stops within two tokens. Of the sentences that wait for a place, the one with the
        earliest `due_at` comes next.

        Raises:
            TruncatedSpeechError: the limit of 512 tokens came before the end token.
            DeviceError: out of memory, or the device is lost.
            SynthesisError: anything else.
        """
        ...


BuildLanguageModel = Callable[[Path, str], SopranoLanguageModel]
"""Makes one of a checkpoint's directory, on a device that torch names so."""
