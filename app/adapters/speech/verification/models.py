"""The two models that are compared: greedy, one sentence at a time, with a record of each step.

The engine's sessions and sampler are used as the engine uses them: the same prefill chunks, and
audio in pieces from carried states. Its rows do not depend on each other, so what holds for one
sentence holds for the engine. The package treats a temperature of 0 as 0.001 and samples: which of
two tokens comes whose logits differ by less than about 0.005 is then chance. Here it takes the
likeliest one; everything else is as the package does it.
"""

from typing import Any, Final

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
from app.adapters.speech.soprano.torch.engine import missing_package
from app.adapters.speech.soprano.torch.transformers import load_package_model
from app.adapters.speech.soprano.torch.vocoder import StateVocoder, Window
from app.adapters.speech.verification.comparison import (
    Samples,
    States,
    Trace,
    margin_of_best,
    trace_of,
)
from app.domain.errors import ModelLoadError

# Choice, its margin, and the (hidden,) state it was made from.
Step = tuple[int, float, NDArray[np.float32]]


class TracedOnnx:
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

    def generate(self, prompt: str, max_tokens: int) -> Trace:
        sequence = self._sequence(prompt)
        steps = [self._prefill(sequence)]
        while len(steps) < max_tokens and steps[-1][0] != self._end_id:
            steps.append(self._advance(sequence, steps[-1][0]))
        return trace_of(steps, self._end_id)

    def follow(self, prompt: str, choices: NDArray[np.int64]) -> Trace:
        sequence = self._sequence(prompt)
        steps = [self._prefill(sequence)]
        steps += [self._advance(sequence, token) for token in choices[:-1].tolist()]
        return trace_of(steps, self._end_id)

    def vocode(self, states: States) -> Samples:
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

    def _prefill(self, sequence: Sequence) -> Step:
        """Prefill the prompt; the first step."""
        *starts, last = range(0, sequence.num_prompt_tokens, PREFILL_CHUNK)
        for start in starts:
            self._language_model.prefill(0, sequence.tokens[start : start + PREFILL_CHUNK], start)
        return _choose(sequence, *self._language_model.prefill(0, sequence.tokens[last:], last))

    def _advance(self, sequence: Sequence, token: int) -> Step:
        """Decode a token; the step after it."""
        sequence.tokens.append(token)
        states, logits = self._language_model.decode(0, [token], [len(sequence.tokens) - 1])
        return _choose(sequence, states, logits)


def _choose(sequence: Sequence, states: States, logits: NDArray[np.float32]) -> Step:
    (token,) = sample_tokens(logits, [sequence]).tolist()
    # The sampler has put its repetition penalty into the logits.
    return token, margin_of_best(logits[0]), states[0].copy()


PACKAGE_PROMPT_TOKENS: Final = 512  # the package cuts longer prompts


class TracedPackage:
    """ReferenceModel over the package's TransformersModel and decoder.

    Args:
        checkpoint: that speaks.

    Raises:
        ModelLoadError: a package is missing, or the weights cannot be loaded.
    """

    def __init__(self, checkpoint: Checkpoint) -> None:
        try:
            package_model = load_package_model(checkpoint.directory, "cpu")
            self._decoder = StateVocoder(checkpoint, "cpu")
        except ImportError as error:
            raise missing_package("soprano", error) from error
        except ModelLoadError:
            raise
        except Exception as error:
            reason = f"{type(error).__name__}: {error}".splitlines()[0]
            raise ModelLoadError(f"The package cannot load the checkpoint: {reason}") from error
        self._model: Any = package_model.model
        self._tokenizer: Any = package_model.tokenizer
        self._end_id: int = checkpoint.language_model.eos_token_id

    def generate(self, prompt: str, max_tokens: int) -> Trace:
        import torch

        inputs = self._tokenizer(
            [prompt], return_tensors="pt", truncation=True, max_length=PACKAGE_PROMPT_TOKENS
        )
        with torch.inference_mode():
            outputs = self._model.generate(
                input_ids=inputs["input_ids"],
                attention_mask=inputs["attention_mask"],
                max_new_tokens=max_tokens,
                do_sample=False,
                repetition_penalty=Sampling().repetition_penalty,
                pad_token_id=self._tokenizer.pad_token_id,
                return_dict_in_generate=True,
                output_hidden_states=True,
                output_scores=True,
            )
        num_steps = len(outputs.scores)
        tokens = outputs.sequences[0, -num_steps:].tolist()
        margins = [margin_of_best(scores[0].numpy()) for scores in outputs.scores]
        # The last layer's, after the final norm, at the last position: (hidden,).
        states = [layers[-1][0, -1].numpy() for layers in outputs.hidden_states]
        return trace_of(list(zip(tokens, margins, states, strict=True)), self._end_id)

    def vocode(self, states: States) -> Samples:
        if len(states) < MIN_AUDIO_STATES:  # the package fails on these
            return np.zeros(0, np.float32)
        num_tokens = len(states) - 1
        whole = Window(first_state=0, end_state=len(states), num_skipped=0, num_tokens=num_tokens)
        return self._decoder.decode(states, whole)
