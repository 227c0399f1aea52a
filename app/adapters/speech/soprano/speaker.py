"""What every Soprano backend gives: the sound of one prompt, as it is made."""

from collections.abc import AsyncGenerator
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from app.adapters.speech.soprano.sampling import Sampling


class SopranoSpeaker(Protocol):
    """Speaks prompts; several at once."""

    def load(self) -> None:
        """Load the weights. Blocks; called once, in a worker thread.

        Raises:
            ModelLoadError: with what to install or change.
        """
        ...

    def close(self) -> None:
        """Stop all work, give back threads and memory. Blocks. May be called twice."""
        ...

    def speak(
        self, prompt: str, sampling: Sampling, due_at: float
    ) -> AsyncGenerator[NDArray[np.float32], None]:
        """The samples of one attempt at a prompt, in pieces of at least one sample.

        Sound that may belong to a run-away is held until it is clear. `aclose` stops within two
        tokens.

        Args:
            prompt: in the model card's form.
            sampling: how its tokens are drawn.
            due_at: as in the port SpeechModel.

        Raises:
            RunawaySpeechError: the model lost the text.
            TruncatedSpeechError: the limit of tokens came before the end.
            InstanceDeadError: this speaker has failed for good.
            SynthesisError: anything else.
        """
        ...
