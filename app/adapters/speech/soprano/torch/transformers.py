"""Soprano's language model on transformers, through the author's package: CUDA, MPS and CPU.

One thread runs all sentences: each step samples one token of every sentence, and new ones join
between steps. Their caches have different lengths, so shorter ones are padded on the left and
masked.
"""

import math
import queue
import threading
from itertools import count
from pathlib import Path
from typing import Any, Final

import numpy as np
import structlog

from app.adapters.speech.soprano.engine import (
    GREEDY_TEMPERATURE,
    MAX_NEW_TOKENS,
    Sampling,
    ThreadStream,
    as_instance_error,
    loading,
)
from app.adapters.speech.soprano.torch.engine import HiddenState
from app.domain.errors import InstanceDeadError, InvalidAudioError, TruncatedSpeechError

# Sentences in one step; more wait.
MAX_BATCH_SIZE: Final = 16

_log = structlog.get_logger(__name__)


class TokenSampler:
    """Samples the tokens of one sentence as the package does: by transformers' own processors."""

    def __init__(self, sampling: Sampling) -> None:
        import torch
        from transformers import (
            RepetitionPenaltyLogitsProcessor,
            TemperatureLogitsWarper,
            TopPLogitsWarper,
        )

        temperature = sampling.temperature if sampling.temperature > 0 else GREEDY_TEMPERATURE
        self._processors: list[Any] = [
            RepetitionPenaltyLogitsProcessor(penalty=sampling.repetition_penalty),
            TemperatureLogitsWarper(temperature=temperature),
            TopPLogitsWarper(top_p=sampling.top_p),
        ]
        self._generator = torch.Generator().manual_seed(sampling.seed + sampling.attempt)

    def sample(self, ids: list[int], logits: Any) -> int:
        """The next token id, after the `ids` so far, from (vocab_size,) logits."""
        import torch

        scores = logits.float().cpu()[None]
        past = torch.tensor([ids])
        for processor in self._processors:
            scores = processor(past, scores)
        probabilities = torch.softmax(scores, dim=-1)
        return int(torch.multinomial(probabilities, 1, generator=self._generator))


class Sentence:
    """One that waits or generates; if its stream is closed, it leaves before the next step."""

    def __init__(self, prompt: str, sampling: Sampling) -> None:
        self.prompt = prompt
        self.sampling = sampling
        self.stream: ThreadStream[HiddenState] = ThreadStream()
        self.ids: list[int] = []  # of the prompt and its continuation
        self.num_new = 0  # of these, in the continuation
        self.sampler: TokenSampler
        self.state: HiddenState  # predicts the next token
        self.logits: Any  # (vocab_size,), of the next token


class TokenBatch:
    """The rows and their key/value caches, for a causal language model of transformers."""

    def __init__(self, model: Any, tokenizer: Any) -> None:
        self._model = model
        self._tokenizer = tokenizer
        self._end_id = model.config.eos_token_id
        self.rows: list[Sentence] = []
        self._layers: list[tuple[Any, Any]] = []  # keys, values: (rows, heads, length, head_size)

    def join(self, row: Sentence) -> None:
        """Prefill its prompt; it takes part from the next step on."""
        row.sampler = TokenSampler(row.sampling)
        row.ids = self._tokenizer(row.prompt)["input_ids"]
        layers = self._run([row], [], len(row.ids))
        self._layers = _merge(self._layers, layers) if self.rows else layers
        self.rows.append(row)

    def step(self) -> None:
        """Sample one token per row; rows that ended are gone afterwards."""
        self.leave([row for row in self.rows if not self._sample(row)])
        if self.rows:
            self._layers = self._run(self.rows, self._layers, 1)

    def leave(self, rows: list[Sentence]) -> None:
        """Take rows out, and with them their part of the caches."""
        kept = [index for index, row in enumerate(self.rows) if row not in rows]
        if len(kept) == len(self.rows):
            return
        self.rows = [self.rows[index] for index in kept]
        length = max((len(row.ids) for row in self.rows), default=0)
        self._layers = [
            (keys[kept][:, :, -length:], values[kept][:, :, -length:])
            for keys, values in self._layers
        ]

    def _sample(self, row: Sentence) -> bool:
        """Send the state that predicted the next token, or the end; whether the row goes on."""
        if not np.isfinite(row.state).all():
            row.stream.send(InvalidAudioError("The model's states are not finite."))
            return False
        token = row.sampler.sample(row.ids, row.logits)
        if token == self._end_id:
            row.stream.send(None)
            return False
        row.ids.append(token)
        row.num_new += 1
        row.stream.send(row.state)
        if row.num_new >= MAX_NEW_TOKENS:
            row.stream.send(TruncatedSpeechError())
            return False
        return True

    def _run(
        self, rows: list[Sentence], layers: list[tuple[Any, Any]], num_new: int
    ) -> list[tuple[Any, Any]]:
        """Compute the newest tokens of each row after what `layers` hold; gives the layers after.

        Each row has the state of its last token then, and the logits that follow from it.
        """
        import torch
        from transformers import DynamicCache

        cache = DynamicCache()
        for index, (keys, values) in enumerate(layers):
            cache.update(keys, values, index)
        device = self._model.device
        mask = None  # a row by itself is not padded
        if layers:
            length = layers[0][0].shape[-2] + num_new
            ones = [[0] * (length - len(row.ids)) + [1] * len(row.ids) for row in rows]
            mask = torch.tensor(ones, device=device)
        positions = [list(range(len(row.ids) - num_new, len(row.ids))) for row in rows]
        with torch.inference_mode():
            outputs = self._model.model(
                input_ids=torch.tensor([row.ids[-num_new:] for row in rows], device=device),
                position_ids=torch.tensor(positions, device=device),
                attention_mask=mask,
                past_key_values=cache,
                use_cache=True,
            )
            last = outputs.last_hidden_state[:, -1]  # (rows, hidden_size), after the final norm
            logits = self._model.lm_head(last)
        states = last.float().cpu().numpy()
        for row, state, row_logits in zip(rows, states, logits, strict=True):
            row.state, row.logits = state, row_logits
        return [(layer.keys, layer.values) for layer in cache.layers]


