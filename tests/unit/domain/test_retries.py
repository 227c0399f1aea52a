import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.domain.retries import RetryBudget, RetryPolicy
from app.domain.retries import pause_s as pause_of

EVENTS = st.lists(
    st.tuples(st.floats(0, 20, allow_nan=False), st.booleans()), max_size=200
)  # a pause, then a retry or a call


@given(EVENTS, st.integers(0, 4), st.sampled_from([0.0, 0.1, 0.5]))
def test_retries_never_exceed_their_part_of_the_calls_or_the_floor(
    events: list[tuple[float, bool]], floor: int, ratio: float
) -> None:
    budget = RetryBudget(RetryPolicy(budget_ratio=ratio, budget_floor=floor))
    now, calls, retries = 0.0, list[float](), list[float]()
    for pause, is_retry in events:
        now += pause
        if not is_retry:
            budget.count_call(now)
            calls.append(now)
            continue
        num_calls = sum(at >= now - 60 for at in calls)
        num_retries = sum(at >= now - 60 for at in retries)
        expected = num_retries + 1 <= max(floor, ratio * num_calls)
        assert budget.take(now) is expected
        if expected:
            retries.append(now)


def test_of_few_calls_three_may_be_repeated_in_a_minute_and_of_many_a_tenth() -> None:
    budget = RetryBudget(RetryPolicy())
    assert [budget.take(0.0) for _ in range(4)] == [True, True, True, False]
    for _ in range(100):
        budget.count_call(1.0)
    assert [budget.take(1.0) for _ in range(8)] == [True] * 7 + [False]
    assert budget.take(62.0)


@given(st.integers(0, 100), st.floats(0, 1, exclude_max=True))
def test_a_pause_is_any_time_up_to_the_longest(num_retries: int, chance: float) -> None:
    pause_s = pause_of(RetryPolicy(), num_retries, lambda: chance)
    longest_s = min(1.0, 0.05 * 2**num_retries)
    assert longest_s / 2 <= pause_s <= longest_s
    assert pause_s == pytest.approx((0.5 + chance / 2) * longest_s)
