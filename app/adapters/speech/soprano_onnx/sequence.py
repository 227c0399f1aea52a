"""One sentence on its way from token ids to sound. Plain data, and what follows from it.

Knows nothing of the runtime, of threads or of other sentences.
"""

from array import array
from typing import Final

import numpy as np
from numpy.typing import NDArray

from app.adapters.speech.soprano.runaway import RunawayDetector
from app.adapters.speech.soprano.sampling import MAX_NEW_TOKENS, Sampling
from app.adapters.speech.soprano.shapes import SAMPLE_RATE
from app.adapters.speech.soprano.windows import SAMPLES_PER_TOKEN
from app.domain.errors import (
    InvalidAudioError,
    RunawaySpeechError,
    SynthesisError,
    TruncatedSpeechError,
)

SECONDS_PER_TOKEN: Final = SAMPLES_PER_TOKEN / SAMPLE_RATE

MIN_FIRST_STATES: Final = 4
"""Hidden states before the first sound: each of the decoder's 8 or 9 convolutions waits for a frame
to come, the transform for two more, and a state is 4 frames."""

FIRST_SOUND_S: Final = 0.032
"""What they give at least: the decoder of version 1.0, with its wider input, gives two blocks of
512 samples, that of 1.1 gives three."""

MAX_CHUNK_TOKENS: Final = 16
"""Of sound decoded at once, 1 s: longer ones would hold up the others, and leave more to do when
all have ended."""


class Sequence:
    """One sentence.

    Args:
        ids: of the prompt.
        sampling: how tokens are drawn.
        due_at: seconds of the clock by when its sound is needed.
        eos_id: the token that ends it.

    Attributes:
        ids: int64, of the prompt and of what was drawn.
        num_read: ids whose keys and values are in its row.
        states: (hidden,) each, drawn and not yet given to the decoder.
        is_sounding: whether the decoder has some of them.
        has_ended: whether its last token is drawn.
        error: why it cannot go on.
        num_samples: of sound handed out.
        random: its own random numbers.
    """

    def __init__(self, ids: list[int], sampling: Sampling, due_at: float, eos_id: int) -> None:
        self.ids = array("q", ids)
        self.sampling = sampling
        self.due_at = due_at
        self.num_prompt = len(ids)
        self.num_read = 0
        self.states: list[NDArray[np.float32]] = []
        self.is_sounding = False
        self.has_ended = False
        self.error: SynthesisError | None = None
        self.num_samples = 0
        self.random = np.random.default_rng([sampling.seed, sampling.attempt])
        self._eos_id = eos_id
        self._detector = RunawayDetector()

    @property
    def num_unread(self) -> int:
        """Ids of the prompt that are still to be read."""
        return max(0, self.num_prompt - self.num_read)

    @property
    def num_ready(self) -> int:
        """States that may be heard: all of a sentence that has ended, else those not suspect."""
        if self.has_ended:
            return len(self.states)
        return max(0, len(self.states) - self._detector.run_length)

    def take(self, token: int, state: NDArray[np.float32]) -> None:
        """Take the token that was drawn, and the (hidden,) state it was drawn from."""
        if token == self._eos_id:
            self.has_ended = True
            return
        self.error = self._look_at(state)
        if self.error is None:
            self.ids.append(token)
            self.states.append(state)
            if len(self.ids) - self.num_prompt >= MAX_NEW_TOKENS:
                self.error = TruncatedSpeechError()

    def _look_at(self, state: NDArray[np.float32]) -> SynthesisError | None:
        if not np.isfinite(state).all():
            return InvalidAudioError("The model's states are not finite.")
        return RunawaySpeechError() if self._detector.push(state) else None

    def ahead_s(self, now: float) -> float:
        """How long its listener can play on before more sound of it is needed, in seconds."""
        return self.due_at + self.num_samples / SAMPLE_RATE - now

    def give_states(self, num_states: int) -> list[NDArray[np.float32]]:
        """Its next states, for the decoder; `sounded` says when their sound is there."""
        given = self.states[:num_states]
        del self.states[:num_states]
        self.is_sounding = True
        return given

    def sounded(self, num_samples: int, now: float) -> None:
        """Note that so much more sound has left; playing begins with the first, if it is late."""
        self.is_sounding = False
        if self.num_samples == 0:
            self.due_at = max(self.due_at, now)
        self.num_samples += num_samples