def _merge(old: list[tuple[Any, Any]], new: list[tuple[Any, Any]]) -> list[tuple[Any, Any]]:
    """Both batches as one, the shorter caches padded on the left."""
    import torch
    from torch.nn.functional import pad

    def joined(first: Any, second: Any) -> Any:
        length = max(first.shape[-2], second.shape[-2])
        return torch.cat([pad(one, (0, 0, length - one.shape[-2], 0)) for one in (first, second)])

    return [
        (joined(old_keys, keys), joined(old_values, values))
        for (old_keys, old_values), (keys, values) in zip(old, new, strict=True)
    ]


class TransformersLanguageModel:
    """SopranoLanguageModel over a batch."""

    def __init__(self, batch: TokenBatch, device: str) -> None:
        self._batch = batch
        self._device = device
        self._waiting: queue.PriorityQueue[tuple[float, int, Sentence | None]] = (
            queue.PriorityQueue()
        )
        self._arrivals = count()
        self._end: InstanceDeadError | None = None
        self._thread = threading.Thread(target=self._work, name="soprano-tokens", daemon=True)
        self._thread.start()

    def close(self) -> None:
        self._put(-math.inf, None)
        self._thread.join()

    def _put(self, due_at: float, sentence: Sentence | None) -> None:
        self._waiting.put((due_at, next(self._arrivals), sentence))

    def generate(self, prompt: str, sampling: Sampling, due_at: float) -> ThreadStream[HiddenState]:
        sentence = Sentence(prompt, sampling)
        self._put(due_at, sentence)
        # After the put: what is put before the end, the thread ends itself.
        if self._end is not None:
            raise InstanceDeadError from self._end
        return sentence.stream

    def _work(self) -> None:
        """The thread: until told to stop, or until the device fails."""
        try:
            while self._admit():
                self._batch.leave([row for row in self._batch.rows if row.stream.is_closed])
                if self._batch.rows:
                    self._batch.step()
            self._end = InstanceDeadError()
        except Exception as error:  # noqa: BLE001 - every sentence must hear of it
            self._end = as_instance_error(error)
            _log.error("soprano.instance_died", device=self._device, reason=str(self._end))
        for row in self._batch.rows:
            row.stream.send(self._end)
        self._batch.rows.clear()
        while not self._waiting.empty():
            *_, waiting = self._waiting.get()
            if waiting is not None:
                waiting.stream.send(self._end)

    def _admit(self) -> bool:
        """Let waiting sentences join; waits for one if there is nothing to do. False is the end."""
        while len(self._batch.rows) < MAX_BATCH_SIZE:
            try:
                *_, sentence = self._waiting.get(block=not self._batch.rows)
            except queue.Empty:
                return True
            if sentence is None:
                return False
            if sentence.stream.is_closed:
                continue
            try:
                self._batch.join(sentence)
            except Exception as error:
                sentence.stream.send(as_instance_error(error))
                raise
        return True


def load_transformers(directory: Path, device: str) -> TransformersLanguageModel:
    """Over the package's model; raises ModelLoadError."""
    with loading(f"Soprano cannot be loaded on {device}", "soprano"):
        model = load_package_model(directory, device)
    return TransformersLanguageModel(TokenBatch(model.model, model.tokenizer), device)


def load_package_model(directory: Path, device: str) -> Any:
    """The package's TransformersModel over the files of a directory."""
    import transformers
    from soprano.backends.transformers import TransformersModel

    transformers.utils.logging.disable_progress_bar()
    return TransformersModel(device=device, model_path=str(directory))
