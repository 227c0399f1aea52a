import pytest

from app.domain.errors import IdempotencyKeyReusedError, InvalidIdempotencyKeyError
from app.domain.services.idempotency import MAX_CLAIM_AGE_S, IdempotencyKeys
from tests.fakes.clock import FakeClock


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock()


def test_a_key_stands_for_one_body(clock: FakeClock) -> None:
    keys = IdempotencyKeys(clock)
    keys.claim("k", b"one")
    keys.claim("k", b"one")
    with pytest.raises(IdempotencyKeyReusedError):
        keys.claim("k", b"two")
    keys.claim("k", b"one")
    assert len(keys) == 1


def test_each_owner_has_keys_of_its_own(clock: FakeClock) -> None:
    keys = IdempotencyKeys(clock)
    keys.claim("k", b"one", "ann")
    keys.claim("k", b"two", "bob")
    keys.claim("k", b"three")
    with pytest.raises(IdempotencyKeyReusedError):
        keys.claim("k", b"two", "ann")


async def test_a_key_is_forgotten_a_day_after_its_first_use(clock: FakeClock) -> None:
    keys = IdempotencyKeys(clock)
    keys.claim("k", b"one")
    await clock.advance(MAX_CLAIM_AGE_S - 1)
    keys.claim("k", b"one")
    with pytest.raises(IdempotencyKeyReusedError):
        keys.claim("k", b"two")
    await clock.advance(1)
    keys.claim("k", b"two")


def test_never_more_than_the_limit_are_remembered_and_the_oldest_go(clock: FakeClock) -> None:
    keys = IdempotencyKeys(clock, max_claims=3)
    for number in range(10):
        keys.claim(f"k{number}", b"one")
        assert len(keys) <= 3
    keys.claim("k0", b"two")
    with pytest.raises(IdempotencyKeyReusedError):
        keys.claim("k9", b"two")


def test_a_bad_key_is_refused_and_not_remembered(clock: FakeClock) -> None:
    keys = IdempotencyKeys(clock)
    with pytest.raises(InvalidIdempotencyKeyError):
        keys.claim("", b"one")
    assert len(keys) == 0
