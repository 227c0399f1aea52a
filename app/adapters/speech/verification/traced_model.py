"""The engine's two sessions and its sampler, one sentence at a time, with a record of each step.

What the step loop does with many sentences is done here with one: the prompt is read in the same
pieces, tokens are chosen by the same sampler, and sound is made in pieces from carried states. So
what is found out about this model holds for the engine, whose rows do not depend on each other.
"""

import numpy as np
from numpy.typing import NDArray

from app.adapters.speech.soprano.checkpoint.checkpoint import Checkpoint
from app.adapters.speech.soprano.checkpoint.shapes import MIN_AUDIO_STATES
from app.adapters.speech.soprano.onnx.graph import Precision
from app.adapters.speech.soprano.onnx.graph_cache import GraphCache
from app.adapters.speech.soprano.onnx.sampler import sample_tokens
from app.adapters.speech.soprano.onnx.scheduler import PREFILL_CHUNK
from app.adapters.speech.soprano.onnx.sequence import MAX_VOCODER_STATES, MIN_FIRST_STATES, Sequence
from app.adapters.speech.soprano.onnx.sessions import EngineLimits, open_sessions
from app.adapters.speech.soprano.sampling import Sampling
from app.adapters.speech.verification.traces import (
    Samples,
    States,
    Trace,
    joined,
    margin_of_best,
)

Step = tuple[int, float, NDArray[np.float32]]
"""Choice, its margin, and the (hidden,) state it was made from."""


class TracedOnnxModel:
    """ComparedModel on ONNX Runtime.

    Args:
        checkpoint: that speaks.
        precision: of its products.
        num_threads: of the runtime; 0 is one per physical core.
        cache: of graphs.

    Raises:
        ModelLoadError: it cannot be built or loaded.
    """

    def __init__(
        self, checkpoint: Checkpoint, precision: Precision, num_threads: int, cache: GraphCache
    ) -> None:
        limits = EngineLimits(max_sentences=1, num_threads=num_threads)
        sessions = open_sessions(checkpoint, precision, limits, cache)
        self._language_model = sessions.language_model
        self._vocoder = sessions.vocoder
        self._tokenizer = sessions.tokenizer
        self._end_id = checkpoint.language_model.eos_token_id

    def speak(self, prompt: str, max_tokens: int) -> Trace:
        sequence = self._sequence(prompt)
        steps = [self._read(sequence)]
        while len(steps) < max_tokens and steps[-1][0] != self._end_id:
            steps.append(self._advance(sequence, steps[-1][0]))
        return joined(steps, self._end_id)

    def follow(self, prompt: str, choices: NDArray[np.int64]) -> Trace:
        sequence = self._sequence(prompt)
        steps = [self._read(sequence)]
        steps += [self._advance(sequence, token) for token in choices[:-1].tolist()]
        return joined(steps, self._end_id)

    def sound(self, states: States) -> Samples:
        if len(states) < MIN_AUDIO_STATES:
            return np.zeros(0, np.float32)
        vocoder_state = self._vocoder.new_state()
        ends = [*range(MIN_FIRST_STATES, len(states), MAX_VOCODER_STATES), len(states)]
        pieces = [
            self._vocoder.vocode(
                [vocoder_state], [list(states[start:end])], is_last=end == len(states)
            )
            for start, end in zip([0, *ends], ends, strict=False)
        ]
        samples: Samples = np.concatenate(pieces, axis=1)[0]
        return samples

    def _sequence(self, prompt: str) -> Sequence:
        return Sequence(self._tokenizer.encode(prompt).ids, Sampling(), 0.0, self._end_id)

    def _read(self, sequence: Sequence) -> Step:
        """Read the prompt; the first step."""
        *starts, last = range(0, sequence.num_prompt_tokens, PREFILL_CHUNK)
        for start in starts:
            self._language_model.prefill(0, sequence.tokens[start : start + PREFILL_CHUNK], start)
        return _choose(sequence, *self._language_model.prefill(0, sequence.tokens[last:], last))

    def _advance(self, sequence: Sequence, token: int) -> Step:
        """Read a token; the step after it."""
        sequence.tokens.append(token)
        states, logits = self._language_model.decode(0, [token], [len(sequence.tokens) - 1])
        return _choose(sequence, states, logits)


def _choose(sequence: Sequence, states: States, logits: NDArray[np.float32]) -> Step:
    (token,) = sample_tokens(logits, [sequence]).tolist()
    # The sampler has put its repetition penalty into the logits.
    return token, margin_of_best(logits[0]), states[0].copy()
