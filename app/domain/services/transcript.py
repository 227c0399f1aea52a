"""What has been said of a text, and when: counts the samples of its segments."""

from app.domain.audio import AudioChunk
from app.domain.captions import Caption
from app.domain.segment import TextSegment


class Transcript:
    """Follows one answer as it is handed out.

    Attributes:
        captions: of the segments that are whole, in order; each begins where the one before ended.
        under_way: the segment that has begun and is not whole.
    """

    def __init__(self) -> None:
        self.captions: list[Caption] = []
        self.under_way: TextSegment | None = None
        self._num_samples = 0

    def heard(self, segment: TextSegment, chunk: AudioChunk) -> None:
        """Note that a chunk of `segment` was handed out."""
        self.under_way = segment
        self._num_samples += chunk.num_samples
        self._sample_rate = chunk.sample_rate

    def ended(self, segment: TextSegment) -> Caption | None:
        """Note that `segment` is whole; its caption, or None if it made no sound."""
        if self.under_way is None:
            return None
        self.under_way = None
        start_s = self.captions[-1].end_s if self.captions else 0.0
        end_s = self._num_samples / self._sample_rate
        self.captions.append(Caption(segment.index, start_s, end_s, segment.source, segment.text))
        return self.captions[-1]
