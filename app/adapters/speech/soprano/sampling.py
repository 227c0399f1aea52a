"""How the next token is chosen: the settings, with what a request overrides."""

from typing import Final

import msgspec
import numpy as np
from numpy.typing import NDArray

from app.domain.speech import SamplingParams

# What the package takes for a temperature of 0.
GREEDY_TEMPERATURE: Final = 0.001

# A lower one chooses as 0 does, and logits divided by it would leave the range of float32.
MIN_TEMPERATURE: Final = 1e-4

# Lowest temperature of a second attempt at a sentence; at 0 it would be the first again. Other
# engines run this model with it.
RETRY_TEMPERATURE: Final = 0.3

# Of one sentence, in the package and on the model card.
MAX_NEW_TOKENS: Final = 512


class Sampling(msgspec.Struct, frozen=True, kw_only=True):
    """Settings of the sampler."""

    temperature: float = 0.0  # 0 is greedy
    top_p: float = 0.95  # probability mass of the nucleus, in (0, 1]
    # On every token id of prompt and continuation; 1 is none. Positive logits are divided by it,
    # negative ones multiplied (Keskar et al., CTRL, 2019, section 4.1).
    repetition_penalty: float = 1.2
    seed: int = 0  # of each sentence's random numbers
    attempt: int = 0  # at the same sentence, from 0 on; each has other random numbers

    def for_attempt(self, attempt: int) -> "Sampling":
        """These settings for an attempt from 0 on: a later one must not choose as the first did."""
        if attempt == 0:
            return self
        temperature = max(self.temperature, RETRY_TEMPERATURE)
        return msgspec.structs.replace(self, attempt=attempt, temperature=temperature)

    def chosen(self, choice: SamplingParams) -> "Sampling":
        """These settings with what a request overrides."""
        fields = msgspec.structs.asdict(choice)
        made = {name: value for name, value in fields.items() if value is not None}
        chosen = msgspec.structs.replace(self, **made)
        if chosen.temperature < MIN_TEMPERATURE:
            return msgspec.structs.replace(chosen, temperature=0.0)
        return chosen


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
