import pytest

from app.domain.errors import InvalidRequestError
from app.domain.segment import TextSegment, count_chars


@pytest.mark.parametrize(
    ("index", "text", "pause_s"), [(-1, "Hi.", 0.0), (0, "", 0.0), (0, " \n", 0.0), (0, "Hi.", 1.0)]
)
def test_a_segment_has_an_index_and_either_text_or_a_pause(
    index: int, text: str, pause_s: float
) -> None:
    with pytest.raises(InvalidRequestError):
        TextSegment(index, text, pause_s=pause_s)


def test_what_is_spoken_is_counted_and_a_pause_is_not() -> None:
    segments = [TextSegment(0, "Two."), TextSegment(1, "", pause_s=2.0), TextSegment(2, "Six.")]
    assert count_chars(segments) == 8
