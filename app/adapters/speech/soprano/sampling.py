"""How the next token is chosen: the settings, with what a request overrides."""

from typing import Final

import msgspec

from app.domain.speech import SamplingParams

# What the package takes for a temperature of 0.
GREEDY_TEMPERATURE: Final = 0.001

# Lowest temperature of a second attempt at a sentence; at 0 it would be the first again. Other
# engines run this model with it.
RETRY_TEMPERATURE: Final = 0.3

# Of one sentence, in the package and on the model card.
MAX_NEW_TOKENS: Final = 512


class Sampling(msgspec.Struct, frozen=True, kw_only=True):
    """Settings of the sampler.

    Attributes:
        temperature: 0 is greedy.
        top_p: probability mass of the nucleus, in (0, 1].
        repetition_penalty: on every token id of prompt and continuation; 1 is none. Positive logits
            are divided by it, negative ones multiplied (Keskar et al., CTRL, 2019, section 4.1).
        seed: of each sentence's random numbers.
        attempt: at the same sentence, from 0 on; each has other random numbers.
    """

    temperature: float = 0.0
    top_p: float = 0.95
    repetition_penalty: float = 1.2
    seed: int = 0
    attempt: int = 0

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
        return msgspec.structs.replace(self, **made)
