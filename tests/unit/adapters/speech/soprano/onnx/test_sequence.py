"""A sentence on its way, without any runtime."""

import numpy as np
import pytest

from app.adapters.speech.soprano.engine import MAX_NEW_TOKENS, Sampling
from app.adapters.speech.soprano.onnx.sequence import Sequence
from app.domain.errors import InvalidAudioError, RunawaySpeechError, TruncatedSpeechError

EOS = 3
HIDDEN = 512


def new_sequence(due_at: float = 0.0, num_prompt: int = 5) -> Sequence:
    return Sequence(list(range(10, 10 + num_prompt)), Sampling(), due_at, EOS)


def different(number: int) -> np.ndarray:
    """States that are far from their neighbours."""
    return np.full(HIDDEN, float(number % 2) * 2, np.float32)


def test_the_state_behind_the_end_token_is_dropped() -> None:
    sequence = new_sequence()
    sequence.on_token(50, different(0))
    sequence.on_token(EOS, different(1))
    assert sequence.is_finished
    assert (list(sequence.tokens[5:]), len(sequence.states)) == ([50], 1)


def test_alike_states_are_held_until_they_differ_again_or_the_sentence_ends() -> None:
    sequence = new_sequence()
    for number in range(4):
        sequence.on_token(50, different(number))
    for _ in range(3):
        sequence.on_token(50, different(3))
    assert (len(sequence.states), sequence.num_ready_states) == (7, 4)
    sequence.on_token(50, different(0))
    assert sequence.num_ready_states == 6
    sequence.on_token(EOS, different(1))
    assert sequence.num_ready_states == 8


def test_more_than_16_alike_states_are_a_runaway() -> None:
    sequence = new_sequence()
    for _ in range(17):
        sequence.on_token(50, different(0))
    assert sequence.error is None
    sequence.on_token(50, different(0))
    assert isinstance(sequence.error, RunawaySpeechError)


def test_a_sentence_of_the_most_tokens_is_cut_off() -> None:
    sequence = new_sequence()
    for number in range(MAX_NEW_TOKENS - 1):
        sequence.on_token(50, different(number))
    assert sequence.error is None
    sequence.on_token(50, different(MAX_NEW_TOKENS))
    assert isinstance(sequence.error, TruncatedSpeechError)


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_states_that_are_no_numbers_are_an_error(bad: float) -> None:
    sequence = new_sequence()
    sequence.on_token(50, np.full(HIDDEN, bad, np.float32))
    assert isinstance(sequence.error, InvalidAudioError)


def test_a_listener_is_ahead_by_what_it_has_not_played_yet() -> None:
    sequence = new_sequence(due_at=1.0)
    assert sequence.buffered_s(now=0.0) == 1.0
    sequence.on_audio(32_000, now=1.5)  # late: playing begins only now
    assert sequence.buffered_s(now=1.5) == pytest.approx(1.0)
    sequence.on_audio(32_000, now=2.0)
    assert sequence.buffered_s(now=2.0) == pytest.approx(1.5)


def test_sound_made_early_is_played_when_it_is_due() -> None:
    sequence = new_sequence(due_at=10.0)
    sequence.on_audio(64_000, now=1.0)
    assert sequence.buffered_s(now=1.0) == pytest.approx(11.0)


def test_equal_seeds_draw_equal_numbers_and_another_attempt_other_ones() -> None:
    def draw(seed: int, attempt: int) -> float:
        sampling = Sampling(seed=seed, attempt=attempt)
        return float(Sequence([1], sampling, 0.0, EOS).random.random())

    assert draw(7, 0) == draw(7, 0)
    assert len({draw(7, 0), draw(7, 1), draw(8, 0)}) == 3
