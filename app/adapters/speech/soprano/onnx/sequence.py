"""One sentence on its way from prompt tokens to audio, and the sampler of its next token.

Knows nothing of the runtime or of threads. A sequence has its own settings and random numbers, so
its tokens do not depend on others in its batch.
"""

import math
from array import array
from typing import Final

import numpy as np
from numpy.typing import NDArray

from app.adapters.speech.soprano.checkpoint.shapes import SAMPLE_RATE, SAMPLES_PER_TOKEN
from app.adapters.speech.soprano.engine import MAX_NEW_TOKENS, RunawayDetector, Sampling
from app.domain.errors import (
    InvalidAudioError,
    RunawaySpeechError,
    SynthesisError,
    TruncatedSpeechError,
)

# Hidden states before the first audio, fixed by the vocoder: each of its 8 or 9 convolutions waits
# for one more frame, the inverse transform for two, and a state is 4 frames.
MIN_FIRST_STATES: Final = 4

# Audio of these states: two blocks of 512 samples with the vocoder of version 1.0, whose input
# kernel is wider, three with that of 1.1.
FIRST_AUDIO_S: Final = 0.032

# The first audio lasts this many steps, so that the second piece is there in time; slow steps need
# more states, up to the limit. More of either delays the first audio.
STEPS_OF_FIRST_AUDIO: Final = 3
MAX_FIRST_STATES: Final = 8

# States of one sequence in a vocoder call, 1 s of audio. With 2 s more vocoding was left when all
# sequences had ended; smaller pieces take more calls.
MAX_VOCODER_STATES: Final = 16

# With this much buffered, a listener does not notice a prefill chunk or being vocoded later: it is
# above what a chunk takes in fp32 on two cores. Lower values risk underruns, higher ones delay
# prefetched prompts.
COMFORT_S: Final = 0.25

# Below that, pieces of these states do: prompts wait until it is reached. With up to 16 in a piece
# the second prompt of a text began 40 ms later, and ten sentences were 2 to 5 % slower.
COMFORT_STATES: Final = math.ceil(COMFORT_S * SAMPLE_RATE / SAMPLES_PER_TOKEN)


class Sequence:
    """One sentence."""

    def __init__(self, prompt: list[int], sampling: Sampling, due_at: float, eos_id: int) -> None:
        self.tokens = array("q", prompt)  # int64, the prompt and the output tokens
        self.num_prompt_tokens = len(prompt)
        self.num_computed_tokens = 0  # tokens whose keys and values are in its slot
        self.sampling = sampling
        self.due_at = due_at  # time of the clock by which its audio is needed
        # Row of the KV cache while its prompt is prefilled; when it decodes, its index in
        # `Scheduler.running` is the slot.
        self.slot = -1
        self.is_prefilling = False  # a chunk of its prompt is being computed
        self.is_cancelled = False  # no one reads its audio; only while a chunk is being computed
        self.states: list[NDArray[np.float32]] = []  # (hidden,) each, not yet given to the vocoder
        self.is_vocoding = False  # the vocoder has some of its states
        self.is_finished = False  # the end token was sampled
        self.error: SynthesisError | None = None  # why it cannot continue
        self.num_samples = 0  # audio delivered so far
        self.random = np.random.default_rng([sampling.seed, sampling.attempt])
        self._eos_id = eos_id
        self._detector = RunawayDetector()

    @property
    def num_prompt_tokens_left(self) -> int:
        """Prompt tokens that are not prefilled yet."""
        return max(0, self.num_prompt_tokens - self.num_computed_tokens)

    @property
    def num_ready_states(self) -> int:
        """States that may become audio; those that may belong to a runaway wait."""
        if self.is_finished:
            return len(self.states)
        return max(0, len(self.states) - self._detector.run_length)

    def buffered_s(self, now: float) -> float:
        """How long playback can go on before it needs more audio, in seconds."""
        return self.due_at + self.num_samples / SAMPLE_RATE - now

    def on_token(self, token: int, state: NDArray[np.float32]) -> None:
        """Take a sampled token and the (hidden,) state that predicted it."""
        if token == self._eos_id:
            self.is_finished = True
        elif not np.isfinite(state).all():
            self.error = InvalidAudioError("The model's states are not finite.")
        elif self._detector.push(state):
            self.error = RunawaySpeechError()
        else:
            self.tokens.append(token)
            self.states.append(state)
            if len(self.tokens) - self.num_prompt_tokens >= MAX_NEW_TOKENS:
                self.error = TruncatedSpeechError()

    def num_states_to_vocode(self, buffered_s: float, step_s: float) -> int | None:
        """How many states to turn into audio now, if a step takes `step_s`; None to wait for more.

        The first piece is as small as possible. Later ones grow with the buffer: vocoding may take
        half of what is buffered. Until that is enough for prompts to go on, they stay small.
        """
        num_ready = self.num_ready_states
        if self.is_finished and num_ready <= MAX_VOCODER_STATES + MAX_VOCODER_STATES // 2:
            return num_ready
        least = 1
        if self.num_samples == 0:
            missing_s = max(0.0, STEPS_OF_FIRST_AUDIO * step_s - FIRST_AUDIO_S)
            more = math.ceil(missing_s / (SAMPLES_PER_TOKEN / SAMPLE_RATE))
            least = min(MIN_FIRST_STATES + more, MAX_FIRST_STATES)
        affordable = _power_of_two(buffered_s / (2 * step_s))
        most = MAX_VOCODER_STATES if buffered_s > COMFORT_S else COMFORT_STATES
        if num_ready < max(least, min(most, affordable)) and not self.is_finished:
            return None
        return min(MAX_VOCODER_STATES, max(least, _power_of_two(num_ready)))

    def pop_states(self, num_states: int) -> list[NDArray[np.float32]]:
        """Hand the next states to the vocoder; `on_audio` follows when it is done."""
        popped = self.states[:num_states]
        del self.states[:num_states]
        self.is_vocoding = True
        return popped

    def on_audio(self, num_samples: int, now: float) -> None:
        """Count audio that was delivered; playback starts with the first, if that is late."""
        self.is_vocoding = False
        if self.num_samples == 0:
            self.due_at = max(self.due_at, now)
        self.num_samples += num_samples


