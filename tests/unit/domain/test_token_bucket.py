"""The rate limit against its definition, in exact fractions."""

from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.domain.api_keys import TokenBucket

RATES = st.integers(1, 5_000)
PAUSES_NS = st.lists(st.integers(0, 90 * 10**9) | st.integers(0, 1_000), max_size=80)


class Model:
    """Tokens as a fraction, which gains `rate` per 60 s up to `rate`."""

    def __init__(self, rate: int) -> None:
        self.rate = rate
        self.tokens = Fraction(rate)
        self.seen_ns = 0

    def take(self, now_ns: int) -> Fraction:
        gained = Fraction((now_ns - self.seen_ns) * self.rate, 60 * 10**9)
        self.tokens, self.seen_ns = min(Fraction(self.rate), self.tokens + gained), now_ns
        if self.tokens >= 1:
            self.tokens -= 1
            return Fraction(0)
        return (1 - self.tokens) * 60 / self.rate


@given(RATES, PAUSES_NS)
def test_it_grants_and_refuses_as_its_definition_says(rate: int, pauses_ns: list[int]) -> None:
    bucket, model, now_ns = TokenBucket(rate, 0.0), Model(rate), 0
    for pause_ns in pauses_ns:
        now_ns += pause_ns
        wait_s, expected_s = bucket.take(now_ns / 1e9), model.take(now_ns)
        assert (wait_s > 0) == (expected_s > 0)
        assert 0 <= wait_s - expected_s <= 2e-9


@given(RATES, PAUSES_NS)
def test_whoever_waits_as_told_gets_a_token_and_no_sooner(rate: int, pauses_ns: list[int]) -> None:
    bucket, now = TokenBucket(rate, 0.0), 0.0
    for pause_ns in pauses_ns:
        now += pause_ns / 1e9
        wait_s = bucket.take(now)
        if wait_s > 1e-6:
            assert bucket.take(now + wait_s - 1e-6) > 0
        if wait_s:
            now += wait_s + 2e-9  # the clock's floats cannot name every nanosecond
            assert bucket.take(now) == 0


@pytest.mark.parametrize("rate", [1, 7, 60])
def test_the_whole_rate_may_come_at_once_and_then_it_is_spread_over_the_minute(rate: int) -> None:
    bucket = TokenBucket(rate, 100.0)
    assert [bucket.take(100.0) for _ in range(rate)] == [0.0] * rate
    assert bucket.take(100.0) == pytest.approx(60 / rate)
    assert bucket.take(100.0 + 60 / rate + 1e-6) == 0
    assert bucket.take(100.0 + 60 / rate + 1e-6) > 0


def test_a_token_that_is_put_back_can_be_taken_and_none_beyond_the_rate() -> None:
    bucket = TokenBucket(2, 0.0)
    bucket.put_back()
    assert [bucket.take(0.0) for _ in range(3)] == [0.0, 0.0, 30.0]
    bucket.put_back()
    assert [bucket.take(0.0) for _ in range(2)] == [0.0, 30.0]
