"""Soprano's language model on lmdeploy's TurboMind, through the author's package: CUDA only.

TurboMind batches by itself; each sentence has a thread that waits for its tokens. Every response
carries all states of the sentence so far, the one that predicted the end token left out.
"""

import asyncio
import threading
from collections.abc import AsyncGenerator
from pathlib import Path
from typing import Any, Final

import numpy as np

from app.adapters.speech.soprano.engine import (
    GREEDY_TEMPERATURE,
    MAX_NEW_TOKENS,
    Sampling,
    ThreadStream,
    as_instance_error,
    loading,
)
from app.adapters.speech.soprano.torch.engine import HiddenState
from app.domain.errors import (
    InstanceDeadError,
    ModelLoadError,
    SynthesisError,
    TruncatedSpeechError,
)

CACHE_SIZE_MB: Final = 100  # of the KV cache; the package's own default


class LmdeployLanguageModel:
    """SopranoLanguageModel over lmdeploy's pipeline."""

    def __init__(self, pipeline: Any) -> None:
        self._pipeline = pipeline

    def close(self) -> None:
        pipeline, self._pipeline = self._pipeline, None
        if pipeline is not None:
            pipeline.close()

    async def generate(
        self, prompt: str, sampling: Sampling, due_at: float
    ) -> AsyncGenerator[HiddenState, None]:
        if self._pipeline is None:
            raise InstanceDeadError
        session = self._pipeline.session()
        states: ThreadStream[HiddenState] = ThreadStream()
        arguments = prompt, sampling, session, states
        threading.Thread(target=self._receive, args=arguments, daemon=True).start()
        try:
            async for state in states:
                yield state
        finally:
            if not states.is_complete:  # the engine stops at its next token
                await asyncio.to_thread(session.abort)

    def _receive(
        self, prompt: str, sampling: Sampling, session: Any, states: ThreadStream[HiddenState]
    ) -> None:
        num_seen = 0
        end: SynthesisError | None = None
        try:
            for response in self.responses(prompt, sampling, session):
                if response.last_hidden_state is not None:
                    tensor = response.last_hidden_state.float().cpu().numpy()
                    for state in np.ascontiguousarray(tensor)[num_seen:]:
                        num_seen += 1
                        states.send(state)
                if response.finish_reason == "length":
                    end = TruncatedSpeechError()
                    break
                if response.finish_reason == "error":
                    reason = response.error_message or response.error_code
                    end = as_instance_error(RuntimeError(reason))
                    break
        except Exception as error:  # noqa: BLE001 - the listener must hear of it
            end = as_instance_error(error)
        states.send(end)

    def responses(self, prompt: str, sampling: Sampling, session: Any) -> Any:
        """The pipeline's responses to one prompt, as an iterator that blocks."""
        from lmdeploy import GenerationConfig

        config = GenerationConfig(
            output_last_hidden_state="generation",
            do_sample=True,
            top_p=sampling.top_p,
            temperature=max(sampling.temperature, GREEDY_TEMPERATURE),
            repetition_penalty=sampling.repetition_penalty,
            max_new_tokens=MAX_NEW_TOKENS,
            random_seed=sampling.seed + sampling.attempt,
        )
        return self._pipeline.stream_infer([prompt], sessions=[session], gen_config=config)


def load_lmdeploy(directory: Path, _device: str) -> LmdeployLanguageModel:
    """Over the package's LMDeployModel, always on CUDA; raises ModelLoadError without it."""
    with loading("Soprano cannot be loaded on lmdeploy", "lmdeploy"):
        import torch

        if not torch.cuda.is_available():
            raise ModelLoadError("The backend lmdeploy needs CUDA, and there is none here.")
        from soprano.backends.lmdeploy import LMDeployModel

        model = LMDeployModel(device="cuda", cache_size_mb=CACHE_SIZE_MB, model_path=str(directory))
    return LmdeployLanguageModel(model.pipeline)
