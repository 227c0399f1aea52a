"""The port to whatever turns text into sound."""

from collections.abc import AsyncGenerator, Sequence
from typing import Protocol

from app.domain.audio import AudioChunk
from app.domain.segment import TextSegment
from app.domain.speech import ModelInfo, SynthesisParams
from app.domain.text.mapped_text import MappedText


class SpeechModel(Protocol):
    """Text to audio. One instance serves all requests at once; no method blocks the event loop."""

    @property
    def info(self) -> ModelInfo:
        """What it is. Known before `load`, and the same afterwards."""

    async def load(self) -> None:
        """Make ready to speak. Called once, before the first `synthesize`.

        Raises:
            ModelLoadError: it cannot speak; the message says what to do.
        """

    async def close(self) -> None:
        """Give back threads, memory and files. May be called without `load`, and twice."""

    def split(self, paragraphs: Sequence[MappedText]) -> list[MappedText]:
        """The pieces in which this model speaks `paragraphs`, each in the form the voice knows.

        No word is lost or repeated; what cannot be pronounced gives no piece. Works before `load`.

        Args:
            paragraphs: words without figures and signs, in reading order.
        """

    def synthesize(
        self, segment: TextSegment, params: SynthesisParams, due_at: float = 0.0
    ) -> AsyncGenerator[AudioChunk, None]:
        """Speak one segment, chunk by chunk, at `info.sample_rate`.

        The same text and params give the same samples, whatever else is spoken at the time. A
        chunk holds at least one sample; a segment that turns out to be silent gives no chunk.
        `aclose` stops the work at the next point where the model can stop.

        Args:
            segment: what to say; its text came from `split`, and it is no pause.
            params: its voice is one of `info.voices`, its speed in [info.min_speed,
                info.max_speed].
            due_at: seconds of the clock's `monotonic` by when its sound is needed. A model that
                cannot speak everything at once begins with what is due first.

        Raises:
            SynthesisError: the model failed.
        """


class SpeechCache(Protocol):
    """What is known of kept speech. `can_keep` and `holds` return at once, in any thread."""

    def can_keep(self, params: SynthesisParams) -> bool:
        """Whether such speech is cached at all: not if it is sampled without a seed."""

    def holds(self, segment: TextSegment, params: SynthesisParams) -> bool:
        """Whether the segment need not be spoken again. May be a moment out of date."""

    async def count_shared(self, segments: Sequence[TextSegment], params: SynthesisParams) -> int:
        """How many of these, which this server does not hold, it can have from another server.

        Does not look for all segments of a long text. May be a moment out of date, too.
        """
