"""A model compared with a reference, sentence by sentence: tokens, states and audio.

It is led along the reference's tokens (teacher forcing): at each step it shows what it would have
chosen, so that errors do not add up; free-running, everything after one other token may differ, and
rightly so. Log-mel spectrograms tell roughly how far apart audio is to the ear; they do not hear
phases.
"""

from collections.abc import Collection
from statistics import fmean
from typing import Any, Final, Literal, Protocol

import msgspec
import numpy as np
from numpy.typing import NDArray

from app.adapters.speech.soprano.checkpoint.checkpoint import Checkpoint
from app.adapters.speech.soprano.checkpoint.shapes import MIN_AUDIO_STATES, N_FFT, SAMPLE_RATE
from app.adapters.speech.soprano.engine import MAX_NEW_TOKENS, Sampling, loading
from app.adapters.speech.soprano.onnx.scheduler import PREFILL_CHUNK
from app.adapters.speech.soprano.onnx.sequence import (
    MAX_VOCODER_STATES,
    MIN_FIRST_STATES,
    Sequence,
    sample_tokens,
)
from app.adapters.speech.soprano.onnx.sessions import Sessions
from app.adapters.speech.soprano.torch.engine import StateVocoder, Window
from app.adapters.speech.soprano.torch.transformers import load_package_model

Samples = NDArray[np.float32]  # (num_samples,)
States = NDArray[np.float32]  # (num_states, hidden)
Choices = NDArray[np.int64]  # (num_steps,) token ids

Step = tuple[NDArray[np.float32], NDArray[np.float32]]  # (vocabulary,) logits, (hidden,) state

NUM_BEST: Final = 5  # likeliest tokens of a step, which sampling mostly chooses from


class Trace(msgspec.Struct, frozen=True, kw_only=True, eq=False):
    """The choices of a model along a run of tokens, one a step."""

    choices: Choices  # (num_steps,), likeliest after the repetition penalty, end token included
    margins: NDArray[np.float32]  # (num_steps,), by how much their logits exceed the next best
    best: NDArray[np.int64]  # (num_steps, NUM_BEST), the likeliest tokens in no order
    states: States  # (num_steps, hidden) float32, from which each choice was made
    has_ended: bool  # whether the end token came; else a limit cut the run

    @property
    def num_tokens(self) -> int:
        """Those with audio: the end token has none."""
        return len(self.choices) - self.has_ended


class ComparedModel(Protocol):
    """Generates greedily, alone or led along a run of another; blocks while it computes."""

    def generate(self, prompt: str, led: Choices | None = None) -> Trace:
        """Choose tokens after a prompt until the end token or the limit of Soprano.

        Along `led` instead, what it would choose at each step if all before it had been as there.
        """

    def vocode(self, states: States) -> Samples:
        """The audio of a run: 2048 samples for each state after the first."""


def trace_of(steps: list[Step], end_id: int) -> Trace:
    """A trace of steps, at least one; each chooses its likeliest token."""
    logits, states = map(np.stack, zip(*steps, strict=True))
    choices = logits.argmax(axis=1)
    largest = np.partition(logits, -2, axis=1)
    return Trace(
        choices=choices,
        margins=largest[:, -1] - largest[:, -2],
        best=np.argpartition(logits, -NUM_BEST, axis=1)[:, -NUM_BEST:],
        states=states,
        has_ended=bool(choices[-1] == end_id),
    )


def best_overlap(reference: Trace, led: Trace) -> float:
    """Share of the likeliest tokens of each step that are so in both, whatever their order."""
    return float(np.mean((reference.best[:, :, None] == led.best[:, None]).any(axis=2)))


def peak_difference(reference: Samples, samples: Samples) -> float:
    """Largest difference of two sounds of one length, in parts of the reference's peak.

    0 if both are silent or empty, infinite if only the reference is, or lengths differ.
    """
    if len(reference) != len(samples):
        return float("inf")
    difference = float(np.abs(reference - samples).max(initial=0.0))
    peak = float(np.abs(reference).max(initial=0.0))
    if peak == 0:
        return 0.0 if difference == 0 else float("inf")
    return difference / peak


def state_similarity(reference: States, states: States) -> float:
    """Mean cosine of the angle between the states of each step; (num_states, hidden) both."""
    products = np.sum(reference * states, axis=1, dtype=np.float64)
    lengths = np.linalg.norm(reference.astype(np.float64), axis=1)
    lengths *= np.linalg.norm(states.astype(np.float64), axis=1)
    return float(np.mean(products / np.maximum(lengths, np.finfo(np.float32).tiny)))


