from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.adapters.speech.soprano.torch.engine import CONTEXT_STATES, Window, next_window


def windows_of(pushes: list[int], total: int) -> list[Window]:
    """All windows of a sentence of `total` states that become usable at the counts in `pushes`."""
    windows: list[Window] = []
    num_tokens_sent = 0
    for num_states, is_finished in [*((count, False) for count in pushes), (total, True)]:
        while window := next_window(
            num_states, num_tokens_sent, len(windows), is_finished=is_finished
        ):
            windows.append(window)
            num_tokens_sent += window.num_tokens
    return windows


@given(st.integers(0, 600), st.lists(st.integers(0, 600), max_size=50))
def test_windows_keep_each_token_once_in_order(total: int, pushes: list[int]) -> None:
    counts = sorted(min(count, total) for count in pushes)
    windows = windows_of(counts, total)
    starts = [window.first_state + window.num_skipped for window in windows]
    ends = [start + window.num_tokens for start, window in zip(starts, windows, strict=True)]
    assert all(end == start for end, start in pairwise_ends(ends, starts))
    assert (starts[0] if starts else 0) == 0
    assert (ends[-1] if ends else 0) == max(0, total - 1)


def pairwise_ends(ends: list[int], starts: list[int]) -> list[tuple[int, int]]:
    return list(zip(ends[:-1], starts[1:], strict=True))


@given(st.integers(2, 600), st.lists(st.integers(0, 600), max_size=50))
def test_each_window_has_its_context_or_reaches_the_edge(total: int, pushes: list[int]) -> None:
    counts = sorted(min(count, total) for count in pushes)
    for window in windows_of(counts, total):
        kept_end = window.first_state + window.num_skipped + window.num_tokens
        assert window.num_skipped == CONTEXT_STATES or window.first_state == 0
        assert window.end_state == kept_end + 1 + CONTEXT_STATES or window.end_state == total


def test_the_first_window_needs_five_states() -> None:
    assert next_window(4, 0, 0, is_finished=False) is None
    assert next_window(5, 0, 0, is_finished=False) == Window(0, 5, 0, 1)


def test_chunks_grow() -> None:
    sizes = [window.num_tokens for window in windows_of(list(range(100)), 100)]
    assert sizes[:6] == [1, 2, 4, 8, 16, 16]
    assert all(later >= earlier for earlier, later in pairwise(sizes[:-1]))


@pytest.mark.parametrize("total", [0, 1])
def test_a_single_state_is_no_sound(total: int) -> None:
    assert windows_of([], total) == []
