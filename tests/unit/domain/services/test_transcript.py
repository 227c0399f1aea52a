import numpy as np

from app.domain.audio import AudioChunk
from app.domain.captions import Caption
from app.domain.segment import TextSegment
from app.domain.services.transcript import Transcript

RATE = 100
FIRST, SECOND, THIRD = (
    TextSegment(index, f"text {index}.", f"Text #{index}.") for index in range(3)
)


def sound(num_samples: int) -> AudioChunk:
    return AudioChunk(np.zeros(num_samples, np.float32), RATE)


def test_captions_follow_each_other_by_the_samples_heard() -> None:
    transcript = Transcript()
    transcript.heard(FIRST, sound(30))
    transcript.heard(FIRST, sound(70))
    assert transcript.ended(FIRST) == Caption(0, 0.0, 1.0, "Text #0.", "text 0.")
    transcript.heard(THIRD, sound(1))
    assert transcript.ended(THIRD) == Caption(2, 1.0, 1.01, "Text #2.", "text 2.")
    assert [caption.index for caption in transcript.captions] == [0, 2]


def test_a_segment_without_sound_has_no_caption() -> None:
    transcript = Transcript()
    transcript.heard(FIRST, sound(1))
    transcript.ended(FIRST)
    assert transcript.ended(SECOND) is None
    assert len(transcript.captions) == 1


def test_the_segment_under_way_is_the_one_that_is_heard() -> None:
    transcript = Transcript()
    assert transcript.under_way is None
    transcript.heard(FIRST, sound(1))
    assert transcript.under_way is FIRST
    transcript.ended(FIRST)
    assert transcript.under_way is None