HOP_LENGTH: Final = 512  # samples; as with N_FFT, that of the decoder's own transform
NUM_BANDS: Final = 80

# Below the loudest band of the reference; what is softer counts as silence.
DYNAMIC_RANGE_DB: Final = 80.0

SMALLEST_POWER: Final = 1e-20  # keeps silence finite; far below 24 bits


def log_mel_distance_db(reference: Samples, samples: Samples) -> float:
    """Mean absolute difference of the two log-mel spectrograms over the length both have, in dB.

    Both are (num_samples,) at 32 000 Hz.
    """
    length = min(len(reference), len(samples))
    expected, found = mel_powers(reference[:length]), mel_powers(samples[:length])
    floor = max(SMALLEST_POWER, float(expected.max()) * 10 ** (-DYNAMIC_RANGE_DB / 10))
    differences = np.log10(np.maximum(expected, floor)) - np.log10(np.maximum(found, floor))
    return float(10 * np.abs(differences).mean())


def mel_powers(samples: Samples) -> NDArray[np.float64]:
    """Power in each mel band of centred Hann windows, zeros beyond the ends: (frames, 80)."""
    half = N_FFT // 2
    padded = np.pad(samples.astype(np.float64), half)
    windows = np.lib.stride_tricks.sliding_window_view(padded, N_FFT)[::HOP_LENGTH]
    spectra = np.fft.rfft(windows * np.hanning(N_FFT + 1)[:-1], axis=1)
    powers: NDArray[np.float64] = np.abs(spectra) ** 2 @ mel_filters().T
    return powers


def mel_filters() -> NDArray[np.float64]:
    """Triangles of height 1, evenly spaced on the mel scale from 0 Hz to half the sample rate.

    Davis and Mermelstein, Comparison of Parametric Representations for Monosyllabic Word
    Recognition, 1980: each band rises from its lower neighbour's centre and falls to the upper's.
    (80, 1025).
    """
    top = hertz_to_mel(np.array(SAMPLE_RATE / 2))
    corners = mel_to_hertz(np.linspace(0.0, top, NUM_BANDS + 2))
    frequencies = np.fft.rfftfreq(N_FFT, 1 / SAMPLE_RATE)
    bands = (np.interp(frequencies, corners[i : i + 3], [0, 1, 0]) for i in range(NUM_BANDS))
    return np.stack(list(bands))


def hertz_to_mel(frequencies: NDArray[np.float64]) -> NDArray[np.float64]:
    """2595 log10(1 + f / 700); O'Shaughnessy, Speech Communication, 1987; as in HTK."""
    return np.multiply(2_595.0, np.log10(1.0 + frequencies / 700.0))


def mel_to_hertz(mels: NDArray[np.float64]) -> NDArray[np.float64]:
    """The inverse of `hertz_to_mel`."""
    return np.multiply(700.0, 10.0 ** (mels / 2_595.0) - 1.0)


# Two logits that are closer may change places by the rounding of float32, whose error through all
# layers was measured as 1e-5 of logits up to 10. Either choice is right then.
NEAR_TIE: Final = 1e-4


class ReferenceRun(msgspec.Struct, frozen=True, eq=False):
    """A sentence as the reference synthesizes it."""

    prompt: str
    trace: Trace
    samples: Samples


class Comparison(msgspec.Struct, frozen=True, kw_only=True):
    """A sentence by a model, led along the reference's tokens, and by the reference."""

    num_steps: int  # of the reference, the end token included
    num_steps_agreed: int  # of these, where the model chooses the reference's next token
    num_near_ties: int  # steps where it does not, but the two best logits of the reference are near
    best_overlap: float  # see `best_overlap`
    peak_difference: float  # see `peak_difference`
    log_mel_db: float  # see `log_mel_distance_db`
    state_similarity: float  # see `state_similarity`
    is_unended: bool  # the reference ends the sentence, and the model, free-running, does not


