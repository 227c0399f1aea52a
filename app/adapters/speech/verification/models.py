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

Step = tuple[int, float, NDArray[np.float32]]  # choice, its margin, and the (hidden,) state


class TracedOnnx:
    """ComparedModel on ONNX Runtime.

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
        return self._trace(prompt, max_tokens, None)

    def follow(self, prompt: str, choices: NDArray[np.int64]) -> Trace:
        return self._trace(prompt, len(choices), choices.tolist())

    def _trace(self, prompt: str, max_tokens: int, led: list[int] | None) -> Trace:
        """The steps along the tokens `led`, without them along the model's own choices."""
        model, tokens = self._language_model, self._tokenizer.encode(prompt).ids
        sequence = Sequence(tokens, Sampling(), 0.0, self._end_id)
        *starts, last = range(0, len(tokens), PREFILL_CHUNK)
        for start in starts:
            model.prefill(0, tokens[start : start + PREFILL_CHUNK], start)
        states, logits = model.prefill(0, tokens[last:], last)
        steps: list[Step] = []
        while True:
            (token,) = sample_tokens(logits, [sequence]).tolist()
            # The sampler has put its repetition penalty into the logits.
            steps.append((token, margin_of_best(logits[0]), states[0].copy()))
            if len(steps) >= max_tokens or (led is None and token == self._end_id):
                return trace_of(steps, self._end_id)
            token = token if led is None else led[len(steps) - 1]
            sequence.tokens.append(token)
            states, logits = model.decode(0, [token], [len(sequence.tokens) - 1])

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


PACKAGE_PROMPT_TOKENS: Final = 512  # the package cuts longer prompts


class TracedPackage:
    """ReferenceModel over the package's TransformersModel and decoder.

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
