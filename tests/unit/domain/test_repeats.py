from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from app.domain.errors import InvalidIdempotencyKeyError
from app.domain.repeats import (
    check_idempotency_key,
    claim_name,
    derive_seed,
    fingerprint_of,
    is_repeatable,
    segment_key,
)
from app.domain.segment import TextSegment
from app.domain.speech import ModelInfo, SamplingParams, SynthesisParams, Voice
from tests.fakes.speech_model import FAKE_INFO

SAMPLED = msgspec.structs.replace(FAKE_INFO, has_sampling=True)
SEGMENT = TextSegment(0, "Hello.")
PARAMS = SynthesisParams(Voice("bee", "Bee"))


@pytest.mark.parametrize(
    ("info", "sampling", "default_temperature", "expected"),
    [
        (FAKE_INFO, SamplingParams(temperature=1.0), 1.0, True),
        (SAMPLED, SamplingParams(), 0.0, True),
        (SAMPLED, SamplingParams(), 0.3, False),
        (SAMPLED, SamplingParams(temperature=0.0), 0.3, True),
        (SAMPLED, SamplingParams(temperature=0.3), 0.0, False),
        (SAMPLED, SamplingParams(temperature=0.3, seed=0), 0.0, True),
        (SAMPLED, SamplingParams(seed=7), 0.3, True),
    ],
)
def test_speech_is_repeatable_if_nothing_is_drawn_or_by_a_seed(
    info: ModelInfo, sampling: SamplingParams, default_temperature: float, *, expected: bool
) -> None:
    assert is_repeatable(info, sampling, default_temperature) is expected


def test_a_segment_has_one_key_wherever_it_stands() -> None:
    key = segment_key("m", SEGMENT, PARAMS)
    assert segment_key("m", TextSegment(7, "Hello."), PARAMS) == key
    assert segment_key("m", SEGMENT, SynthesisParams(Voice("bee", "Another name"))) == key
    assert len(key) == 64
    assert set(key) <= set("0123456789abcdef")


CHANGES: list[dict[str, Any]] = [
    {"fingerprint": "n"},
    {"segment": TextSegment(0, "Hello!")},
    {"params": SynthesisParams(Voice("fan", "Bee"))},
    {"params": SynthesisParams(PARAMS.voice, 1.5)},
    *(
        {"params": SynthesisParams(PARAMS.voice, 1.0, SamplingParams(**{name: 1}))}
        for name in SamplingParams.__struct_fields__
    ),
]


@pytest.mark.parametrize("change", CHANGES)
def test_whatever_changes_the_samples_changes_the_key(change: dict[str, Any]) -> None:
    same: dict[str, Any] = {"fingerprint": "m", "segment": SEGMENT, "params": PARAMS}
    assert segment_key(**{**same, **change}) != segment_key(**same)


@pytest.mark.parametrize("key", ["", "a" * 256, "a\nb", "\x7f", "é"])
def test_a_key_that_is_empty_too_long_or_not_printable_is_refused(key: str) -> None:
    with pytest.raises(InvalidIdempotencyKeyError):
        check_idempotency_key(key)


@settings(deadline=None)
@given(st.text(st.characters(min_codepoint=32, max_codepoint=126), min_size=1, max_size=255))
def test_any_printable_key_gives_a_seed_in_range_that_is_always_the_same(key: str) -> None:
    check_idempotency_key(key)
    assert 0 <= derive_seed(key, None) < 2**31
    assert derive_seed(key, None) == derive_seed(key, None)


def test_owners_have_keys_of_their_own() -> None:
    owners = [None, "", "ann", "bob"]
    assert len({claim_name("k", owner) for owner in owners}) == len(owners)
    assert len({derive_seed("k", owner) for owner in owners}) == len(owners)
    assert claim_name("bc", "a") != claim_name("c", "ab")


def test_bodies_differ_in_their_fingerprints() -> None:
    assert fingerprint_of(b"a") == fingerprint_of(b"a") != fingerprint_of(b"b")
