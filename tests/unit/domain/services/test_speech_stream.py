import numpy as np

from app.domain.admission import ANYBODY, AdmissionLimits
from app.domain.audio import AudioChunk
from app.domain.segment import Caption, TextSegment
from app.domain.services.admission import Admission
from app.domain.services.speech_stream import SpeechStream
from app.domain.speech import SpeechOptions
from tests.fakes.clock import FakeClock
from tests.fakes.speech_observer import FakeSpeechObserver

RATE = 100
FIRST, SECOND, THIRD = (
    TextSegment(index, f"text {index}.", f"Text #{index}.") for index in range(3)
)


def open_stream() -> SpeechStream:
    clock, observer = FakeClock(), FakeSpeechObserver()
    admission = Admission(AdmissionLimits(), clock, lambda: 0.0)
    return SpeechStream(SpeechOptions(), ANYBODY, admission.slot(ANYBODY), clock, observer)


def sound(num_samples: int) -> AudioChunk:
    return AudioChunk(np.zeros(num_samples, np.float32), RATE)


def test_captions_follow_each_other_by_the_samples_heard() -> None:
    stream = open_stream()
    stream.on_chunk(FIRST, sound(30))
    stream.on_chunk(FIRST, sound(70))
    assert stream.on_segment_end(FIRST) == Caption(0, 0.0, 1.0, "Text #0.", "text 0.")
    stream.on_chunk(THIRD, sound(1))
    assert stream.on_segment_end(THIRD) == Caption(2, 1.0, 1.01, "Text #2.", "text 2.")
    assert [caption.index for caption in stream.captions] == [0, 2]


def test_a_segment_without_sound_has_no_caption() -> None:
    stream = open_stream()
    stream.on_chunk(FIRST, sound(1))
    stream.on_segment_end(FIRST)
    assert stream.on_segment_end(SECOND) is None
    assert len(stream.captions) == 1


def test_the_segment_under_way_is_the_one_that_is_heard() -> None:
    stream = open_stream()
    assert stream.current_segment is None
    stream.on_chunk(FIRST, sound(1))
    assert stream.current_segment is FIRST
    stream.on_segment_end(FIRST)
    assert stream.current_segment is None
