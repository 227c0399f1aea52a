"""What is recorded of a model that speaks greedily, and what a model must do to be compared.

Knows token ids, hidden states and samples, and no model.
"""

from typing import Protocol

import msgspec
import numpy as np
from numpy.typing import NDArray

Samples = NDArray[np.float32]
"""(num_samples,)."""

States = NDArray[np.float32]
"""(num_states, hidden)."""


class Trace(msgspec.Struct, frozen=True, kw_only=True, eq=False):
    """The choices of a model along a run of tokens, one a step.

    Attributes:
        choices: (num_steps,) int64, the likeliest token of each step after the repetition penalty;
            the end token is one.
        margins: (num_steps,) float32, by how much the logit of each choice exceeds the next best.
        states: (num_steps, hidden) float32, from which each choice was made.
        has_ended: whether the end token came; else a limit cut the run.
    """

    choices: NDArray[np.int64]
    margins: NDArray[np.float32]
    states: States
    has_ended: bool

    @property
    def num_tokens(self) -> int:
        """Of sound: the end token has none."""
        return len(self.choices) - self.has_ended

    @property
    def finish(self) -> str:
        """Why the run ended, in the package's words."""
        return "stop" if self.has_ended else "length"


class ReferenceModel(Protocol):
    """Speaks greedily; blocks while it computes."""

    def speak(self, prompt: str, max_tokens: int) -> Trace:
        """Choose tokens after a prompt until the end token or the limit."""
        ...

    def sound(self, states: States) -> Samples:
        """The sound of a run: 2048 samples for each state after the first."""
        ...


class ComparedModel(ReferenceModel, Protocol):
    """A model that can also be led along a run of another."""

    def follow(self, prompt: str, choices: NDArray[np.int64]) -> Trace:
        """What it would choose at each step if all before it had been as in `choices`."""
        ...


def joined(steps: list[tuple[int, float, NDArray[np.float32]]], end_id: int) -> Trace:
    """A trace of the choice, margin and (hidden,) state of each step; at least one."""
    choices, margins, states = zip(*steps, strict=True)
    return Trace(
        choices=np.array(choices, np.int64),
        margins=np.array(margins, np.float32),
        states=np.stack(states),
        has_ended=choices[-1] == end_id,
    )


def margin_of_best(scores: NDArray[np.float32]) -> float:
    """By how much the largest of (vocabulary,) logits exceeds the second."""
    second, first = np.partition(scores, -2)[-2:]
    return float(first - second)
