"""One sentence spoken by two models, compared. Knows what models do, and no particular one.

A model is compared in two ways. Left alone it speaks the sentence as it would to a listener; after
one other token all that follows may differ, and rightly so. Led along the reference's tokens it
shows at each step what it would have said and heard, so that errors do not add up.
"""

from typing import Final

import msgspec
import numpy as np

from app.adapters.speech.verification.log_mel import log_mel_distance_db
from app.adapters.speech.verification.measures import (
    first_difference,
    peak_difference,
    state_similarity,
    token_agreement,
)
from app.adapters.speech.verification.traces import ComparedModel, ReferenceModel, Samples, Trace

NEAR_TIE: Final = 1e-4
"""Of two logits: closer ones may change places by the rounding of float32, whose error through all
layers was measured as 1e-5 of logits up to 10. Either choice is right then."""


class Spoken(msgspec.Struct, frozen=True, eq=False):
    """A sentence as the reference speaks it."""

    prompt: str
    trace: Trace
    samples: Samples


class Comparison(msgspec.Struct, frozen=True, kw_only=True):
    """How a model speaks a sentence, held against the reference.

    Attributes:
        num_reference_tokens: without the end token.
        num_tokens: of the model left alone, likewise.
        first_difference: index of the first token that differs, None if none does.
        agreement: share of positions up to the longer length with the same token, the end token
            included.
        peak_difference: largest difference of the samples in parts of the reference's peak; None
            where tokens differ.
        log_mel_db: distance of the sounds over their common length; None where one is empty.
        reference_finish: "stop", or "length" where the limit of tokens came first.
        finish: likewise, of the model left alone.
        num_steps: along the reference's tokens, the end token included.
        num_steps_agreed: of these, where the model chooses the reference's next token.
        num_near_ties: steps where it does not, but the reference's two best logits are as good as
            equal.
        led_peak_difference: of the sound of the model's states along the reference's tokens.
        led_log_mel_db: likewise.
        state_similarity: mean cosine of its states and the reference's along these tokens.
    """

    num_reference_tokens: int
    num_tokens: int
    first_difference: int | None
    agreement: float
    peak_difference: float | None
    log_mel_db: float | None
    reference_finish: str
    finish: str
    num_steps: int
    num_steps_agreed: int
    num_near_ties: int
    led_peak_difference: float
    led_log_mel_db: float | None
    state_similarity: float


def speak_reference(model: ReferenceModel, prompt: str, max_tokens: int) -> Spoken:
    """Let the reference speak a prompt."""
    trace = model.speak(prompt, max_tokens)
    return Spoken(prompt, trace, model.sound(trace.states[: trace.num_tokens]))


def compare(reference: Spoken, model: ComparedModel, max_tokens: int) -> Comparison:
    """Let another model speak the same prompt, led and left alone."""
    expected = reference.trace
    led = model.follow(reference.prompt, expected.choices)
    is_agreed = led.choices == expected.choices
    led_samples = model.sound(led.states[: expected.num_tokens])
    alone, samples = led, led_samples
    if not is_agreed.all():  # else it would walk the same way once more
        alone = model.speak(reference.prompt, max_tokens)
        samples = model.sound(alone.states[: alone.num_tokens])
    difference = first_difference(expected.choices, alone.choices)
    return Comparison(
        num_reference_tokens=expected.num_tokens,
        num_tokens=alone.num_tokens,
        first_difference=difference,
        agreement=token_agreement(expected.choices, alone.choices),
        peak_difference=(
            peak_difference(reference.samples, samples) if difference is None else None
        ),
        log_mel_db=log_mel_distance_db(reference.samples, samples),
        reference_finish=expected.finish,
        finish=alone.finish,
        num_steps=len(expected.choices),
        num_steps_agreed=int(np.count_nonzero(is_agreed)),
        num_near_ties=int(np.count_nonzero(~is_agreed & (expected.margins < NEAR_TIE))),
        led_peak_difference=peak_difference(reference.samples, led_samples),
        led_log_mel_db=log_mel_distance_db(reference.samples, led_samples),
        state_similarity=state_similarity(expected.states, led.states),
    )