def compare(reference: ReferenceRun, model: ComparedModel) -> Comparison:
    """Lead a model along the reference's tokens of a prompt."""
    expected = reference.trace
    led = model.generate(reference.prompt, expected.choices)
    samples = model.vocode(led.states[: expected.num_tokens])
    is_agreed = led.choices == expected.choices
    # A model that agrees at every step would free-running go the same way once more.
    is_asked = expected.has_ended and not is_agreed.all()
    free = model.generate(reference.prompt) if is_asked else led
    return Comparison(
        num_steps=len(expected.choices),
        num_steps_agreed=int(np.count_nonzero(is_agreed)),
        num_near_ties=int(np.count_nonzero(~is_agreed & (expected.margins < NEAR_TIE))),
        best_overlap=best_overlap(expected, led),
        peak_difference=peak_difference(reference.samples, samples),
        log_mel_db=log_mel_distance_db(reference.samples, samples),
        state_similarity=state_similarity(expected.states, led.states),
        is_unended=expected.has_ended and not free.has_ended,
    )


Grade = Literal["good", "usable", "not usable"]

# Of fp32, in parts of the peak: 60 dB below it, and far above the rounding of float32.
MAX_PEAK_DIFFERENCE: Final = 1e-3

# Another token once in 50 steps, 3 s of audio: rarer than once in a sentence of common length.
GOOD_STEP_AGREEMENT: Final = 0.98

# Another token once in 20 steps. Sampling with the package's default top-p of 0.95 may leave the
# likeliest token as often where the model is undecided, and is made for that.
USABLE_STEP_AGREEMENT: Final = 0.95

# About the smallest change of level that is heard (Zwicker and Fastl, Psychoacoustics, 1990,
# chapter 7).
GOOD_LOG_MEL_DB: Final = 1.0

# Twice that: a different colour of the same voice, when heard side by side.
USABLE_LOG_MEL_DB: Final = 2.0


class Summary(msgspec.Struct, frozen=True, kw_only=True):
    """All sentences of one model."""

    step_agreement: float  # share of all steps with the reference's choice
    num_steps_differing: int  # the other steps, near ties not counted
    num_near_ties: int  # steps that differ where two logits are as good as equal
    best_overlap: float  # mean over the sentences
    peak_difference: float  # largest of all
    log_mel_db: float  # mean over the sentences
    state_similarity: float  # mean over the sentences
    num_unended: int  # sentences that the reference ended and the free-running model did not


class Verdict(msgspec.Struct, frozen=True):
    """Whether a model may be used, and why in one sentence."""

    grade: Grade
    reason: str

    @property
    def is_usable(self) -> bool:
        return self.grade != "not usable"


def summarize(comparisons: Collection[Comparison]) -> Summary:
    """The figures of at least one sentence together."""
    num_steps = sum(one.num_steps for one in comparisons)
    num_agreed = sum(one.num_steps_agreed for one in comparisons)
    num_near_ties = sum(one.num_near_ties for one in comparisons)
    return Summary(
        step_agreement=num_agreed / num_steps,
        num_steps_differing=num_steps - num_agreed - num_near_ties,
        num_near_ties=num_near_ties,
        best_overlap=fmean(one.best_overlap for one in comparisons),
        # `np.max` is not a number if one of them is none.
        peak_difference=float(np.max([one.peak_difference for one in comparisons])),
        log_mel_db=fmean(one.log_mel_db for one in comparisons),
        state_similarity=fmean(one.state_similarity for one in comparisons),
        num_unended=sum(one.is_unended for one in comparisons),
    )


def judge_equal(summary: Summary) -> Verdict:
    """Whether a model of full precision is the reference but for rounding: good or not usable."""
    if summary.num_steps_differing:
        return Verdict("not usable", f"{summary.num_steps_differing} tokens differ")
    difference = summary.peak_difference
    if not difference <= MAX_PEAK_DIFFERENCE:
        return Verdict("not usable", f"samples differ by {difference:.1e} of the peak")
    near_ties = f" but for {summary.num_near_ties} near ties" if summary.num_near_ties else ""
    return Verdict(
        "good", f"the same tokens{near_ties}, samples within {difference:.0e} of the peak"
    )


def judge_close(summary: Summary) -> Verdict:
    """Whether a quantised model is near enough to the reference."""
    figures = (
        f"{summary.step_agreement:.1%} of the tokens along the reference agree, the sound is "
        f"{summary.log_mel_db:.1f} dB off"
    )
    if summary.num_unended:
        return Verdict("not usable", f"{summary.num_unended} sentences do not end; {figures}")
    agreement, log_mel_db = summary.step_agreement, summary.log_mel_db
    if agreement >= GOOD_STEP_AGREEMENT and log_mel_db <= GOOD_LOG_MEL_DB:
        return Verdict("good", figures)
    if agreement >= USABLE_STEP_AGREEMENT and log_mel_db <= USABLE_LOG_MEL_DB:
        return Verdict("usable", figures)
    return Verdict("not usable", figures)


