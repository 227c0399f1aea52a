"""What a server and its worker say to each other. Samples go beside a message, not in it."""

import msgspec

from app.adapters.speech.worker.failures import Failure
from app.domain.segment import TextSegment
from app.domain.speech import SynthesisParams


class Begin(msgspec.Struct, frozen=True, tag=True):
    """The first message: what to be. Whoever builds the model knows how to read it."""

    assignment: bytes


class Speak(msgspec.Struct, frozen=True, tag=True):
    """Speak a sentence.

    Attributes:
        id: of the sentence, as long as it is spoken.
        index: of the segment.
        text: of the segment, in UTF-8; half of a surrogate pair is encoded like any code point.
        params: how to speak it.
        due_at: as in the port SpeechModel. The clock is the machine's, so both processes have it.
    """

    id: int
    index: int
    text: bytes
    params: SynthesisParams
    due_at: float

    @property
    def segment(self) -> TextSegment:
        """What to say."""
        return TextSegment(self.index, self.text.decode("utf-8", "surrogatepass"))


class Stop(msgspec.Struct, frozen=True, tag=True):
    """Nobody listens to this sentence any more; it is to end soon, and to say so."""

    id: int


class Close(msgspec.Struct, frozen=True, tag=True):
    """Give everything back and end."""


class Beat(msgspec.Struct, frozen=True, tag=True):
    """The worker's event loop turns."""


class Loaded(msgspec.Struct, frozen=True, tag=True):
    """The model can speak, or never will."""

    failure: Failure | None = None


class Sound(msgspec.Struct, frozen=True, tag=True):
    """A chunk of a sentence; its samples, float32, are beside it."""

    id: int
    sample_rate: int
    num_input_tokens: int
    num_output_tokens: int


class Failed(msgspec.Struct, frozen=True, tag=True):
    """An attempt at a sentence failed, as SentenceObserver is told; the sentence goes on."""

    id: int
    failure: Failure
    attempt: int


class Ended(msgspec.Struct, frozen=True, tag=True):
    """A sentence is over: whole, stopped, or failed."""

    id: int
    failure: Failure | None = None


ToWorker = Begin | Speak | Stop | Close
FromWorker = Beat | Loaded | Sound | Failed | Ended
