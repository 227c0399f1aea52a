import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from app.adapters.speech.soprano.engine import MAX_RUN_LENGTH, RunawayDetector
from tests.examples import examples

SIZE = 512
CALM = np.zeros(SIZE, np.float32)


def states_for(alike: list[bool]) -> list[np.ndarray]:
    """States of which each is alike to the one before or not, as told."""
    states = [CALM]
    for is_alike in alike:
        states.append(states[-1] + np.float32(0.1 if is_alike else 2.0))
    return states


def test_seventeen_alike_states_in_a_row_are_a_runaway() -> None:
    detector = RunawayDetector()
    results = [detector.push(state) for state in states_for([True] * 30)]
    assert results.index(True) == MAX_RUN_LENGTH + 1


def test_varied_states_are_none() -> None:
    detector = RunawayDetector()
    assert not any(detector.push(state) for state in states_for([False] * 500))
    assert detector.run_length == 0


def rule(alike: list[bool]) -> bool:
    """In plain words: up by one for an alike pair, down by one for another, not below 0."""
    run = 0
    for is_alike in alike:
        run = run + 1 if is_alike else max(0, run - 1)
        if run > MAX_RUN_LENGTH:
            return True
    return False


@settings(max_examples=examples(100), deadline=None)
@given(st.lists(st.sampled_from([True, True, True, False]), max_size=120))
def test_it_follows_the_rule_state_by_state(alike: list[bool]) -> None:
    detector = RunawayDetector()
    assert any(detector.push(state) for state in states_for(alike)) == rule(alike)
