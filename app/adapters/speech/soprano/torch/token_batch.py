"""Sentences that are decoded together, one token of each per step, on transformers.

Rows join and leave between steps. Their caches have different lengths, so shorter ones are padded
on the left and masked. Knows nothing of threads.
"""

from typing import Any

import msgspec
import numpy as np

from app.adapters.speech.soprano.sampling import GREEDY_TEMPERATURE, MAX_NEW_TOKENS, Sampling
from app.adapters.speech.soprano.torch.engine import HiddenState
from app.domain.errors import InvalidAudioError, SynthesisError, TruncatedSpeechError


class TokenSampler:
    """Samples the tokens of one sentence as the package does: by transformers' own processors."""

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

    def sample(self, ids: list[int], logits: Any) -> int:
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


class BatchRow:
    """One sentence.

    Attributes:
        ids: of prompt and continuation.
        num_new: tokens of the continuation.
    """

    def __init__(self, ids: list[int], sampler: TokenSampler) -> None:
        self.ids = ids
        self.num_new = 0
        self.sampler = sampler
        self.state: HiddenState = np.zeros(0, np.float32)
        self.logits: Any = None


class Sampled(msgspec.Struct, frozen=True, eq=False):
    """What a step made of a row.

    Attributes:
        row: goes on if neither of the last two is set.
        state: that predicted the token just sampled; None at the end.
        is_end: the end token was sampled.
        error: why the row cannot go on.
    """

    row: BatchRow
    state: HiddenState | None
    is_end: bool = False
    error: SynthesisError | None = None


class TokenBatch:
    """The rows and their key/value caches.

    Args:
        model: a causal language model of transformers.
        tokenizer: of the same checkpoint.
    """

    def __init__(self, model: Any, tokenizer: Any) -> None:
        self._model = model
        self._tokenizer = tokenizer
        self._end_id = model.config.eos_token_id
        self.rows: list[BatchRow] = []
        self._layers: list[tuple[Any, Any]] = []  # keys, values: (rows, heads, length, head_size)

    def join(self, prompt: str, sampler: TokenSampler) -> BatchRow:
        """Prefill a prompt; its row takes part from the next step on."""
        ids: list[int] = self._tokenizer(prompt)["input_ids"]
        row = BatchRow(ids, sampler)
        cache = self._new_cache([])
        outputs = self._run([ids], [list(range(len(ids)))], None, cache)
        layers = [(layer.keys, layer.values) for layer in cache.layers]
        self._layers = _merge(self._layers, layers) if self.rows else layers
        self.rows.append(row)
        self._take(outputs, [row])
        return row

    def step(self) -> list[Sampled]:
        """Sample one token per row; rows that ended are gone afterwards."""
        sampled = [self._sample(row) for row in self.rows]
        self.leave([one.row for one in sampled if one.is_end or one.error])
        if self.rows:
            # Compute the tokens just sampled.
            length = self._layers[0][0].shape[-2]
            mask = [[0] * (length + 1 - len(row.ids)) + [1] * len(row.ids) for row in self.rows]
            cache = self._new_cache(self._layers)
            ids = [row.ids[-1:] for row in self.rows]
            positions = [[len(row.ids) - 1] for row in self.rows]
            outputs = self._run(ids, positions, mask, cache)
            self._layers = [(layer.keys, layer.values) for layer in cache.layers]
            self._take(outputs, self.rows)
        return sampled

    def leave(self, rows: list[BatchRow]) -> None:
        """Take rows out, and with them their part of the caches."""
        kept = [index for index, row in enumerate(self.rows) if row not in rows]
        if len(kept) == len(self.rows):
            return
        self.rows = [self.rows[index] for index in kept]
        length = max((len(row.ids) for row in self.rows), default=0)
        self._layers = [
            (keys[kept][:, :, -length:], values[kept][:, :, -length:])
            for keys, values in self._layers
        ]

    def _sample(self, row: BatchRow) -> Sampled:
        if not np.isfinite(row.state).all():
            return Sampled(row, None, error=InvalidAudioError("The model's states are not finite."))
        token = row.sampler.sample(row.ids, row.logits)
        if token == self._end_id:
            return Sampled(row, None, is_end=True)
        row.ids.append(token)
        row.num_new += 1
        error = TruncatedSpeechError() if row.num_new >= MAX_NEW_TOKENS else None
        return Sampled(row, row.state, error=error)

    def _new_cache(self, layers: list[tuple[Any, Any]]) -> Any:
        from transformers import DynamicCache

        cache = DynamicCache()
        for index, (keys, values) in enumerate(layers):
            cache.update(keys, values, index)
        return cache

    def _run(
        self,
        ids: list[list[int]],
        positions: list[list[int]],
        mask: list[list[int]] | None,
        cache: Any,
    ) -> Any:
        import torch

        device = self._model.device
        with torch.inference_mode():
            return self._model.model(
                input_ids=torch.tensor(ids, device=device),
                position_ids=torch.tensor(positions, device=device),
                attention_mask=None if mask is None else torch.tensor(mask, device=device),
                past_key_values=cache,
                use_cache=True,
            )

    def _take(self, outputs: Any, rows: list[BatchRow]) -> None:
        """Keep the last state of each row, and the logits that follow from it."""
        import torch

        last = outputs.last_hidden_state[:, -1]  # (rows, hidden_size), after the final norm
        with torch.inference_mode():
            logits = self._model.lm_head(last)
        states = last.float().cpu().numpy()
        for row, state, row_logits in zip(rows, states, logits, strict=True):
            row.state, row.logits = state, row_logits


def _merge(old: list[tuple[Any, Any]], new: list[tuple[Any, Any]]) -> list[tuple[Any, Any]]:
    """Both batches as one, the shorter caches padded on the left."""
    import torch
    from torch.nn.functional import pad

    def joined(first: Any, second: Any) -> Any:
        length = max(first.shape[-2], second.shape[-2])
        return torch.cat([pad(one, (0, 0, length - one.shape[-2], 0)) for one in (first, second)])

    return [
        (joined(old_keys, keys), joined(old_values, values))
        for (old_keys, old_values), (keys, values) in zip(old, new, strict=True)
    ]
