"""The package's way to the next token, by transformers' own processors."""

from typing import Any

from app.adapters.speech.soprano.sampling import GREEDY_TEMPERATURE, Sampling


class TokenSampler:
    """Draws the tokens of one sentence from its own random numbers."""

    def __init__(self, sampling: Sampling) -> None:
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
        self._generator = torch.Generator().manual_seed(sampling.seed + sampling.attempt)

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
