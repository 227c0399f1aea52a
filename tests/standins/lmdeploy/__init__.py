"""Stands in for lmdeploy where there is no CUDA: the signatures that we call, answered on the CPU.

`tests/unit/adapters/speech/soprano/torch/test_lmdeploy_signatures.py` compares it with the real
wheel.
"""

import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import torch


@dataclass
class GenerationConfig:
    """The fields we set, with the real defaults."""

    max_new_tokens: int = 512
    do_sample: bool = False
    top_p: float = 1.0
    temperature: float = 0.8
    repetition_penalty: float = 1.0
    random_seed: int | None = None
    output_last_hidden_state: Literal["all", "generation"] | None = None


@dataclass
class TurbomindEngineConfig:
    """The field the package sets."""

    cache_max_entry_count: float = 0.8


@dataclass
class Response:
    """The fields we read. All states of the continuation so far; the end token's is left out."""

    finish_reason: Literal["stop", "length", "error", "abort"] | None = None
    last_hidden_state: torch.Tensor | None = None
    error_code: str | None = None
    error_message: str | None = None


@dataclass
class Session:
    """One sentence; `abort` may come from another thread."""

    is_aborted: threading.Event = field(default_factory=threading.Event)

    def abort(self) -> None:
        self.is_aborted.set()


class Pipeline:
    """Answers prompts with a checkpoint on the CPU.

    Attributes:
        configs: of all requests, oldest first.
        num_drawn: tokens drawn for all of them.
        fail_with: message of an error that ends the next request after its first token.
        is_closed: whether `close` was called.
    """

    def __init__(self, model_path: str) -> None:
        from app.adapters.speech.soprano.torch.transformers import load_package_model

        package_model = load_package_model(Path(model_path), "cpu")
        self._model, self._tokenizer = package_model.model, package_model.tokenizer
        self.configs: list[GenerationConfig] = []
        self.num_drawn = 0
        self.fail_with: str | None = None
        self.is_closed = False

    def session(self) -> Session:
        return Session()

    def close(self) -> None:
        self.is_closed = True

    def stream_infer(
        self,
        prompts: list[str],
        sessions: list[Session] | None = None,
        gen_config: GenerationConfig | None = None,
        do_preprocess: bool = True,
        adapter_name: str | None = None,
        stream_response: bool = True,
        **kwargs: Any,
    ) -> Iterator[Response]:
        assert len(prompts) == 1
        assert sessions is not None
        assert gen_config is not None
        self.configs.append(gen_config)
        return self._answer(prompts[0], sessions[0], gen_config)

    def _answer(
        self, prompt: str, session: Session, config: GenerationConfig
    ) -> Iterator[Response]:
        states: list[torch.Tensor] = []
        ids = self._tokenizer(prompt)["input_ids"]
        for _ in range(config.max_new_tokens):
            if session.is_aborted.is_set():
                yield Response("abort")
                return
            with torch.inference_mode():
                outputs = self._model.model(input_ids=torch.tensor([ids]))
                state = outputs.last_hidden_state[0, -1]
                token = self._draw(self._model.lm_head(state), ids, config)
            self.num_drawn += 1
            if token == self._model.config.eos_token_id:
                yield Response("stop")
                return
            states.append(state)
            ids = [*ids, token]
            yield Response(last_hidden_state=torch.stack(states))
            if self.fail_with:
                yield Response("error", error_code="internal", error_message=self.fail_with)
                return
        yield Response("length")

    def _draw(self, logits: torch.Tensor, ids: list[int], config: GenerationConfig) -> int:
        """Greedy under the repetition penalty: what sampling at temperature 0.001 comes to."""
        used = torch.tensor(sorted(set(ids)))
        penalized = logits[used]
        logits = logits.clone()
        logits[used] = torch.where(
            penalized > 0,
            penalized / config.repetition_penalty,
            penalized * config.repetition_penalty,
        )
        return int(logits.argmax())


def pipeline(
    model_path: str,
    backend_config: TurbomindEngineConfig | None = None,
    chat_template_config: Any = None,
    log_level: str = "WARNING",
    max_log_len: int | None = None,
    trust_remote_code: bool = False,
    speculative_config: Any = None,
    allowed_media_domains: list[str] | None = None,
    **kwargs: Any,
) -> Pipeline:
    """Load a checkpoint."""
    return Pipeline(model_path)
