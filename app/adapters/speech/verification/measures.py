"""How two runs of tokens, and what is heard of them, agree. Pure."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from app.adapters.speech.verification.traces import Samples, States

Choices = NDArray[np.int64]
"""(num_steps,) token ids."""


def first_difference(reference: Choices, choices: Choices) -> int | None:
    """Index of the first token that differs, or that only one of them has; None if all agree."""
    length = min(len(reference), len(choices))
    different = np.flatnonzero(reference[:length] != choices[:length])
    if len(different):
        return int(different[0])
    return None if len(reference) == len(choices) else length


def token_agreement(reference: Choices, choices: Choices) -> float:
    """Share of positions, up to the longer length, at which both have the same token."""
    length = min(len(reference), len(choices))
    num_equal = int(np.count_nonzero(reference[:length] == choices[:length]))
    return num_equal / max(len(reference), len(choices))


def peak_difference(reference: Samples, samples: Samples) -> float:
    """Largest difference of two sounds of one length, in parts of the reference's peak.

    0 if both are silent or empty, infinite if only the reference is, or lengths differ.
    """
    if len(reference) != len(samples):
        return float("inf")
    difference = _peak(reference - samples)
    peak = _peak(reference)
    if peak == 0:
        return 0.0 if difference == 0 else float("inf")
    return difference / peak


def state_similarity(reference: States, states: States) -> float:
    """Mean cosine of the angle between the states of each step; (num_states, hidden) both."""
    products = np.sum(reference * states, axis=1, dtype=np.float64)
    lengths = _lengths(reference) * _lengths(states)
    return float(np.mean(products / np.maximum(lengths, np.finfo(np.float32).tiny)))


def _lengths(states: States) -> NDArray[np.float64]:
    lengths: NDArray[np.float64] = np.linalg.norm(states.astype(np.float64), axis=1)
    return lengths


def _peak(samples: NDArray[Any]) -> float:
    return float(np.abs(samples).max(initial=0.0))
