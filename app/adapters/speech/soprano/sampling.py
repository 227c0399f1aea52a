"""How the next token is chosen."""

from typing import Any, Final

import msgspec

GREEDY_TEMPERATURE: Final = 0.001
"""What the package takes for a temperature of 0."""

MAX_NEW_TOKENS: Final = 512
"""Of one sentence, in the package and on the model card."""


class Sampling(msgspec.Struct, frozen=True, kw_only=True):
    """Settings of the sampler.

    Attributes:
        temperature: 0 is greedy.
        top_p: probability mass of the nucleus, in (0, 1].
        repetition_penalty: on every token id of prompt and continuation; 1 is none. Positive logits
            are divided by it, negative ones multiplied (Keskar et al., CTRL, 2019, section 4.1).
        seed: of each sentence's own random numbers.
    """

    temperature: float = 0.0
    top_p: float = 0.95
    repetition_penalty: float = 1.2
    seed: int = 0


class TokenSampler:
    """Draws the tokens of one sentence from its own random numbers."""

    def __init__(self, sampling: Sampling, attempt: int) -> None:
        import torch
        from transformers import (
            RepetitionPenaltyLogitsProcessor,
            TemperatureLogitsWarper,
            TopPLogitsWarper,
        )

        temperature = sampling.temperature if sampling.temperature > 0 else GREEDY_TEMPERATURE
        self._processors: list[Any] = [
            RepetitionPenaltyLogitsProcessor(penalty=sampling.repetition_penalty),
            TemperatureLogitsWarper(temperature=temperature),
            TopPLogitsWarper(top_p=sampling.top_p),
        ]
        self._generator = torch.Generator().manual_seed(sampling.seed + attempt)

    def draw(self, ids: list[int], logits: Any) -> int:
        """The next token id.

        Args:
            ids: of prompt and continuation so far.
            logits: (vocab_size,) tensor.
        """
        import torch

        scores = logits.float().cpu()[None]
        past = torch.tensor([ids])
        for processor in self._processors:
            scores = processor(past, scores)
        probabilities = torch.softmax(scores, dim=-1)
        return int(torch.multinomial(probabilities, 1, generator=self._generator))