class TracedOnnx:
    """ComparedModel on ONNX Runtime.

    With the engine's prefill chunks, and audio in pieces from carried states. The engine's rows do
    not depend on each other, so what holds for one sentence holds for it.
    """

    def __init__(self, sessions: Sessions) -> None:
        self._sessions = sessions

    def generate(self, prompt: str, led: Choices | None = None) -> Trace:
        max_tokens = MAX_NEW_TOKENS if led is None else len(led)
        model, end_id = self._sessions.language_model, self._sessions.eos_token_id
        tokens = self._sessions.tokenizer.encode(prompt).ids
        sequence = Sequence(tokens, Sampling(), 0.0, end_id)
        *starts, last = range(0, len(tokens), PREFILL_CHUNK)
        for start in starts:
            model.prefill(0, tokens[start : start + PREFILL_CHUNK], start)
        states, logits = model.prefill(0, tokens[last:], last)
        steps: list[Step] = []
        while True:
            (token,) = sample_tokens(logits, [sequence]).tolist()
            # The sampler has put its repetition penalty into the logits.
            steps.append((logits[0].copy(), states[0].copy()))
            if len(steps) >= max_tokens or (led is None and token == end_id):
                return trace_of(steps, end_id)
            token = token if led is None else int(led[len(steps) - 1])
            sequence.tokens.append(token)
            states, logits = model.decode(0, [token], [len(sequence.tokens) - 1])

    def vocode(self, states: States) -> Samples:
        if len(states) < MIN_AUDIO_STATES:
            return np.zeros(0, np.float32)
        vocoder = self._sessions.vocoder
        vocoder_state = vocoder.new_state()
        ends = [*range(MIN_FIRST_STATES, len(states), MAX_VOCODER_STATES), len(states)]
        pieces = [
            vocoder.vocode([vocoder_state], [list(states[start:end])], is_last=end == len(states))
            for start, end in zip([0, *ends], ends, strict=False)
        ]
        samples: Samples = np.concatenate(pieces, axis=1)[0]
        return samples


PACKAGE_PROMPT_TOKENS: Final = 512  # the package cuts longer prompts


class TracedPackage:
    """The reference: the package's TransformersModel and decoder; raises ModelLoadError.

    The package samples at a temperature of 0.001 in place of 0, so that chance decides between
    logits that differ by less than about 0.005; here it takes the likeliest.
    """

    def __init__(self, checkpoint: Checkpoint) -> None:
        with loading("The package cannot load the checkpoint", "soprano"):
            package_model = load_package_model(checkpoint.directory, "cpu")
            self._decoder = StateVocoder(checkpoint, "cpu")
        self._model: Any = package_model.model
        self._tokenizer: Any = package_model.tokenizer
        self._end_id: int = checkpoint.language_model.eos_token_id

    def synthesize(self, prompt: str) -> ReferenceRun:
        """The sentence, up to the end token or the limit of Soprano."""
        import torch

        inputs = self._tokenizer(
            [prompt], return_tensors="pt", truncation=True, max_length=PACKAGE_PROMPT_TOKENS
        )
        with torch.inference_mode():
            outputs = self._model.generate(
                input_ids=inputs["input_ids"],
                attention_mask=inputs["attention_mask"],
                max_new_tokens=MAX_NEW_TOKENS,
                do_sample=False,
                repetition_penalty=Sampling().repetition_penalty,
                pad_token_id=self._tokenizer.pad_token_id,
                return_dict_in_generate=True,
                output_hidden_states=True,
                output_scores=True,
            )
        logits = [scores[0].numpy() for scores in outputs.scores]
        # The last layer's, after the final norm, at the last position: (hidden,).
        states = [layers[-1][0, -1].numpy() for layers in outputs.hidden_states]
        trace = trace_of(list(zip(logits, states, strict=True)), self._end_id)
        return ReferenceRun(prompt, trace, self.vocode(trace.states[: trace.num_tokens]))

    def vocode(self, states: States) -> Samples:
        if len(states) < MIN_AUDIO_STATES:  # the package fails on these
            return np.zeros(0, np.float32)
        num_tokens = len(states) - 1
        whole = Window(first_state=0, end_state=len(states), num_skipped=0, num_tokens=num_tokens)
        return self._decoder.decode(states, whole)
