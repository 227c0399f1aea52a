"""A sentence of two models, compared by what they chose along the tokens of one."""

import numpy as np

from app.adapters.speech.verification import (
    NEAR_TIE,
    Choices,
    ReferenceRun,
    Samples,
    States,
    Trace,
    best_overlap,
    compare,
    trace_of,
)

END = 3


def trace(*choices: int, margin: float = 1.0) -> Trace:
    """States are (1, choice); the next best tokens of each step are 0, 1, 2 and 4."""
    rest = np.array([0, -1, -2, -9, -3, *[-9] * 11], np.float32)
    steps = [
        (np.where(np.arange(16) == token, np.float32(margin), rest), np.array([1, token], "f4"))
        for token in choices
    ]
    return trace_of(steps, END)


class FakeModel:
    """Says what it is told to, and sounds like its states; remembers what it was asked."""

    def __init__(self, alone: Trace, led: Trace | None = None) -> None:
        self.alone, self.led = alone, led or alone
        self.asked: list[str] = []

    def generate(self, prompt: str, led: Choices | None = None) -> Trace:
        self.asked.append(f"generate {prompt}" + (f" {led.tolist()}" if led is not None else ""))
        return self.alone if led is None else self.led

    def vocode(self, states: States) -> Samples:
        self.asked.append(f"vocode {len(states)}")
        return np.repeat(states[1:, 1] / np.float32(16), 2_048)


def spoken(run: Trace) -> ReferenceRun:
    return ReferenceRun("p", run, FakeModel(run).vocode(run.states[: run.num_tokens]))


def test_the_end_token_has_no_sound() -> None:
    one = spoken(trace(7, 8, 9, END))
    assert (one.trace.num_tokens, one.trace.has_ended, len(one.samples)) == (3, True, 4_096)


def test_a_run_that_is_cut_sounds_to_its_last_token() -> None:
    one = spoken(trace(7, 8, 9))
    assert (one.trace.num_tokens, one.trace.has_ended, len(one.samples)) == (3, False, 4_096)


def test_a_model_that_agrees_at_every_step_is_not_asked_to_speak_alone() -> None:
    model = FakeModel(trace(7, 8, END))
    found = compare(spoken(trace(7, 8, END)), model)
    assert model.asked == ["generate p [7, 8, 3]", "vocode 2"]
    assert (found.num_steps_agreed, found.num_steps) == (3, 3)
    assert found.peak_difference == found.log_mel_db == 0.0
    assert not found.is_unended


def test_a_model_that_differs_is_measured_along_the_reference() -> None:
    reference = spoken(trace(8, 8, 8, END))
    model = FakeModel(alone=trace(9, END), led=trace(9, 8, 8, END))
    found = compare(reference, model)
    assert model.asked == ["generate p [8, 8, 8, 3]", "vocode 3", "generate p"]
    assert (found.num_steps_agreed, found.num_near_ties, found.num_steps) == (3, 0, 4)
    assert found.log_mel_db == 0.0
    assert found.state_similarity < 1
    assert not found.is_unended


def test_a_model_that_does_not_end_a_sentence_by_itself_is_noted() -> None:
    cut = FakeModel(alone=trace(9, 9), led=trace(9, END))
    assert compare(spoken(trace(8, END)), cut).is_unended
    neither = FakeModel(trace(9, 9))
    assert not compare(spoken(trace(8, 8)), neither).is_unended
    assert neither.asked == ["generate p [8, 8]", "vocode 2"]


def test_a_difference_where_the_reference_is_undecided_is_a_near_tie() -> None:
    reference = spoken(trace(8, 8, END, margin=NEAR_TIE / 2))
    found = compare(reference, FakeModel(trace(8, 9, END), trace(8, 9, END)))
    assert (found.num_steps_agreed, found.num_near_ties) == (2, 1)


def test_the_margin_is_between_the_two_largest() -> None:
    state = np.zeros(1, np.float32)
    scores = [0.5, 4.0, -9.0, 3.0, 1.0], [2.0, 1.0, 2.0, 0.0, 0.0]
    run = trace_of([(np.array(each, np.float32), state) for each in scores], END)
    assert run.margins.tolist() == [1.0, 0.0]


def test_the_likeliest_tokens_count_in_any_order() -> None:
    assert best_overlap(trace(7, 8), trace(7, 8)) == 1.0
    assert best_overlap(trace(7, 8), trace(7, 9)) == 0.9
    assert best_overlap(trace(7, margin=0.5), trace(7, margin=5)) == 1.0
