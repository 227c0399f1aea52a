from typing import Any

import msgspec
import pytest

from app.adapters.speech.cache import (
    is_deterministic,
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
def test_speech_is_deterministic_if_nothing_is_drawn_or_by_a_seed(
    info: ModelInfo, sampling: SamplingParams, default_temperature: float, *, expected: bool
) -> None:
    assert is_deterministic(info, sampling, default_temperature) is expected


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
