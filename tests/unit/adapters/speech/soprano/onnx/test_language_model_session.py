"""Rows that step and rows that are read at the same time, on all threads and on half of them."""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest

from app.adapters.speech.soprano.onnx.graph import Precision
from app.adapters.speech.soprano.onnx.sessions import LanguageModelSession
from tests.checkpoints.build import FULL
from tests.onnx_sessions import language_model_session

PROMPTS = [[9 + (7 * row + place) % 40 for place in range(20 + row)] for row in range(5)]
NUM_STEPS = 12

Trace = list[np.ndarray]


def read(session: LanguageModelSession, row: int, *, is_alone: bool) -> Trace:
    """State and logits of a prompt, in the row of its number."""
    return list(session.prefill(row, PROMPTS[row], 0, is_alone=is_alone))


def step_all(session: LanguageModelSession, num_rows: int, are_alone: list[bool]) -> Trace:
    """States and logits of some steps of the first rows."""
    trace = []
    for number, is_alone in enumerate(are_alone):
        lengths = [len(PROMPTS[row]) + number for row in range(num_rows)]
        ids = [10 + (3 * row + number) % 40 for row in range(num_rows)]
        found = session.decode(0, ids, lengths, is_alone=is_alone)
        trace += [array.copy() for array in found]
    return trace


@pytest.fixture(params=[("fp32", False), ("int8", False), ("int8", True)], ids=str)
def session(
    request: pytest.FixtureRequest, make_checkpoint: Callable[..., Path]
) -> LanguageModelSession:
    precision: Precision
    precision, in_blocks = request.param
    directory = make_checkpoint(says="anything", size=FULL)
    return language_model_session(directory, precision, len(PROMPTS), in_blocks=in_blocks)


def test_half_of_the_threads_compute_the_same_to_the_last_bit(
    session: LanguageModelSession,
) -> None:
    num_rows = len(PROMPTS)
    traces = []
    for is_alone in (True, False):
        trace = [
            array for row in range(num_rows) for array in read(session, row, is_alone=is_alone)
        ]
        trace += step_all(session, num_rows, [is_alone] * NUM_STEPS)
        traces.append(trace)
    mixed = [array for row in range(num_rows) for array in read(session, row, is_alone=row > 2)]
    mixed += step_all(session, num_rows, [True, False] * (NUM_STEPS // 2))
    for whole, half, both in zip(*traces, mixed, strict=True):
        assert np.array_equal(whole, half)
        assert np.array_equal(whole, both)


def test_a_row_that_is_read_beside_steps_changes_nothing_and_is_not_changed(
    session: LanguageModelSession,
) -> None:
    num_stepping = len(PROMPTS) - 1
    for row in range(num_stepping):
        read(session, row, is_alone=True)
    steps_alone = step_all(session, num_stepping, [True] * NUM_STEPS)
    read_alone = read(session, num_stepping, is_alone=True)
    for row in range(num_stepping):
        read(session, row, is_alone=True)
    with ThreadPoolExecutor(1) as thread:
        reads = [
            thread.submit(read, session, num_stepping, is_alone=False) for _ in range(NUM_STEPS)
        ]
        steps_beside = step_all(session, num_stepping, [False] * NUM_STEPS)
    for alone, beside in zip(steps_alone, steps_beside, strict=True):
        assert np.array_equal(alone, beside)
    for one in reads:
        for alone, beside in zip(read_alone, one.result(), strict=True):
            assert np.array_equal(alone, beside)


@pytest.mark.parametrize("session", [("int8", False), ("int8", True)], indirect=True, ids=str)
def test_a_step_of_a_row_is_the_same_to_the_last_bit_however_many_share_it(
    session: LanguageModelSession,
) -> None:
    for row in range(len(PROMPTS)):
        read(session, row, is_alone=True)
    steps = [True] * 3
    of_all = step_all(session, len(PROMPTS), steps)
    for num_rows in range(1, len(PROMPTS)):
        for some, every in zip(step_all(session, num_rows, steps), of_all, strict=True):
            assert np.array_equal(some, every[:num_rows])
