"""The author's package on a CPU in float32, greedily, with a record of each step.

The package takes a temperature of 0 for 0.001 and draws from what is left: two tokens whose logits
differ by less than about 0.005 are then a matter of luck. Here the likeliest token is taken, which
is what that temperature means and gives the same run each time. All else is as the package does it:
its model, tokenizer, prompt, repetition penalty, limit, and the hidden states of its path that does
not stream.
"""

from typing import Any, Final

import numpy as np

from app.adapters.speech.soprano.checkpoint.checkpoint import Checkpoint
from app.adapters.speech.soprano.checkpoint.shapes import MIN_AUDIO_STATES
from app.adapters.speech.soprano.sampling import Sampling
from app.adapters.speech.soprano.torch.engine import missing_package
from app.adapters.speech.soprano.torch.transformers import load_package_model
from app.adapters.speech.soprano.torch.vocoder import StateVocoder
from app.adapters.speech.soprano.torch.windows import Window
from app.adapters.speech.verification.traces import (
    Samples,
    States,
    Trace,
    joined,
    margin_of_best,
)
from app.domain.errors import ModelLoadError

MAX_PROMPT_TOKENS: Final = 512
"""The package cuts longer prompts."""


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

    def speak(self, prompt: str, max_tokens: int) -> Trace:
        import torch

        inputs = self._tokenizer(
            [prompt], return_tensors="pt", truncation=True, max_length=MAX_PROMPT_TOKENS
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
        return joined(list(zip(tokens, margins, states, strict=True)), self._end_id)

    def sound(self, states: States) -> Samples:
        if len(states) < MIN_AUDIO_STATES:  # the package fails on these
            return np.zeros(0, np.float32)
        num_tokens = len(states) - 1
        whole = Window(first_state=0, end_state=len(states), num_skipped=0, num_tokens=num_tokens)
        return self._decoder.decode(states, whole)
