"""The port to speech that is kept because it may be asked for again."""

from typing import Protocol

from app.domain.segment import TextSegment
from app.domain.speech import SynthesisParams


class SpeechCache(Protocol):
    """What is known of kept speech. Every method returns at once, in any thread."""

    def can_keep(self, params: SynthesisParams) -> bool:
        """Whether such speech is cached at all: not if it is sampled without a seed."""
        ...

    def holds(self, segment: TextSegment, params: SynthesisParams) -> bool:
        """Whether the segment need not be spoken again. May be a moment out of date."""
        ...
