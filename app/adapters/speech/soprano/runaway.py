"""Detects speech that runs away: a long vowel or silence instead of words. Pure.

The rule is the package's (`SopranoTTS.hallucination_detector`), told one hidden state at a time.
"""

from typing import Final

import numpy as np
from numpy.typing import NDArray

MIN_DISTANCE: Final = 300.0
"""L1 distance under which two consecutive hidden states are alike."""

MAX_RUN_LENGTH: Final = 16
"""More alike states than this are a run-away."""


class RunawayDetector:
    """Follows the hidden states of one sentence.

    Attributes:
        run_length: how many of the latest states are suspect; their audio should wait.
    """

    def __init__(self) -> None:
        self.run_length = 0
        self._last: NDArray[np.float32] | None = None

    def push(self, state: NDArray[np.float32]) -> bool:
        """Take the next (hidden_size,) state; whether the sentence has run away."""
        if self._last is not None:
            is_alike = float(np.abs(state - self._last).sum()) < MIN_DISTANCE
            self.run_length = self.run_length + 1 if is_alike else max(0, self.run_length - 1)
        self._last = state
        return self.run_length > MAX_RUN_LENGTH
