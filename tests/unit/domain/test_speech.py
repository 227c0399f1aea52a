import math

import pytest

from app.domain.audio import AudioFormat
from app.domain.errors import EmptyInputError, InvalidRequestError, InvalidSpeedError
from app.domain.segment import TextSegment
from app.domain.speech import SpeechReport, SpeechRequest


def test_a_request_needs_text() -> None:
    with pytest.raises(EmptyInputError):
        SpeechRequest(text="")


@pytest.mark.parametrize("speed", [0.0, -1.0, 0.24, 4.01, 1e9, math.nan, math.inf])
def test_a_speed_outside_the_contract_is_refused(speed: float) -> None:
    with pytest.raises(InvalidSpeedError):
        SpeechRequest(text="a", speed=speed)


@pytest.mark.parametrize("speed", [0.25, 1.0, 4.0])
def test_the_limits_of_speed_are_allowed(speed: float) -> None:
    assert SpeechRequest(text="a", speed=speed).speed == speed


@pytest.mark.parametrize(("index", "text"), [(-1, "a"), (0, ""), (0, " ")])
def test_a_segment_has_an_index_and_text(index: int, text: str) -> None:
    with pytest.raises(InvalidRequestError):
        TextSegment(index, text)


def test_the_real_time_factor_is_work_over_audio() -> None:
    report = SpeechReport(num_chars=1, format=AudioFormat.WAV, audio_s=4.0, total_s=1.0)
    assert report.real_time_factor == 0.25
    assert SpeechReport(num_chars=1, format=AudioFormat.WAV).real_time_factor is None
