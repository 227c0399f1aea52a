"""Samples the next token of every row of a batch, with numpy alone.

Each row has its own settings and random numbers, so its token does not depend on the other rows.
"""

from collections.abc import Sequence as Rows

import numpy as np
from numpy.typing import NDArray

from app.adapters.speech.soprano.onnx.sequence import Sequence

Logits = NDArray[np.float32]  # (rows, vocabulary)


def sample_tokens(logits: Logits, sequences: Rows[Sequence]) -> NDArray[np.intp]:
    """The next token id of each sequence, (rows,); `logits` of its last id are changed in place."""
    penalize_repetition(logits, sequences)
    tokens: NDArray[np.intp] = logits.argmax(axis=1)
    sampled = [row for row, sequence in enumerate(sequences) if sequence.sampling.temperature > 0]
    if sampled:
        temperatures = [[sequences[row].sampling.temperature] for row in sampled]
        scaled = logits[sampled]
        scaled -= scaled.max(axis=1, keepdims=True)
        # Exponentials of float64 would take eight times as long, a tenth of a step of many rows.
        weights = np.exp(scaled / np.array(temperatures, np.float32))
        probabilities = weights / weights.sum(axis=1, keepdims=True)
        for row, of_row in zip(sampled, probabilities, strict=True):
            sampling, uniform = sequences[row].sampling, sequences[row].random.random()
            tokens[row] = sample_nucleus(of_row, sampling.top_p, uniform)
    return tokens


def penalize_repetition(logits: Logits, sequences: Rows[Sequence]) -> None:
    """Make every id that a sequence holds less likely, in place (see Sampling)."""
    lengths = [len(sequence.tokens) for sequence in sequences]
    ids = np.concatenate([np.frombuffer(sequence.tokens, np.int64) for sequence in sequences])
    rows = np.repeat(np.arange(len(sequences)), lengths)
    penalties = np.array([sequence.sampling.repetition_penalty for sequence in sequences])
    penalty = penalties.astype(np.float32).repeat(lengths)
    seen = logits[rows, ids]
    # An id that a sequence holds twice is written twice, with the same value.
    logits[rows, ids] = np.where(seen > 0, seen / penalty, seen * penalty)


def sample_nucleus(probabilities: NDArray[np.float32], top_p: float, uniform: float) -> int:
    """A token out of the likeliest ones of (vocabulary,) that together reach `top_p`, in (0, 1].

    Holtzman et al., The Curious Case of Neural Text Degeneration, 2020, section 3.1. `uniform` is a
    random number in [0, 1).
    """
    # All tokens below this together weigh less than what the nucleus leaves out.
    floor = (1 - top_p) / len(probabilities)
    candidates = np.flatnonzero(probabilities > floor)
    order = candidates[np.argsort(-probabilities[candidates], kind="stable")]
    weights = probabilities[order].astype(np.float64)
    total = weights.cumsum()
    num_kept = int(np.count_nonzero(total - weights < top_p))
    index = int(np.searchsorted(total[:num_kept], uniform * total[num_kept - 1], side="right"))
    return int(order[min(index, num_kept - 1)])
