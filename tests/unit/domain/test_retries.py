import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.domain.resilience import RetryPolicy
from app.domain.resilience import pause_s as pause_of


@given(st.integers(0, 100), st.floats(0, 1, exclude_max=True))
def test_a_pause_is_between_half_of_the_longest_and_all_of_it(
    num_retries: int, chance: float
) -> None:
    pause_s = pause_of(RetryPolicy(), num_retries, lambda: chance)
    longest_s = min(1.0, 0.3 * 2**num_retries)
    assert longest_s / 2 <= pause_s <= longest_s
    assert pause_s == pytest.approx((0.5 + chance / 2) * longest_s)
