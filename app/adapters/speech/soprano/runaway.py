"""Detects speech that runs away: a long vowel or silence instead of words.

The rule is the package's (`SopranoTTS.hallucination_detector`), told one hidden state at a time.
"""

from typing import Final

import numpy as np
from numpy.typing import NDArray

# Two values of the package's detector. A smaller distance or a longer run finds fewer runaways; the
# audio of a run is held back, so a longer run also delays it.
MIN_DISTANCE: Final = 300.0  # L1; consecutive hidden states below it are alike
MAX_RUN_LENGTH: Final = 16  # more alike states are a runaway


class RunawayDetector:
    """Follows the hidden states of one sentence.

    Attributes:
        run_length: number of latest states that are suspect; their audio should wait.
    """

    def __init__(self) -> None:
        self.run_length = 0
        self._last: NDArray[np.float32] | None = None

    def push(self, state: NDArray[np.float32]) -> bool:
        """Take the next (hidden_size,) state; True if the sentence has run away."""
        if self._last is not None:
            is_alike = float(np.abs(state - self._last).sum()) < MIN_DISTANCE
            self.run_length = self.run_length + 1 if is_alike else max(0, self.run_length - 1)
        self._last = state
        return self.run_length > MAX_RUN_LENGTH