def _power_of_two(number: float) -> int:
    """The largest one up to `number`, at least 1: pieces of equal length share vocoder calls."""
    return 1 << (max(1, int(number)).bit_length() - 1)


Logits = NDArray[np.float32]  # (rows, vocabulary)


def sample_tokens(logits: Logits, sequences: list[Sequence]) -> NDArray[np.intp]:
    """The next token id of each sequence, (rows,); `logits` of its last id are changed in place."""
    penalize_repetition(logits, sequences)
    tokens: NDArray[np.intp] = logits.argmax(axis=1)
    sampled = [row for row, sequence in enumerate(sequences) if sequence.sampling.temperature > 0]
    if sampled:
        temperatures = [[sequences[row].sampling.temperature] for row in sampled]
        scaled = logits[sampled]
        scaled -= scaled.max(axis=1, keepdims=True)
        # Exponentials of float64 would take eight times as long, a tenth of a step of many rows.
        weights = np.exp(scaled / np.array(temperatures, np.float32))
        probabilities = weights / weights.sum(axis=1, keepdims=True)
        for row, of_row in zip(sampled, probabilities, strict=True):
            sampling, uniform = sequences[row].sampling, sequences[row].random.random()
            tokens[row] = sample_nucleus(of_row, sampling.top_p, uniform)
    return tokens


def penalize_repetition(logits: Logits, sequences: list[Sequence]) -> None:
    """Make every id that a sequence holds less likely, in place (see Sampling)."""
    lengths = [len(sequence.tokens) for sequence in sequences]
    ids = np.concatenate([np.frombuffer(sequence.tokens, np.int64) for sequence in sequences])
    rows = np.repeat(np.arange(len(sequences)), lengths)
    penalties = np.array([sequence.sampling.repetition_penalty for sequence in sequences])
    penalty = penalties.astype(np.float32).repeat(lengths)
    seen = logits[rows, ids]
    # An id that a sequence holds twice is written twice, with the same value.
    logits[rows, ids] = np.where(seen > 0, seen / penalty, seen * penalty)


def sample_nucleus(probabilities: NDArray[np.float32], top_p: float, uniform: float) -> int:
    """A token out of the likeliest ones of (vocabulary,) that together reach `top_p`, in (0, 1].

    Holtzman et al., The Curious Case of Neural Text Degeneration, 2020, section 3.1. `uniform` is a
    random number in [0, 1).
    """
    # All tokens below this together weigh less than what the nucleus leaves out.
    floor = (1 - top_p) / len(probabilities)
    candidates = np.flatnonzero(probabilities > floor)
    order = candidates[np.argsort(-probabilities[candidates], kind="stable")]
    weights = probabilities[order].astype(np.float64)
    total = weights.cumsum()
    num_kept = int(np.count_nonzero(total - weights < top_p))
    index = int(np.searchsorted(total[:num_kept], uniform * total[num_kept - 1], side="right"))
    return int(order[min(index, num_kept - 1)])
