"""A SpeechCache that holds what a test says."""

from collections.abc import Sequence

from app.domain.segment import TextSegment
from app.domain.speech import SynthesisParams


class FakeSpeechCache:
    """Attributes may be changed.

    Attributes:
        is_on: whether anything can be kept.
        held: the texts that need not be spoken again.
        shared: the texts that another server has.
        asked: texts of all segments that were asked for, in order.
    """

    def __init__(self) -> None:
        self.is_on = True
        self.held: set[str] = set()
        self.shared: set[str] = set()
        self.asked: list[str] = []

    def can_keep(self, params: SynthesisParams) -> bool:
        return self.is_on

    def holds(self, segment: TextSegment, params: SynthesisParams) -> bool:
        self.asked.append(segment.text)
        return self.is_on and segment.text in self.held

    async def count_shared(self, segments: Sequence[TextSegment], params: SynthesisParams) -> int:
        return sum(segment.text in self.shared for segment in segments)
