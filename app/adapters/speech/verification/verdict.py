"""What many compared sentences say of a model, in figures and in words. Pure."""

from collections.abc import Iterable, Sequence
from typing import Final, Literal

import msgspec
import numpy as np

from app.adapters.speech.verification.sentence import Comparison

Grade = Literal["good", "usable", "not usable"]

MAX_PEAK_DIFFERENCE: Final = 1e-3
"""Of fp32, in parts of the peak: 60 dB below it, and far above the rounding of float32."""

GOOD_STEP_AGREEMENT: Final = 0.98
"""Another token once in 50 steps, 3 s of sound: rarer than once in a sentence of common length."""

USABLE_STEP_AGREEMENT: Final = 0.95
"""Another token once in 20 steps. Sampling with the package's default top-p of 0.95 may leave the
likeliest token as often where the model is undecided, and is made for that."""

GOOD_LOG_MEL_DB: Final = 1.0
"""About the smallest change of level that is heard (Zwicker and Fastl, Psychoacoustics, 1990,
chapter 7)."""

USABLE_LOG_MEL_DB: Final = 2.0
"""Twice that: a different colour of the same voice, when heard side by side."""


class Summary(msgspec.Struct, frozen=True, kw_only=True):
    """All sentences of one model.

    Attributes:
        num_sentences: that were compared.
        num_same_tokens: of these, with all tokens as the reference's when left alone.
        agreement: mean token agreement when left alone.
        num_unended: sentences that the reference ended, and the model left alone did not.
        step_agreement: share of all steps along the reference's tokens with the same choice.
        num_steps_differing: the other steps, near ties not counted.
        num_near_ties: steps that differ where two logits are as good as equal.
        log_mel_db: mean over the sentences with sound, left alone.
        led_log_mel_db: likewise, along the reference's tokens.
        led_peak_difference: largest of all.
        state_similarity: mean over the sentences.
    """

    num_sentences: int
    num_same_tokens: int
    agreement: float
    num_unended: int
    step_agreement: float
    num_steps_differing: int
    num_near_ties: int
    log_mel_db: float
    led_log_mel_db: float
    led_peak_difference: float
    state_similarity: float


class Verdict(msgspec.Struct, frozen=True):
    """Whether a model may be used, and why in one sentence."""

    grade: Grade
    reason: str

    @property
    def is_usable(self) -> bool:
        """Whether it may be used at all."""
        return self.grade != "not usable"


def summarize(comparisons: Sequence[Comparison]) -> Summary:
    """The figures of at least one sentence together."""
    num_steps = sum(one.num_steps for one in comparisons)
    num_agreed = sum(one.num_steps_agreed for one in comparisons)
    num_near_ties = sum(one.num_near_ties for one in comparisons)
    return Summary(
        num_sentences=len(comparisons),
        num_same_tokens=sum(one.first_difference is None for one in comparisons),
        agreement=_mean(one.agreement for one in comparisons),
        num_unended=sum(
            one.reference_finish == "stop" and one.finish != "stop" for one in comparisons
        ),
        step_agreement=num_agreed / num_steps,
        num_steps_differing=num_steps - num_agreed - num_near_ties,
        num_near_ties=num_near_ties,
        log_mel_db=_mean(one.log_mel_db for one in comparisons),
        led_log_mel_db=_mean(one.led_log_mel_db for one in comparisons),
        led_peak_difference=_max(one.led_peak_difference for one in comparisons),
        state_similarity=_mean(one.state_similarity for one in comparisons),
    )


def _mean(values: Iterable[float | None]) -> float:
    """Of those that are there; 0 if none is."""
    known = [value for value in values if value is not None]
    return sum(known) / len(known) if known else 0.0


def _max(values: Iterable[float]) -> float:
    """Not a number if one of them is none."""
    return float(np.max(list(values)))


def judge_equal(summary: Summary) -> Verdict:
    """Whether a model of full precision is the reference but for rounding: good or not usable."""
    if summary.num_steps_differing:
        return Verdict("not usable", f"{summary.num_steps_differing} tokens differ")
    if not summary.led_peak_difference <= MAX_PEAK_DIFFERENCE:
        return Verdict(
            "not usable", f"samples differ by {summary.led_peak_difference:.1e} of the peak"
        )
    near_ties = f" but for {summary.num_near_ties} near ties" if summary.num_near_ties else ""
    difference = summary.led_peak_difference
    return Verdict(
        "good", f"the same tokens{near_ties}, samples within {difference:.0e} of the peak"
    )


def judge_close(summary: Summary) -> Verdict:
    """Whether a quantised model is near enough to the reference."""
    figures = (
        f"{summary.step_agreement:.1%} of the tokens along the reference agree, the sound is "
        f"{summary.led_log_mel_db:.1f} dB off"
    )
    if summary.num_unended:
        return Verdict("not usable", f"{summary.num_unended} sentences do not end; {figures}")
    if _is_within(summary, GOOD_STEP_AGREEMENT, GOOD_LOG_MEL_DB):
        return Verdict("good", figures)
    if _is_within(summary, USABLE_STEP_AGREEMENT, USABLE_LOG_MEL_DB):
        return Verdict("usable", figures)
    return Verdict("not usable", figures)


def _is_within(summary: Summary, min_agreement: float, max_distance_db: float) -> bool:
    return summary.step_agreement >= min_agreement and summary.led_log_mel_db <= max_distance_db
