"""What both Soprano backends give: the hidden states of a sentence, one by one."""

from collections.abc import AsyncGenerator
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

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

    def generate(self, prompt: str, attempt: int) -> AsyncGenerator[HiddenState, None]:
        """The states that predicted the tokens of `prompt`'s continuation, up to the end token.

        `aclose` stops within two tokens. Another `attempt` (from 0 on) draws other random numbers.

        Raises:
            TruncatedSpeechError: the limit of 512 tokens came before the end token.
            DeviceError: out of memory, or the device is lost.
            SynthesisError: anything else.
        """
        ...
